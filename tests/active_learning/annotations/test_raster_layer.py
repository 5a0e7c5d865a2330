"""Raster layers of V7 Darwin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from active_learning.annotations.annotation import Instance
from active_learning.annotations.canvas import Canvas
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.raster_layer import read_layers
from active_learning.errors import AnnotationError

SIZE = (6, 8)


def canvas(pixels: int = 2**20) -> Canvas:
    image = Canvas(*SIZE, "a.json")
    image.pixels = pixels
    return image


def encode(labels: np.ndarray) -> list[int]:
    groups = itertools.groupby(labels.ravel().tolist())
    return [number for value, run in groups for number in (value, len(list(run)))]


def layer(runs: object, mapping: object = None) -> dict[str, object]:
    return {"raster_layer": {"dense_rle": runs, "mask_annotation_ids_mapping": mapping or {"a": 1, "b": 2}}}


@given(arrays.arrays(np.int64, SIZE, elements=st.integers(0, 2)))
def test_masks_are_those_of_the_image_of_numbers(labels):
    masks, faults = read_layers([{"name": "other"}, None, layer(encode(labels))], [SIZE], canvas())
    assert faults == ()
    for name, value in (("a", 1), ("b", 2)):
        assert np.array_equal(instance_mask(Instance("x", (), masks[name]), *SIZE), labels == value)


def test_only_the_box_around_the_pixels_is_unpacked():
    masks, _ = read_layers([layer([0, 20, 1, 2, 0, 26])], [SIZE], canvas())
    assert (masks["a"].x, masks["a"].y, masks["a"].mask.shape) == (4, 2, (1, 2))
    assert masks["b"].mask.size == 0


def test_the_size_is_the_one_that_fits():
    runs = [0, 20, 1, 2, 0, 26]
    sizes = [(None, "x"), (10**9, 10**9), (7, 7), (8, 6)]
    masks, _ = read_layers([layer(runs)], sizes, Canvas(8, 6, "a.json"))
    assert (masks["a"].x, masks["a"].y, masks["a"].mask.shape) == (2, 3, (1, 2))


@pytest.mark.parametrize(("size", "reason"), [((12, 16), ""), ((8, 6), "EXIF rotation")], ids=["resized", "turned"])
def test_a_layer_of_an_image_of_another_size_is_a_fault(size, reason):
    masks, (fault,) = read_layers([layer([1, size[0] * size[1]])], [size, SIZE], canvas())
    assert masks == {}
    assert f"the mask has height {size[0]}, width {size[1]}, the image 6 and 8; export it" in fault and reason in fault


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        pytest.param(layer([0, 20]), "has 20 pixels, not 8x6", id="too short"),
        pytest.param(layer([0, 10**6]), "has 1000000 pixels", id="too long"),
        pytest.param(layer([0, 10**12]), "no possible length", id="far too long"),
        pytest.param(layer([0, 49, 1, -1]), "no possible length", id="negative"),
        pytest.param(layer([]), "no list of integers", id="empty"),
        pytest.param(layer([0, 47, 1]), "two a run", id="odd"),
        pytest.param(layer([0.0, 48.0]), "no list of integers", id="floats"),
        pytest.param(layer([0, 10**30]), "no list of integers", id="huge"),
        pytest.param(layer([[0, 48], [1]]), "no list of integers", id="ragged"),
        pytest.param(layer("0 48"), "no list of integers", id="text"),
        pytest.param(layer([0, True]), "no list of integers", id="truth value"),
        pytest.param(layer(["x" * 10**6] + [1] * 999_999), "no list of integers", id="a long text, terabytes as array"),
        pytest.param(layer(None), "no list of integers", id="missing"),
        pytest.param(layer([0, 48], [1]), "mask_annotation_ids_mapping", id="mapping a list"),
        pytest.param({"raster_layer": None}, "mask_annotation_ids_mapping", id="null"),
    ],
)
def test_faults(entry, fault):
    masks, faults = read_layers([entry], [SIZE], canvas())
    assert masks == {}
    (text,) = faults
    assert fault in text


def test_many_names_for_one_mask_are_bounded():
    entries = [layer([1, 48], {f"id {number}": 1 for number in range(50)})]
    with pytest.raises(AnnotationError, match=r"^a\.json: its masks take more room than those of an image of 8x6 pix"):
        read_layers(entries, [SIZE], canvas(pixels=100))


def test_masks_take_the_room_of_their_boxes_alone():
    labels = np.zeros(SIZE, dtype=np.int64)
    labels[:, 1:3], labels[:, 6] = 1, 2
    masks, faults = read_layers([layer(encode(labels))], [SIZE], canvas(pixels=6 * 3))
    assert {name: mask.mask.shape for name, mask in masks.items()} == {"a": (6, 2), "b": (6, 1)}
    assert faults == ()


@pytest.mark.parametrize("value", [0, 3, True, "1", None, 1.0])
def test_numbers_that_are_not_in_the_layer_have_no_pixels(value):
    masks, faults = read_layers([layer([0, 20, 1, 2, 0, 26], {"a": value})], [SIZE], canvas())
    assert (masks["a"].mask.size, faults) == (0, ())
