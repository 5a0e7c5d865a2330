"""Observations: the detections of one object in several passes of one network over one image.

T passes, n detections in one of them (another n in each), K foreground classes, an image of H x W pixels, C numbers
that describe the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask cut to what it holds: `pixels` (h, w) bool with its corner at column x, row y of the image."""

    x: int
    y: int
    pixels: npt.NDArray[np.bool_]
    area: int

    @classmethod
    def cut(cls, x: int, y: int, pixels: npt.NDArray[np.bool_]) -> Mask:
        """From pixels (h, w), with their corner at column x, row y, which may have empty rows and columns around what
        they hold."""
        x0, x1 = _span(np.any(pixels, axis=0))
        y0, y1 = _span(np.any(pixels, axis=1))
        held = pixels[y0:y1, x0:x1]
        return cls(x + x0, y + y0, held, int(np.count_nonzero(held)))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1: the columns x0..x1-1 and rows y0..y1-1 of the image."""
        return self.x, self.y, self.x + self.pixels.shape[1], self.y + self.pixels.shape[0]

    def window(self, x0: int, y0: int, x1: int, y1: int) -> npt.NDArray[np.bool_]:
        """The pixels (y1 - y0, x1 - x0) in columns x0..x1-1 and rows y0..y1-1 of the image, all inside this mask."""
        return self.pixels[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]

    def within(self, x0: int, y0: int, x1: int, y1: int) -> Mask:
        """What lies in columns x0..x1-1 and rows y0..y1-1 of the image, wherever that window is."""
        left, top, right, bottom = self.bounds
        left, top = max(left, x0), max(top, y0)
        pixels = self.window(left, top, max(min(right, x1), left), max(min(bottom, y1), top))
        return Mask(left, top, pixels, int(np.count_nonzero(pixels)))

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


def _span(occupied: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Index of the first True and one past the last; 0, 0 where there is none."""
    places = np.flatnonzero(occupied)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


@dataclass(frozen=True, eq=False)
class Detection:
    """One object in one pass: its mask, box (4,) in pixels and probabilities (K,), both float64."""

    mask: Mask
    box: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ForwardPasses:
    """What T forward passes with dropout found in one image.

    Attributes:
        passes: T tuples of detections, each in order of falling score; boxes and masks in pixels of the image file.
        features: (C,) the backbone's features, averaged over the image; the same for all passes.
        image_height, image_width: of the image file, in pixels.
    """

    passes: tuple[tuple[Detection, ...], ...]
    features: npt.NDArray[np.float32]
    image_height: int
    image_width: int


Member = tuple[int, Detection]
"""A detection, and the index of the pass it is from."""


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
    """Windows and areas of masks: a bound of the IoU with all of them at once, before any pixel is counted."""

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
        places: list[int] = np.flatnonzero(at_most > iou_threshold).tolist()
        return places
