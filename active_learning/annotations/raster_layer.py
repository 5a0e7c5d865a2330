"""Raster layers of V7 Darwin: the masks of an image as one run-length coded image of numbers, a number a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from active_learning.annotations.annotation import Bitmap, ShapeError
from active_learning.annotations.canvas import Canvas
from active_learning.annotations.documents import brief
from active_learning.annotations.png import MOST_PIXELS
from active_learning.annotations.run_lengths import bitmap_of_rows

_NONE = np.zeros(0, dtype=np.int64)


def read_layers(
    entries: Iterable[Any], sizes: Sequence[Any], canvas: Canvas
) -> tuple[dict[str, Bitmap], tuple[str, ...]]:
    """The masks of the raster layers by annotation id, and what is wrong with the layers that cannot be decoded.

    Masks that none of the entries claims are lost objects of the canvas.

    Raises:
        AnnotationError: the masks take more room than those of a file may.
    """
    masks: dict[str, Bitmap] = {}
    faults, room = [], canvas.pixels  # as much again as the objects keep, of which each may use a mask of these
    known = [entry for entry in entries if isinstance(entry, dict)]
    claimed = {one["id"] for one in known if "raster_layer" not in one and isinstance(one.get("id"), str)}
    for layer in [one["raster_layer"] for one in known if "raster_layer" in one]:
        try:
            for identifier, bitmap in _read_layer(layer, sizes, canvas):
                room -= bitmap.mask.size
                if room < 0:
                    raise canvas.overfull()
                masks[identifier] = bitmap
                if bitmap.mask.size and identifier not in claimed:
                    canvas.lose(f"{canvas.place}: raster layer: no annotation has the id {brief(identifier)}")
        except ShapeError as fault:
            faults.append(str(fault))
            if not any("mask" in one for one in known):  # each of which would tell
                canvas.lose(f"{canvas.place}: raster layer: {fault}")
    return masks, tuple(faults)


def _read_layer(layer: Any, sizes: Sequence[Any], canvas: Canvas) -> Iterator[tuple[str, Bitmap]]:
    """Masks by annotation id, from runs [value, count, value, count, ...] along the rows of an image of one of the
    sizes (height, width). Raises ShapeError, also where that is not the size of the image."""
    mapping = layer.get("mask_annotation_ids_mapping") if isinstance(layer, dict) else None
    if not isinstance(mapping, dict):
        raise ShapeError("the raster layer has no mask_annotation_ids_mapping")
    values, counts = _read_runs(layer.get("dense_rle"))
    total = int(counts.sum())
    height, width = next((size for size in sizes if _pixels(size) == total), (0, 0))
    if not width:
        lengths = " or ".join(f"{size[1]}x{size[0]}" for size in sizes if _pixels(size))
        raise ShapeError(f"the raster layer has {total} pixels, not {lengths}")
    canvas.check_mask(height, width)
    ends = np.cumsum(counts)
    by_value = np.argsort(values, kind="stable")
    numbers, firsts = np.unique(values[by_value], return_index=True)
    runs_of = dict(zip(numbers.tolist(), np.split(by_value, firsts[1:]), strict=True))
    if unmapped := sorted(runs_of.keys() - {0, *filter(lambda value: type(value) is int, mapping.values())}):
        canvas.lose(f"{canvas.place}: raster layer: no annotation is mapped to {brief(unmapped)}")
    for identifier, value in mapping.items():
        runs = runs_of.get(value, _NONE) if type(value) is int and value else _NONE
        yield identifier, bitmap_of_rows(ends[runs] - counts[runs], ends[runs], width)


def _read_runs(runs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and counts of the runs that are not empty. Raises ShapeError."""
    if not isinstance(runs, list) or not runs or len(runs) % 2 or not {int}.issuperset(map(type, runs)):
        raise ShapeError("dense_rle is no list of integers, two a run")
    try:
        values, counts = np.array(runs, dtype=np.int64).reshape(-1, 2).T
    except OverflowError as error:
        raise ShapeError("dense_rle is no list of integers of a possible size") from error
    if not len(counts) or counts.min() < 0 or counts.max() > MOST_PIXELS:
        raise ShapeError("dense_rle has a run of no possible length")
    return values[counts > 0], counts[counts > 0]


def _pixels(size: Sequence[Any]) -> int:
    """Of an image of that height and width; 0 where it is no size."""
    if not all(type(length) is int and 0 < length <= MOST_PIXELS for length in size):
        return 0
    return size[0] * size[1] if size[0] * size[1] <= MOST_PIXELS else 0
