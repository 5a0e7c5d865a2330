"""One mask read from and as all its forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from detectron2.utils.generic_mask import GenericMask, inner_point, without_specks


def ring() -> np.ndarray:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[2:18, 5:25] = 1
    mask[6:12, 10:18] = 0
    return mask


def forms() -> dict[str, object]:
    packed = coco_mask.encode(np.asfortranarray(ring()))
    counts = np.diff(np.flatnonzero(np.diff(ring().ravel(order="F"), prepend=0, append=2)), prepend=0).tolist()
    return {
        "array": ring(),
        "bools": ring().astype(bool),
        "tensor": torch.from_numpy(ring()),
        "packed": packed,
        "counts": {"size": [20, 30], "counts": counts},
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_gives_the_mask(form: str) -> None:
    mask = GenericMask(forms()[form], 20, 30)
    assert np.array_equal(mask.mask, ring())
    assert mask.mask.dtype == np.uint8
    assert mask.has_holes
    assert mask.area() == ring().sum()
    assert mask.bbox().tolist() == [5, 2, 25, 18]
    assert len(mask.polygons) == len(mask.outlines()) == 2


def test_polygons_are_united() -> None:
    square = np.array([2.0, 2, 10, 2, 10, 10, 2, 10])
    backwards = square.reshape(-1, 2)[::-1].ravel() + 4
    mask = GenericMask([square, backwards], 20, 30)
    assert mask.area() == 64 + 64 - 16
    assert not mask.has_holes
    turns = [np.cross(np.append(o[1] - o[0], 0), np.append(o[2] - o[1], 0))[2] > 0 for o in mask.outlines()]
    assert turns == [True, True]


@pytest.mark.parametrize("empty", [[], np.zeros((20, 30))], ids=["polygons", "array"])
def test_empty_masks(empty) -> None:
    mask = GenericMask(empty, 20, 30)
    assert mask.area() == 0
    assert mask.polygons == [] and not mask.has_holes
    assert mask.bbox().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.zeros((3, 3)), "20 x 30"), ("mask", "not str")], ids=["size", "type"]
)
def test_refusals(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenericMask(wrong, 20, 30)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.02, 0.5, 0.95]))
def test_inner_point_is_inside(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((15, 11)) < density
    mask[7, 3] = True
    x, y = inner_point(mask)
    assert mask[int(y), int(x)]


def test_specks_go() -> None:
    mask = ring()
    mask[0, 0] = 1
    assert np.array_equal(without_specks(mask, 2), ring())
    assert np.array_equal(without_specks(mask, 1), mask)
    assert without_specks(mask, 1000).sum() == 0
