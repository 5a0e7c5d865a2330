"""Masks as base64 PNG."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from active_learning.annotations.png import decode_mask, encode_mask

MASK = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)


def png_of(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(lambda shape: arrays(bool, shape)))
def test_round_trip(mask):
    assert (decode_mask(encode_mask(mask)) == mask).all()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.fromarray(MASK), id="1 bit"),
        pytest.param(Image.fromarray(MASK.astype(np.uint8)), id="zeros and ones"),
        pytest.param(Image.fromarray(MASK.astype(np.uint8) * 255), id="0 and 255"),
        pytest.param(Image.fromarray(np.stack([MASK * 0, MASK * 9, MASK * 0], 2).astype(np.uint8)), id="colour"),
        pytest.param(Image.fromarray(MASK.astype(np.uint8) * 9).convert("RGBA"), id="opaque"),
        pytest.param(Image.fromarray(np.stack([MASK * 0, MASK * 255], 2).astype(np.uint8), "LA"), id="black"),
        pytest.param(Image.fromarray(np.stack([MASK | 255, MASK * 9], 2).astype(np.uint8), "LA"), id="white"),
    ],
)
def test_depths(image):
    assert (decode_mask(text_of(png_of(image))) == MASK).all()


PNG = png_of(Image.fromarray(MASK.astype(np.uint8)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("abc", "base64", id="no base64"),
        pytest.param("Zm9vYmFy", "no PNG file", id="other bytes"),
        pytest.param("", "no PNG file", id="empty"),
        pytest.param(text_of(PNG[:-12]), "cut off", id="truncated"),
        pytest.param(text_of(PNG[:-14] + b"x" + PNG[-13:]), "damaged", id="damaged"),
        pytest.param(text_of(PNG[:8]), "no PNG file", id="signature alone"),
    ],
)
def test_what_is_no_mask(text, reason):
    with pytest.raises(ValueError, match=reason):
        decode_mask(text)


def test_a_huge_picture_is_refused_before_it_is_decoded():
    with pytest.raises(ValueError, match="20000x20000"):
        decode_mask(text_of(png_of(Image.new("1", (20000, 20000)))))
