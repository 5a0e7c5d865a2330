"""CVAT for images 1.1: one xml file of many images."""

from __future__ import annotations

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from active_learning.annotations import Annotation, Instance, Part, cvat_images, image_named_in, read_annotation
from active_learning.annotations.contours import instance_mask, trace_mask
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.annotations.documents import load_document
from active_learning.errors import AnnotationError
from tests.active_learning.annotations.boxes import box_of
from tests.active_learning.annotations.random_input import damaged_bytes

SIZE = (80, 100)


def image(*shapes: str, name: str = "a.jpg", size: str = 'width="100" height="80"', more: str = "") -> str:
    return f'<image id="3" name="{name}" {size} {more}>{"".join(shapes)}</image>'


def shape(kind: str, label: str = "healthy", **attributes: object) -> str:
    texts = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<{kind} label="{label}" {texts}></{kind}>'


def polygon(at: int = 10, side: int = 10, **attributes: object) -> str:
    corners = [(at, at), (at + side, at), (at + side, at + side), (at, at + side)]
    return shape("polygon", points=";".join(f"{x:.2f},{y:.2f}" for x, y in corners), **attributes)


def rle_of(mask: np.ndarray) -> str:
    """Runs of equal pixels row by row, the first of background."""
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return ", ".join(map(str, np.diff([0, *changes, mask.size])))


@pytest.fixture
def save(tmp_path):
    def write(*images: str) -> Path:
        path = tmp_path / "annotations.xml"
        text = f"<annotations><version>1.1</version><meta><task/></meta>{''.join(images)}</annotations>"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def read_all(path: Path, size: tuple[int, int] | None = None, faults: list[str] | None = None) -> dict[str, Annotation]:
    """All images by name; what cannot be read goes to `faults`, or is raised."""
    document = load_document(path)
    assert cvat_images.recognises(document)
    collection = cvat_images.images_of(document, path)
    assert collection.warnings == []
    found = {}
    for fault in collection.faults:
        note(faults, AnnotationError(fault))
    for name in collection.images:
        try:
            found[name] = collection.read(name, size=size)
        except AnnotationError as error:
            note(faults, error)
    return found


def note(faults: list[str] | None, error: AnnotationError) -> None:
    if faults is None:
        raise error
    faults.append(str(error))


def only(path: Path) -> Annotation:
    (annotation,) = read_all(path).values()
    return annotation


def areas(annotation: Annotation) -> list[int]:
    return [int(instance_mask(one, annotation.height, annotation.width).sum()) for one in annotation.instances]


@pytest.mark.parametrize("sample", ["images11_cvat/annotations.xml", "images11_datumaro/default.xml"])
def test_files_of_the_real_tool(shared_dir, sample):
    path = shared_dir / "formats" / "cvat" / sample
    expected = json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))
    annotations = read_all(path)
    assert list(annotations) == [one["image_name_in_file"] for one in expected["images"]]
    seen = 0
    for truth in expected["images"]:
        annotation = annotations[truth["image_name_in_file"]]
        assert (annotation.warnings, annotation.height, annotation.width) == ((), truth["height"], truth["width"])
        assert [one.label for one in annotation.instances] == [one["class"] for one in truth["objects"]]
        for instance, one in zip(annotation.instances, truth["objects"], strict=True):
            mask = instance_mask(instance, annotation.height, annotation.width)
            regions = trace_mask(mask, 0)
            assert one["area_range"][0] <= mask.sum() <= one["area_range"][1]
            assert mask.sum() == pytest.approx(one["area_px"], rel=0.01)
            assert np.abs(np.subtract(box_of(mask), one["bbox_xywh"])).max() <= one["bbox_tol"]
            assert (len(regions), sum(len(region.holes) for region in regions)) == (one["parts"], one["holes"])
            seen += 1
    assert seen == 5


RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)  # 6x7 with a hole of 2x3


@pytest.mark.parametrize(
    ("entry", "area", "box"),
    [
        pytest.param(polygon(), 100, [10, 10, 10, 10], id="polygon"),
        pytest.param(polygon(-5), 25, [0, 0, 5, 5], id="polygon over the corner"),
        pytest.param(shape("box", xtl=10, ytl=20, xbr=50, ybr=40), 800, [10, 20, 40, 20], id="box"),
        pytest.param(
            shape("box", xtl=10, ytl=20, xbr=50, ybr=40, rotation="90.00"), 800, [20, 10, 20, 40], id="box 90"
        ),
        pytest.param(shape("box", xtl=50, ytl=40, xbr=10, ybr=20), 800, [10, 20, 40, 20], id="box backwards"),
        pytest.param(shape("ellipse", cx=50, cy=40, rx=30, ry=10), 942, [20, 30, 60, 20], id="ellipse"),
        pytest.param(shape("ellipse", cx=50, cy=40, rx=30, ry=10, rotation=90), 942, [40, 10, 20, 60], id="ellipse 90"),
        pytest.param(
            shape("mask", rle=rle_of(RING), left=5, top=7, width=7, height=6), 36, [5, 7, 7, 6], id="mask from object"
        ),
        pytest.param(shape("mask", rle="3,2,1", left=5, top=7, width=2, height=3), 2, [5, 8, 2, 2], id="mask"),
        pytest.param(
            shape("mask", rle=rle_of(RING), left=-2, top=-2, width=7, height=6), 14, [0, 0, 5, 4], id="mask over edge"
        ),
        pytest.param(polygon(source="auto", occluded=1, z_order=3), 100, [10, 10, 10, 10], id="other attributes"),
    ],
)
def test_shapes(save, entry, area, box):
    annotation = only(save(image(entry)))
    assert annotation.warnings == ()
    mask = instance_mask(annotation.instances[0], *SIZE)
    assert mask.sum() == pytest.approx(area, abs=6 if "ellipse" in entry else 1)
    assert box_of(mask) == box


@pytest.mark.parametrize("entry", [
    shape("box", xtl=20, ytl=35, xbr=80, ybr=45, rotation=30),
    shape("ellipse", cx=50, cy=40, rx=30, ry=6, rotation=30),
], ids=["box", "ellipse"])  # fmt: skip
def test_rotation_is_clockwise(save, entry):
    mask = instance_mask(only(save(image(entry))).instances[0], *SIZE)
    assert mask[52, 71]  # the right end has gone down
    assert mask[27, 28]
    assert not mask[27, 71]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 60), st.integers(0, 60))
def test_runs_give_the_mask_back(tmp_path_factory, mask, left, top):
    path = tmp_path_factory.mktemp("runs") / "annotations.xml"
    entry = shape("mask", rle=rle_of(mask), left=left, top=top, width=mask.shape[1], height=mask.shape[0])
    path.write_text(f"<annotations>{image(entry)}</annotations>", encoding="utf-8")
    annotation = only(path)
    assert len(annotation.instances) == mask.any()
    for instance in annotation.instances:
        filled = instance_mask(instance, *SIZE)
        assert np.array_equal(filled[top : top + mask.shape[0], left : left + mask.shape[1]], mask)
        assert filled.sum() == mask.sum()


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([polygon(10), polygon(40)], [100, 100], id="no group"),
        pytest.param([polygon(10, group_id=0), polygon(40, group_id=0)], [100, 100], id="group 0 is none"),
        pytest.param([polygon(10, group_id=2), polygon(40, group_id=2)], [200], id="group"),
        pytest.param([polygon(10, group_id=2), polygon(10, group_id=2)], [100], id="overlap"),
        pytest.param([polygon(10, group_id=2), polygon(40, group_id=2, label="b")], [100, 100], id="two labels"),
        pytest.param(
            [polygon(10, group_id=2),
             shape("mask", rle=rle_of(RING), left=50, top=50, width=7, height=6, group_id=2)], [136],
            id="polygon and mask",
        ),
    ],
)  # fmt: skip
def test_objects_are_groups(save, entries, expected):
    annotation = only(save(image(*entries)))
    assert (annotation.warnings, areas(annotation)) == ((), expected)


GOOD = polygon(label="good")
SKELETON = '<skeleton label="s"><points label="1" points="1,2"/></skeleton>'


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param('<tag label="night"/>', "tag[1]: label 'night': encloses no area", id="tag"),
        pytest.param(shape("points", points="1,2;3,4"), "points[1]: label 'healthy': encloses no area", id="points"),
        pytest.param(shape("polyline", points="1,2;3,4"), "encloses no area", id="polyline"),
        pytest.param(shape("cuboid", xtl1=1), "encloses no area", id="cuboid"),
        pytest.param(SKELETON, "encloses no area", id="skeleton"),
        pytest.param(shape("spiral"), "unknown", id="unknown"),
        pytest.param(shape("polygon"), "no points", id="no points"),
        pytest.param(shape("polygon", points="1,2;3,4"), "3 points, not 2", id="two points"),
        pytest.param(shape("polygon", points="1,2;3,4;5"), "pairs of numbers", id="ragged"),
        pytest.param(shape("polygon", points="1,2;x,4;5,6"), "pairs of numbers", id="text"),
        pytest.param(shape("polygon", points="1,2;nan,4;5,6"), "not a number", id="NaN"),
        pytest.param(shape("polygon", points="1,1;5,5;9,9"), "no area", id="zero area"),
        pytest.param(polygon(500), "outside the image", id="outside"),
        pytest.param(shape("box", xtl=1, ytl=2, xbr=3), "ybr None is no number", id="box without an edge"),
        pytest.param(
            shape("box", xtl=1, ytl=2, xbr=3, ybr=9, rotation="x"), "rotation 'x' is no number", id="rotation"
        ),
        pytest.param(shape("box", xtl=1, ytl=2, xbr=3, ybr=9, rotation="inf"), "absurdly large", id="endless rotation"),
        pytest.param(shape("ellipse", cx=9, cy=9, rx=0, ry=5), "no area", id="flat ellipse"),
        pytest.param(shape("mask", rle="1,2", left=1, top=1, width=2, height=2), "fill 3 of 4 pixels", id="runs short"),
        pytest.param(
            shape("mask", rle="5,-1", left=1, top=1, width=2, height=2), "cannot be decoded", id="run below 0"
        ),
        pytest.param(shape("mask", rle="1,x", left=1, top=1, width=2, height=2), "cannot be decoded", id="runs text"),
        pytest.param(shape("mask", left=1, top=1, width=2, height=2), "cannot be decoded", id="no runs"),
        pytest.param(shape("mask", rle="0,4", left=1, top=1, width=0, height=2), "no box", id="mask of width 0"),
        pytest.param(
            shape("mask", rle="9999999999", left=1, top=1, width=99999, height=99999), "no box", id="mask too large"
        ),
        pytest.param(shape("mask", rle="4", left=1, top=1, width=2, height=2), "mask is empty", id="mask empty"),
        pytest.param(shape("mask", rle="0,4", left=500, top=1, width=2, height=2), "outside", id="mask outside"),
        pytest.param(polygon(label=" "), "has no label", id="label empty"),
        pytest.param('<polygon points="1,1;5,1;5,5"/>', "label None: has no label", id="label missing"),
    ],
)
def test_one_bad_shape_never_costs_the_image(save, entry, reason):
    path = save(image(GOOD, entry, GOOD))
    annotation = only(path)
    places = ["image 'a.jpg': polygon[0]", "image 'a.jpg': polygon[2]"]
    assert [(one.label, one.origin) for one in annotation.instances] == [("good", place) for place in places]
    (warning,) = annotation.warnings
    assert warning.startswith(f"{path}: image 'a.jpg': ")
    assert reason in warning


def test_names_are_paths_in_the_task(save):
    path = save(image(GOOD, name="s 1/ä.jpg"), image(name="s\\b.png"), image(GOOD, GOOD, name="c.jpg"))
    annotations = read_all(path)
    assert {name: len(one.instances) for name, one in annotations.items()} == {"s 1/ä.jpg": 1, "s/b.png": 0, "c.jpg": 2}
    assert [one.image for one in annotations.values()] == list(annotations)


def test_blanks_at_the_ends_are_of_the_name(save):
    names = [" a.jpg", "a.jpg", "s /a .jpg", "a.jpg "]
    path = save(*(image(GOOD, name=name) for name in names))
    assert list(read_all(path)) == names
    assert read_annotation(path, image="a.jpg", size=(80, 100)).image == "a.jpg"
    save(image(GOOD, name=" a.jpg"))
    assert len(read_annotation(path, image="a.jpg", size=(80, 100)).instances) == 1


def test_subsets_of_a_project_keep_images_of_one_name_apart(save):
    path = save(
        image(GOOD, more='subset="train" task_id="1"'), image(more='subset="val" task_id="2"'),
        image(name="b.jpg", more='subset="val" task_id="2"'),
    )  # fmt: skip
    assert list(read_all(path)) == ["train/a.jpg", "val/a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        pytest.param(image(GOOD, name=""), "image[1]: has no name", id="no name"),
        pytest.param(image(GOOD, name="../b.jpg"), "leads out of the image folder", id="parent folder"),
        pytest.param(image(GOOD, name="s/../../b.jpg"), "leads out of the image folder", id="detour"),
        pytest.param(image(GOOD, name="/b.jpg"), "leads out of the image folder", id="absolute"),
        pytest.param(image(GOOD, name="C:\\b.jpg"), "leads out of the image folder", id="drive"),
        pytest.param(image(GOOD, name="b.jpg", size=""), "image 'b.jpg': height, width: no image size", id="no size"),
        pytest.param(image(GOOD, name="b.jpg", size='width="-1" height="x"'), "no image size", id="size is text"),
    ],
)
def test_one_bad_image_never_costs_the_file(save, faulty, reason):
    path = save(image(GOOD), faulty, image(name="c.jpg"))
    faults: list[str] = []
    assert list(read_all(path, faults=faults)) == ["a.jpg", "c.jpg"]
    (fault,) = faults
    assert fault.startswith(f"{path}: image")
    assert reason in fault


def test_an_image_that_is_described_twice_is_read_of_neither(save):
    faults: list[str] = []
    assert list(read_all(save(image(GOOD), image(), image(name="c.jpg")), faults=faults)) == ["c.jpg"]
    assert all("'a.jpg' is described 2 times; put its shapes together in one" in fault for fault in faults)
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("real", "size", "warning"),
    [
        pytest.param((80, 100), (80, 100), "", id="right"),
        pytest.param(None, (80, 100), "", id="unknown"),
        pytest.param((100, 80), (100, 80), "EXIF rotation", id="transposed"),
        pytest.param((50, 60), (50, 60), "the image has height 50, width 60", id="another"),
    ],
)
def test_the_real_size_counts(save, real, size, warning):
    annotation = read_all(save(image(GOOD)), real)["a.jpg"]
    assert (annotation.height, annotation.width) == size
    assert [warning in one for one in annotation.warnings] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        pytest.param("<annotations><meta/></annotations>", True, id="no images"),
        pytest.param("<annotations><track/></annotations>", False, id="video"),
        pytest.param("<annotation/>", False, id="labelme 3.0"),
        pytest.param("{}", False, id="json"),
    ],
)
def test_other_files_are_not_recognised(tmp_path, content, is_one):
    path = tmp_path / "a"
    path.write_text(content, encoding="utf-8")
    assert cvat_images.recognises(load_document(path)) == is_one
    assert not is_one or read_all(path) == {}


JUNK = ["", "nan", "-1", "1e308", "9" * 5000, "1,2;3,4", "../x", "0", "healthy", "ä", "1e7", "99999"]


def damage(rng: random.Random, root: ElementTree.Element) -> None:
    element = rng.choice([one for one in root.iter() if one.attrib])
    key = rng.choice(list(element.attrib))
    action = rng.random()
    if action < 0.7:
        element.set(key, rng.choice(JUNK))
    elif action < 0.85:
        del element.attrib[key]
    else:
        element.tag = rng.choice(["polygon", "box", "mask", "ellipse", "image", "tag"])


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_raise_annotation_errors_alone(save, seed):
    rng = random.Random(seed)
    box = shape("box", xtl=10, ytl=20, xbr=50, ybr=40, rotation=30)
    ellipse = shape("ellipse", cx=50, cy=40, rx=30, ry=10, rotation=20, group_id=1)
    mask = shape("mask", rle=rle_of(RING), left=5, top=7, width=7, height=6, group_id=1)
    path = save(image(polygon(), box, ellipse, mask), image(polygon(), name="s/b.jpg"))
    content = path.read_bytes()
    outcomes = set()
    for _ in range(50):
        if rng.random() < 0.6:
            root = ElementTree.fromstring(content)
            for _ in range(rng.randint(1, 5)):
                damage(rng, root)
            path.write_bytes(ElementTree.tostring(root))
        else:
            path.write_bytes(damaged_bytes(rng, content, 3))
        try:
            document = load_document(path)
            known = cvat_images.recognises(document)
            annotations = read_all(path, SIZE) if known else {}
        except AnnotationError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            masks = [instance_mask(one, *SIZE) for some in annotations.values() for one in some.instances]
            assert all(one.shape == SIZE for one in masks)
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize(
    ("asked", "area"),
    [
        pytest.param("a.jpg", 100, id="name"),
        pytest.param("a.png", 400, id="another of that stem"),
        pytest.param("b.png", 100, id="another suffix"),
        pytest.param("s/b.jpg", 100, id="a folder more"),
        pytest.param("c.jpg", 100, id="a folder less"),
    ],
)
def test_one_image_is_read_by_its_name(save, asked, area):
    images = [
        image(polygon()),
        image(polygon(side=20), name="a.png"),
        image(polygon(), name="b.jpg"),
        image(polygon(), name="s/c.jpg"),
        image(polygon(), name="s/d.jpg"),
        image(polygon(), name="t/d.jpg"),
    ]
    annotation = read_annotation(save(*images), image=asked, size=None)
    assert annotation.image == asked
    assert [int(instance_mask(one, *SIZE).sum()) for one in annotation.instances] == [area]


@pytest.mark.parametrize(
    ("asked", "reason"), [("e.jpg", "is not among its images"), ("d.jpg", "may mean 's/d.jpg' or 't/d.jpg'")]
)
def test_images_that_the_file_does_not_name(save, asked, reason):
    path = save(image(polygon(), name="s/d.jpg"), image(polygon(), name="t/d.jpg"))
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_annotation(path, image=asked, size=SIZE)
    assert str(path) in str(caught.value)


def test_written_files_are_as_cvat_wants_them(tmp_path):
    square = np.array([[10.0, 20], [30, 20], [30, 50], [10, 50]])
    holed = Part(square, (square * 0.5 + [10, 18],))
    writer = CvatImagesWriter(["healthy", "ä & b"])
    writer.add(Annotation("s/ä.jpg", *SIZE, (Instance("healthy", (Part(square + 0.123),), None, 0.9),)))
    writer.add(Annotation("b.jpg", *SIZE))
    writer.add(Annotation("c.jpg", *SIZE, (Instance("ä & b", (holed, Part(square + 40))),) * 2))
    root = ElementTree.fromstring(writer.text(tmp_path / "annotations.xml"))
    assert [one.text for one in root.iterfind("meta/task/labels/label/name")] == ["healthy", "ä & b"]
    assert root.findtext("meta/task/size") == "3"
    assert [(one.get("id"), one.get("name"), len(one)) for one in root.iterfind("image")] == [
        ("0", "s/ä.jpg", 1), ("1", "b.jpg", 0), ("2", "c.jpg", 4),
    ]  # fmt: skip
    polygons, masks = list(root.iter("polygon")), list(root.iter("mask"))
    assert polygons[0].get("points") == "10.12,20.12;30.12,20.12;30.12,50.12;10.12,50.12"
    assert (polygons[0].get("source"), polygons[0].get("group_id")) == ("auto", None)
    assert [one.get("group_id") for one in root.findall("image")[2]] == ["1", "1", "2", "2"]
    assert {one.get("source") for one in masks} == {"manual"}
    runs = [int(run) for run in masks[0].get("rle").split(",")]
    assert sum(runs) == int(masks[0].get("width")) * int(masks[0].get("height"))
    assert (masks[0].get("left"), masks[0].get("top"), runs[0]) == ("10", "20", 0)


@pytest.mark.parametrize(("images", "name"), [((), ""), (("s/a.jpg",), "s/a.jpg"), (("a.jpg", "b.jpg"), "")])
def test_only_a_single_image_is_named(save, images, name):
    path = save(*(image(name=one) for one in images))
    assert cvat_images.image_name(load_document(path)) == name
    with pytest.raises(AnnotationError, match="holds many images"):
        image_named_in(path)


def test_texts_that_xml_cannot_hold_are_refused(tmp_path):
    writer = CvatImagesWriter(["a\x01"])
    with pytest.raises(AnnotationError, match="xml has no character"):
        writer.text(tmp_path / "annotations.xml")


@pytest.mark.parametrize(("named", "warned"), [("val/a.jpg", True), ("train/a.png", False), ("a.jpg", False)])
def test_an_image_of_another_folder_is_warned_of(save, named, warned):
    annotation = read_annotation(save(image(polygon(), name=named)), image="train/a.jpg", size=SIZE)
    assert any(named in warning for warning in annotation.warnings) == warned
