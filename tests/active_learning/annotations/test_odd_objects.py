from __future__ import annotations

import numpy as np
import pytest

from active_learning.annotations import Annotation, Bitmap, Instance, Part
from active_learning.annotations.canvas import Canvas
from active_learning.annotations.coco import CocoImage, coco_image
from active_learning.annotations.odd_objects import LIKELY, Habit, named, odd_objects, odd_objects_and_habits

SIZE = (300, 400)


def box(x: float, y: float, width: float = 30, height: float = 30) -> Part:
    return Part(np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], dtype=np.float64))


def stalk() -> Part:
    """A box with a line below it that is longer than the box."""
    return Part(
        np.array([[10, 10], [110, 10], [110, 110], [62, 110], [62, 260], [58, 260], [58, 110], [10, 110]], float)
    )


def slanted(x: float, y: float, way: int = 1) -> Part:
    """A third of its box of 60 pixels, along a diagonal."""
    points = [[0, 0], [12, 0], [60, 48], [60, 60], [48, 60], [0, 12]]
    return Part(np.array([[x + (a if way > 0 else 60 - a), y + b] for a, b in points], dtype=np.float64))


def ring() -> Bitmap:
    """Two spots far apart in one mask."""
    mask = np.zeros((10, 200), dtype=bool)
    mask[:, :10] = mask[:, -10:] = True
    return Bitmap(20, 20, mask)


def part(*points: tuple[float, float]) -> Part:
    return Canvas(*SIZE, "a.json").part(np.array(points, dtype=np.float64))


def outside() -> Part:
    return part((-70, 10), (20, 10), (20, 60), (-70, 60))


def sliver() -> Part:
    return part((398, 10), (404, 10), (404, 100), (398, 100))


def bow_tie(right: float = 110) -> Part:
    """Its lobes are of one size, its points are not in the order of its border."""
    return part((right - 100, 10), (right, 110), (right, 10), (right - 100, 109))


def image(name: str, *objects: tuple[Part, ...] | Bitmap, label: str = "a") -> CocoImage:
    instances = [
        Instance(label, bitmap=one, origin=f"shapes[{number}]")
        if isinstance(one, Bitmap)
        else Instance(label, one, origin=f"shapes[{number}]")
        for number, one in enumerate(objects)
    ]
    return coco_image(Annotation(name, *SIZE, tuple(instances)))


def usual(count: int = 30) -> list[CocoImage]:
    return [image(f"{number}.png", (box(10, 10 + number),), (box(200, 100),)) for number in range(count)]


@pytest.mark.parametrize(
    ("objects", "oddity"),
    [
        pytest.param(((box(10, 10),), (box(11, 10),)), "drawn twice", id="the same outline again"),
        pytest.param(
            ((box(10, 10),), Bitmap(11, 11, np.ones((29, 29), bool))), "drawn twice", id="a mask over a polygon"
        ),
        pytest.param(((box(10, 10, 100, 100),), (stalk(),)), "drawn twice", id="again, with its stalk"),
        pytest.param(((slanted(50, 50),), (box(50, 50, 60, 60),)), "drawn twice", id="a box about a slanted object"),
        pytest.param(((box(50, 50, 60, 60),), (slanted(50, 50),)), "drawn twice", id="a slanted object in its box"),
        pytest.param(((box(10, 10),), (box(100, 100, 2, 2),)), "tiny", id="four pixels"),
        pytest.param(((box(10, 10),), (box(100, 100, 60, 0.5),)), "tiny", id="a sliver"),
        pytest.param(((box(10, 10),), (box(100, 100), box(300, 200))), "joined", id="parts far apart"),
        pytest.param(((box(10, 10),), ring()), "joined", id="a mask of two spots"),
        pytest.param(((box(100, 100),), (outside(),)), "outside the image", id="most of it is cut off"),
        pytest.param(((box(10, 10),), (bow_tie(40),)), "outside the image", id="most of two lobes is cut off"),
        pytest.param(
            ((box(10, 10),), (outside(), box(20, 10, 15, 50))), "outside the image", id="most of all parts is cut off"
        ),
    ],
)
def test_an_odd_object_is_found(objects: tuple, oddity: str):
    (found,) = odd_objects([*usual(), image("odd.png", *objects)])
    assert (found.image, found.number, found.oddity) == ("odd.png", 1, oddity)
    assert found.certainty > LIKELY
    assert found.expected.startswith("Expected")
    reason = {"tiny": ", and a mean width of ", "joined": " pixels apart, further than it is wide"}.get(oddity, "")
    assert reason in found.expected


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param(((box(10, 10),), (box(30, 10),)), id="two that overlap"),
        pytest.param(((box(10, 10, 20, 20),), (box(10, 10),)), id="one upon a larger one"),
        pytest.param(((slanted(50, 50),), (box(50, 50, 60, 64),)), id="one in a box that is not its own"),
        pytest.param(((slanted(50, 50),), (slanted(50, 50, -1),)), id="two crossed ones of one box"),
        pytest.param(((box(10, 10),), (box(100, 100, 20, 20),)), id="a small one"),
        pytest.param(((box(10, 10),), (box(100, 100), box(135, 100))), id="parts side by side"),
        pytest.param(((bow_tie(),),), id="one that crosses itself"),
        pytest.param(((bow_tie(405),),), id="one that crosses itself, with its tips outside"),
        pytest.param(((box(200, 10, 190, 90), sliver()),), id="a small part outside"),
        pytest.param((), id="none"),
    ],
)
def test_usual_objects_are_not(objects: tuple):
    assert odd_objects([*usual(), image("fine.png", *objects)]) == []


def test_the_iou_is_that_of_the_pixels():
    mask = np.ones((30, 40), dtype=bool)
    mask[::4] = False
    (found,) = odd_objects([image("a.png", (box(10, 10, 40, 30),), Bitmap(10, 10, mask))])
    assert f"(IoU {22 / 30:.2f})" in found.expected


def test_what_many_objects_have_is_no_mistake():
    apart = [image(f"{number}.png", (box(10, 10), box(200, 200))) for number in range(30)]
    assert all(one.certainty < LIKELY for one in odd_objects(apart))
    assert odd_objects([*usual(), *apart])[0].certainty < odd_objects([*usual(), apart[0]])[0].certainty


def habits(images: list[CocoImage]) -> list[Habit]:
    return odd_objects_and_habits(images)[1]


def folder(*objects: tuple[Part, ...] | Bitmap, odd: int = 12, of: int = 12, usual_objects: int = 4) -> list[CocoImage]:
    """`odd` images with the objects, and others with usual ones."""
    apart = tuple((box(10 + 90 * number, 200),) for number in range(usual_objects))
    return [image(f"{n}.png", *objects) if n < odd else image(f"{n}.png", *apart) for n in range(of)]


DISCS = tuple(box(x, y) for x, y in ((5, 5), (300, 10), (15, 220), (350, 250)))
CLOSE = tuple(box(40 * column + 7 * row, 70 * row) for column in range(0, 9, 2) for row in range(4))  # fill a fifth
SPOTS = np.zeros((250, 380), dtype=bool)
for row, column in ((0, 0), (3, 350), (220, 5), (225, 340)):
    SPOTS[row : row + 25, column : column + 25] = True
TWICE = ((box(10, 10),), (box(10, 11),), (box(100, 10),), (box(101, 10),))


@pytest.mark.parametrize(
    ("images", "seen", "example"),
    [
        pytest.param(folder(*TWICE), "24 of 48 objects lie on another one of their class", 1, id="all drawn twice"),
        pytest.param(folder((box(10, 10),), (box(10, 11),), odd=6), "6 of 36 objects lie", 1, id="of some images"),
        pytest.param(
            folder((slanted(50, 50),), (box(50, 50, 60, 60),)), "12 of 24 objects lie", 1, id="outlines and boxes"
        ),
        pytest.param(
            folder((box(10, 10),), (box(10, 11),), (box(11, 10),), of=8, odd=8), "16 of 24 objects lie", 1, id="thrice"
        ),
        pytest.param(folder(DISCS), "in 12 of 12 images with objects most of a class", 0, id="one id"),
        pytest.param(folder(DISCS, odd=6, of=30), "in 6 of 30 images with objects", 0, id="of one person"),
        pytest.param(folder(CLOSE), "in 12 of 12 images with objects most of a class", 0, id="one id, of many"),
        pytest.param(folder(Bitmap(5, 5, SPOTS)), "in 12 of 12 images with objects most", 0, id="one id, of masks"),
        pytest.param(folder(DISCS[:2], DISCS[2:]), "in 12 of 12 images with objects most", 0, id="an id for two each"),
    ],
)
def test_what_is_odd_about_many_objects_is_asked_once(images: list[CocoImage], seen: str, example: int):
    (found,) = habits(images)
    assert found.seen.startswith(seen)
    assert found.example == ("0.png", example)
    assert "?" in found.question
    assert all(one.certainty < LIKELY for one in odd_objects(images))


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(usual(), id="usual ones"),
        pytest.param([], id="no image"),
        pytest.param(folder(), id="images without objects"),
        pytest.param(folder(*[(box(10 + 20 * n, 10),) for n in range(12)]), id="a crowd, a third over the next"),
        pytest.param(
            folder(*TWICE[:2], *[(box(8 * n, 100 + n),) for n in range(40)], odd=30, of=30), id="one in forty is near"
        ),
        pytest.param(folder((box(10, 10), box(50, 10)), (box(100, 100),)), id="behind a stem"),
        pytest.param(folder((box(10, 10), box(60, 10)), of=30), id="alone, behind a broad stem"),
        pytest.param(
            folder((box(5, 5), box(200, 5)), *[(box(40 * n, 200),) for n in range(3)]), id="one of four far apart"
        ),
        pytest.param(folder((box(50, 50, 60, 60), box(200, 5, 2, 2), box(300, 9, 2, 2))), id="with specks"),
        pytest.param([image(f"{n}.png", *TWICE, *[(box(90, 90),)] * (n < 1)) for n in range(1)], id="one image"),
        pytest.param(
            [
                coco_image(Annotation(f"{n}.png", *SIZE, tuple(Instance(one, (box(10, 10),)) for one in ("a", "b"))))
                for n in range(12)
            ],
            id="two classes each",
        ),
    ],
)
def test_how_things_look_is_not_asked_about(images: list[CocoImage]):
    assert habits(images) == []


def test_what_is_named_one_by_one_is_not_asked_about_as_well():
    images = [*usual(100), image("odd.png", *TWICE)]
    found, asked = odd_objects_and_habits(images)
    assert ([one.oddity for one in found if one.certainty >= LIKELY], asked) == (["drawn twice"] * 2, [])


def test_an_object_that_is_odd_twice_is_one_finding():
    found = odd_objects([*usual(), image("odd.png", (box(5, 5, 2, 2),), (box(5, 5, 2, 2),))])
    assert sorted((one.number, one.oddity) for one in found) == [(0, "tiny"), (1, "drawn twice")]


def test_it_is_named_by_its_place():
    assert named(image("a.png", (box(1, 1),)), 0) == "shapes[0] (a)"
