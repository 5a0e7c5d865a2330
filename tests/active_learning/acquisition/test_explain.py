"""Explanations of passes made by hand: which part was low, and where the passes disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from active_learning.acquisition.explain import explain
from active_learning.acquisition.explanation import Explanation, Pixels
from active_learning.sampling.observations import Detection, ForwardPasses, Mask
from active_learning.tiles.grid import tiles_of

CLASSES = ["healthy", "Blüte <b>"]
RULE = {"iou_threshold": 0.5, "mode": "mean"}


def square(x: int, y: int, width: int, height: int) -> Mask:
    return Mask(x, y, np.ones((height, width), dtype=bool), width * height)


def detection(x: int, y: int, width: int, height: int, probabilities: tuple[float, ...] = (0.98, 0.01)) -> Detection:
    return Detection(
        square(x, y, width, height), np.array([x, y, x + width, y + height], dtype=np.float64), np.array(probabilities)
    )


def explained(*passes: tuple[Detection, ...]) -> tuple[Explanation, Pixels]:
    forward_passes = ForwardPasses(passes, np.zeros(3, dtype=np.float32), 40, 60)
    return explain("a/b ü.png", forward_passes, CLASSES, **RULE)


@pytest.mark.parametrize(
    ("passes", "part"),
    [
        ([(detection(5, 5, 20, 20),), (), (), ()], "occurrence"),
        ([(detection(5, 5, 20, 20, (0.5, 0.49)),)] * 4, "semantic"),
        ([(detection(5, 5, 20, 20),), (detection(5, 5, 20, 14),)] * 2, "box"),
        ([(detection(5, 5, 20, 20),), (replace(detection(5, 5, 20, 20), mask=square(5, 5, 20, 12)),)] * 2, "mask"),
    ],
    ids=["detected once", "two classes", "two sizes", "two outlines in one box"],
)
def test_the_lowest_part_is_named(passes: list, part: str):
    explanation, _ = explained(*passes)
    assert explanation.lowest_part == part
    assert explanation.objects[0].lowest_part == part


def test_votes_and_boxes_of_the_passes():
    explanation, _ = explained(
        (detection(5, 5, 20, 20),), (detection(5, 6, 20, 20, (0.1, 0.8)),), (detection(6, 5, 20, 20),), ()
    )
    (one,) = explanation.objects
    assert one.votes == {"healthy": 2, "Blüte <b>": 1}
    assert one.boxes == ((5, 5, 25, 25), (5, 6, 25, 26), (6, 5, 26, 25))
    assert one.passes == (0, 1, 2)
    assert one.occurrence == 0.75
    assert one.certainty == pytest.approx(explanation.certainty)


def test_the_least_certain_object_comes_first():
    explanation, _ = explained((detection(5, 5, 10, 10), detection(30, 5, 20, 20)), (detection(5, 5, 10, 10),))
    assert [one.occurrence for one in explanation.objects] == [0.5, 1.0]


def test_of_a_large_image_the_tile_with_the_least_certain_object_is_shown():
    sure, unsure = detection(5, 5, 10, 10), detection(44, 8, 10, 10)
    forward_passes = ForwardPasses(((sure, unsure), (sure,)), np.zeros(3, dtype=np.float32), 40, 60)
    tiles = tiles_of(40, 60, 30, 0.2)
    explanation, heat = explain("a.png", forward_passes, CLASSES, tiles=tiles, **RULE)
    assert (explanation.tile, explanation.height, explanation.width) == ((30, 0), 30, 30)
    assert [one.boxes for one in explanation.objects] == [((14, 8, 24, 18),)]
    assert heat.shape == (30, 30, 4)
    assert heat[12, 18, 3] == 180
    assert explanation.certainty == pytest.approx(explained((sure, unsure), (sure,))[0].certainty)


@pytest.mark.parametrize(("mode", "place", "part"), [("max", (120, 0), "semantic"), ("min", (0, 0), "occurrence")])
def test_of_a_large_image_that_is_shown_and_said_which_counts(mode: str, place: tuple[int, int], part: str):
    """At the left an object that one pass of four detects, at the right one whose class is a bit unclear."""
    doubtful, sure = detection(10, 10, 20, 20), detection(190, 10, 20, 20, (0.9, 0.1))
    forward_passes = ForwardPasses(
        ((doubtful, sure), (sure,), (sure,), (sure,)), np.zeros(3, dtype=np.float32), 100, 220
    )
    rule = {**RULE, "mode": mode}
    explanation, _ = explain("a.png", forward_passes, CLASSES, tiles=tiles_of(100, 220, 100, 0.2), **rule)
    assert explanation.tile == place
    assert explanation.lowest_part == part
    assert len(explanation.objects) == 1


def test_an_object_that_passes_detect_twice_is_as_hot():
    twice = detection(5, 5, 20, 20)
    _, once = explained((twice,), (), (), (twice,))
    _, again = explained((twice, twice), (), (), (twice, twice))
    assert (once == again).all() and again[15, 15, 3] == 180


def test_an_object_at_the_border_of_what_is_shown_that_a_pass_sees_in_two():
    passes = ((detection(50, 10, 100, 20),), (detection(50, 10, 51, 20), detection(99, 10, 51, 20)))
    forward_passes = ForwardPasses(passes, np.zeros(3, dtype=np.float32), 96, 180)
    explanation, spread = explain("a.png", forward_passes, CLASSES, tiles=tiles_of(96, 180, 96, 0.2), **RULE)
    assert spread.shape == (96, 96, 4) and explanation.tile is not None


def test_an_image_of_one_tile_is_shown_whole():
    passes = ((detection(5, 5, 10, 10),),)
    whole = explained(*passes)[0]
    forward_passes = ForwardPasses(passes, np.zeros(3, dtype=np.float32), 40, 60)
    tiled, heat = explain("a/b ü.png", forward_passes, CLASSES, tiles=tiles_of(40, 60, 64, 0.2), **RULE)
    assert (tiled.tile, tiled.objects) == (None, whole.objects)
    assert heat.shape == (64, 64, 4)  # with what lies beyond the image


def test_the_map_is_hot_where_half_of_the_passes_agree():
    _, heat = explained((detection(4, 4, 20, 20),), (detection(4, 4, 20, 15),))
    assert heat.shape == (40, 60, 4)
    assert heat[12, 12, 3] == 0  # in all passes
    assert heat[21, 12, 3] == 180  # in one of two
    assert heat[35, 50, 3] == 0  # in none
    assert (heat[4, 4:24] == 255).all()  # the outline of the mean mask
