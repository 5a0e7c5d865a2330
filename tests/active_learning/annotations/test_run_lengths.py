"""COCO's run lengths against those of pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as run_lengths

from active_learning.annotations import Bitmap
from active_learning.annotations.contours import crop_bitmap
from active_learning.annotations.run_lengths import bitmap_of, decode_runs, encode_runs, runs_of

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans())


@given(mask=MASKS)
def test_texts_are_those_of_pycocotools(mask):
    height, width = mask.shape
    runs = runs_of(crop_bitmap(Bitmap(0, 0, mask), height, width), height, width)
    text = encode_runs(runs)
    assert text.encode() == run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert decode_runs(text).tolist() == runs.tolist()
    read = bitmap_of(runs, height, width)
    whole = np.zeros_like(mask)
    rows, columns = read.mask.shape
    whole[read.y : read.y + rows, read.x : read.x + columns] = read.mask
    assert (whole == mask).all()
    assert crop_bitmap(read, height, width).mask.shape == read.mask.shape  # no more is unpacked


@given(numbers=st.lists(st.integers(0, 2**28), min_size=1, max_size=30))
def test_large_runs_come_back(numbers):
    assert decode_runs(encode_runs(np.array(numbers))).tolist() == numbers


def test_runs_of_no_length_are_understood():
    bitmap = bitmap_of([0, 2, 0, 1, 3, 0], 3, 2)
    assert (bitmap.x, bitmap.mask.tolist()) == (0, [[True], [True], [True]])


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        pytest.param([1, 2], "fill 3 of 6", id="too few"),
        pytest.param([], "fill 0 of 6", id="none"),
        pytest.param([1, -1, 6], "negative", id="negative"),
        pytest.param([2**62, 2**62, 2**62, 2**62, 6], "longer than the image", id="so large that sums overflow"),
    ],
)
def test_runs_that_fill_no_image(runs, reason):
    with pytest.raises(ValueError, match=reason):
        bitmap_of(runs, 3, 2)


@pytest.mark.parametrize("text", ["", " ", "x", "ä", "P", "o" * 30 + "1", "\ud800"])
def test_texts_that_are_none(text):
    with pytest.raises(ValueError, match="run"):
        decode_runs(text)


@given(text=st.text(max_size=40))
def test_any_text_gives_runs_or_a_reason(text):
    try:
        decode_runs(text)
    except ValueError as error:
        assert "run" in str(error) or text[:2] in ("b'", 'b"')
