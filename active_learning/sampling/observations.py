"""Observations: what several passes of one network over one image saw of the same object.

T passes, n detections in one of them (another n in each), K foreground classes, an image of H x W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Passes = Sequence[tuple[Tensor, Tensor, Tensor]]
"""One tuple a pass: masks (n, H, W) bool, boxes (n, 4) as (x0, y0, x1, y1) in pixels, probabilities (n, K) of the
foreground classes; detections in order of falling score, as the network gives them."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask cut to what it holds: `pixels` (h, w) bool with its corner at column x, row y of the image."""

    x: int
    y: int
    pixels: npt.NDArray[np.bool_]
    area: int

    @classmethod
    def cut(cls, x: int, y: int, pixels: npt.NDArray[np.bool_]) -> Mask:
        """From pixels that may have empty rows and columns around what they hold."""
        x0, x1 = _span(np.any(pixels, axis=0))
        y0, y1 = _span(np.any(pixels, axis=1))
        held = pixels[y0:y1, x0:x1]
        return cls(x + x0, y + y0, held, int(np.count_nonzero(held)))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1: the columns x0..x1-1 and rows y0..y1-1 of the image."""
        return self.x, self.y, self.x + self.pixels.shape[1], self.y + self.pixels.shape[0]

    def window(self, x0: int, y0: int, x1: int, y1: int) -> npt.NDArray[np.bool_]:
        """The pixels in columns x0..x1-1 and rows y0..y1-1 of the image; the window must lie inside this mask."""
        return self.pixels[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]

    def iou(self, other: Mask) -> float:
        """Intersection over union; 0 where both are empty."""
        shared = self.intersection(other)
        return shared / (self.area + other.area - shared) if shared else 0.0

    def intersection(self, other: Mask) -> int:
        """Number of pixels in both."""
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        x1, y1 = min(self.bounds[2], other.bounds[2]), min(self.bounds[3], other.bounds[3])
        if x0 >= x1 or y0 >= y1:
            return 0
        return int(np.count_nonzero(self.window(x0, y0, x1, y1) & other.window(x0, y0, x1, y1)))


def _span(occupied: Any) -> tuple[int, int]:
    """Index of the first True and one past the last; 0, 0 where there is none."""
    places = np.flatnonzero(occupied)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


@dataclass(frozen=True, eq=False)
class Detection:
    """One object in one pass: its mask, box (4,) in pixels and probabilities (K,), both float64."""

    mask: Mask
    box: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


Member = tuple[int, Detection]
"""A detection, and the index of the pass it is from."""


def read_passes(passes: Passes) -> list[list[Detection]]:
    """The detections of each pass.

    Raises:
        ValueError: a tensor has another shape or type than `Passes` says.
    """
    for index, one_pass in enumerate(passes):
        _check_shapes(index, one_pass)
    seen = [one_pass for one_pass in passes if len(one_pass[0])]
    if not seen:
        return [[] for _ in passes]
    _check_agreement(seen)
    masks = _cut_masks([mask for mask, _, _ in seen])
    boxes = torch.cat([box for _, box, _ in seen]).detach().cpu().double().numpy()
    probabilities = torch.cat([row for _, _, row in seen]).detach().cpu().double().numpy()
    if not (np.isfinite(boxes).all() and np.isfinite(probabilities).all()):
        raise ValueError("boxes or probabilities hold NaN or infinity; the network that gave them is unusable")
    detections = (Detection(*row) for row in zip(masks, boxes, probabilities, strict=True))
    return [list(itertools.islice(detections, len(one_pass[0]))) for one_pass in passes]


def group_detections(passes: Sequence[Sequence[Detection]], iou_threshold: float) -> list[list[Member]]:
    """Each detection joins the first group whose first member's mask has an IoU above the threshold, or opens one."""
    groups: list[list[Member]] = []
    firsts = _Bounds(sum(len(one_pass) for one_pass in passes))
    for index, one_pass in enumerate(passes):
        for detection in one_pass:
            near = (groups[place] for place in firsts.may_exceed(detection.mask, iou_threshold))
            home = next((group for group in near if detection.mask.iou(group[0][1].mask) > iou_threshold), None)
            if home is None:
                firsts.add(detection.mask)
                groups.append([(index, detection)])
            else:
                home.append((index, detection))
    return groups


class _Bounds:
    """Windows and areas of masks, which say at once for all of them how large an IoU can be at most."""

    def __init__(self, most: int) -> None:
        self.windows = np.empty((most, 4), dtype=np.int64)
        self.areas = np.empty(most, dtype=np.int64)
        self.count = 0

    def add(self, mask: Mask) -> None:
        self.windows[self.count] = mask.bounds
        self.areas[self.count] = mask.area
        self.count += 1

    def may_exceed(self, mask: Mask, iou_threshold: float) -> list[int]:
        """Places of the masks whose IoU with this one may be above the threshold, in the order they were added."""
        windows, areas = self.windows[: self.count], self.areas[: self.count]
        x0, y0, x1, y1 = mask.bounds
        sides_x = np.minimum(windows[:, 2], x1) - np.maximum(windows[:, 0], x0)
        sides_y = np.minimum(windows[:, 3], y1) - np.maximum(windows[:, 1], y0)
        shared = np.minimum(sides_x.clip(0) * sides_y.clip(0), np.minimum(areas, mask.area))
        at_most = shared / np.maximum(areas + mask.area - shared, 1)
        return np.flatnonzero(at_most > iou_threshold).tolist()


def _check_shapes(index: int, one_pass: tuple[Tensor, Tensor, Tensor]) -> None:
    masks, boxes, probabilities = one_pass
    count = len(masks)
    if len(boxes) != count or len(probabilities) != count:
        shapes = f"{tuple(masks.shape)}, {tuple(boxes.shape)} and {tuple(probabilities.shape)}"
        raise ValueError(f"pass {index}: masks, boxes and probabilities must be equally many, not of shape {shapes}")
    if count == 0:
        return
    if masks.dim() != 3 or masks.dtype != torch.bool:
        raise ValueError(f"pass {index}: masks must be (n, H, W) bool, not {tuple(masks.shape)} {masks.dtype}")
    if boxes.shape != (count, 4):
        raise ValueError(f"pass {index}: boxes must be (n, 4), not {tuple(boxes.shape)}")
    if probabilities.dim() != 2 or probabilities.shape[1] == 0:
        raise ValueError(f"pass {index}: probabilities must be (n, K) with K >= 1, not {tuple(probabilities.shape)}")


def _check_agreement(passes: Passes) -> None:
    sizes = {tuple(masks.shape[1:]) for masks, _, _ in passes}
    classes = {probabilities.shape[1] for _, _, probabilities in passes}
    if len(sizes) > 1:
        raise ValueError(f"masks must be of one size (H, W) in all passes, not {sorted(sizes)}")
    if len(classes) > 1:
        raise ValueError(f"probabilities must have one number of classes in all passes, not {sorted(classes)}")


def _cut_masks(masks: Sequence[Tensor]) -> list[Mask]:
    """Two transfers from the device for all masks of all passes: their extents, then what lies inside them."""
    extents = torch.cat([_extents(stack) for stack in masks]).tolist()
    every = [mask for stack in masks for mask in stack]
    pieces = [mask[y0:y1, x0:x1].reshape(-1) for mask, (x0, y0, x1, y1) in zip(every, extents, strict=True)]
    flat = torch.cat(pieces).cpu().numpy()
    ends = np.cumsum([len(piece) for piece in pieces])
    cut = []
    for (x0, y0, x1, y1), end in zip(extents, ends, strict=True):
        pixels = flat[end - (y1 - y0) * (x1 - x0) : end].reshape(y1 - y0, x1 - x0)
        cut.append(Mask(x0, y0, pixels, int(np.count_nonzero(pixels))))
    return cut


def _extents(masks: Tensor) -> Tensor:
    """Masks (n, H, W) bool to (n, 4) (x0, y0, x1, y1), the columns x0..x1-1 and rows y0..y1-1 that hold a pixel."""
    pixels = masks.view(torch.uint8)  # amax of bytes is many times faster than any() of booleans
    x0, x1 = _first_and_end(pixels.amax(1))
    y0, y1 = _first_and_end(pixels.amax(2))
    return torch.stack([x0, y0, x1, y1], dim=1)


def _first_and_end(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of 0 and 1: index of the first 1 and one past the last; 0, 0 where there is none."""
    any_there = occupied.amax(1)
    end = occupied.shape[1] - occupied.flip(1).argmax(1)
    return occupied.argmax(1), end * any_there
