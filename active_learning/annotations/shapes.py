"""What the readers of all formats share: checks of single shapes, and shapes joined to objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from active_learning.annotations.annotation import Bitmap, Instance, Part, Polygon
from active_learning.annotations.contours import (
    clip_polygon,
    crop_bitmap,
    edge_rows,
    parts_bitmap,
    polygon_area,
    simplify_outline,
    trace_mask,
    union_bitmap,
)
from active_learning.annotations.png import MOST_PIXELS
from active_learning.errors import AnnotationError

FURTHEST = 1e7  # pixels; beyond it, coordinates are damage
MOST_MASK_PIXELS = 2 * MOST_PIXELS  # of all masks of a file
_SMALL = 2**22  # pixels; masks up to this size are decoded however small the image


class ShapeError(ValueError):
    """Why one shape is left out."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A readable shape; shapes of equal `key` are one object. The regions of a shape are one union."""

    key: tuple[Any, ...]
    label: str
    regions: tuple[Part | Bitmap, ...]
    score: float | None
    origin: str


def brief(value: Any) -> str:
    """A value as it stands in a message."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value nested too deep to show"
    return text if len(text) <= 40 else text[:37] + "..."


def read_points(points: Any) -> Polygon:
    """Nx2 finite numbers from a list of [x, y] pairs. Raises ShapeError."""
    if not isinstance(points, list) or not points:
        raise ShapeError("has no points")
    try:
        # Types first: an array of texts has room for the longest in each place, which can be gigabytes.
        if not {int, float}.issuperset(map(type, chain.from_iterable(points))):
            raise ValueError("other things than numbers")
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("the points are not [x, y] pairs of numbers") from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise ShapeError("the points are not [x, y] pairs of numbers")
    if not -FURTHEST < array.min() <= array.max() < FURTHEST:  # nor NaN
        raise ShapeError("a coordinate is not a number or absurdly large")
    return array


def read_score(value: Any) -> float | None:
    """A confidence 0..1; None where it is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None


def ellipse_outline(center: Sequence[float], radii: Sequence[float], angle: float = 0.0) -> Polygon:
    """An ellipse as a polygon that stays within 0.05 pixels of it; half axes (along x, along y) before it is turned by
    `angle` radians, clockwise as seen in the image."""
    count = min(max(16, math.ceil(10 * math.sqrt(max(map(abs, radii))))), 720)
    turns = np.arange(count) * (2 * math.pi / count)
    x, y = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.asarray(center) + np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


def has_area(outline: Polygon, height: int, width: int) -> bool:
    """The lobes of an outline that crosses itself can cancel out: such a one counts by its pixels in the image."""
    if len(outline) < 3:
        return False
    return polygon_area(outline) > 1e-6 or bool(parts_bitmap([Part(outline)], height, width).mask.any())


def check_drawable(outlines: Sequence[Polygon], height: int, width: int) -> None:
    """Raises ShapeError where drawing takes longer than for any outlines along the edges of pixels; the outlines lie
    inside the image."""
    most = 4 * height * width + 2**16
    few_points = sum(map(len, outlines)) * height <= most  # an edge crosses every row at most
    if not few_points and edge_rows(outlines) > most:
        raise ShapeError("the outline runs to and fro more often than the image has pixels")


def clipped_outline(outline: Polygon, height: int, width: int) -> Polygon:
    """The outline inside the image. Raises ShapeError where nothing of it has an area."""
    if outline.min() < 0 or outline[:, 0].max() > width or outline[:, 1].max() > height:
        clipped = clip_polygon(outline, height, width)
        check_drawable([clipped], height, width)
        if not has_area(clipped, height, width):
            raise ShapeError("has no area" if not has_area(outline, 0, 0) else "lies outside the image")
        return clipped
    check_drawable([outline], height, width)
    if not has_area(outline, height, width):
        raise ShapeError("has no area")
    return outline


@dataclass
class MaskRoom:
    """Bounds what the masks of a file take in an image of that size: a few bytes can stand for a mask of megabytes."""

    height: int
    width: int
    pixels: int = MOST_MASK_PIXELS  # what is left

    def most_pixels(self) -> int:
        """The largest mask to decode; it may be dragged over the image's border. Raises ShapeError where the masks
        before it took all room."""
        if self.pixels <= 0:
            raise ShapeError(f"the masks before it hold {MOST_MASK_PIXELS} pixels already; no more are read")
        return min(max(2 * self.height * self.width, _SMALL), MOST_PIXELS)

    def place(self, bitmap: Bitmap) -> Bitmap:
        """The set pixels inside the image. Raises ShapeError where there are none."""
        self.pixels -= bitmap.mask.size // 16  # for the work of decoding, even where nothing is left of it
        placed = clipped_bitmap(bitmap, self.height, self.width)
        self.pixels -= placed.mask.size
        return placed


def clipped_bitmap(bitmap: Bitmap, height: int, width: int) -> Bitmap:
    """The set pixels inside the image. Raises ShapeError where there are none."""
    if not bitmap.mask.any():
        raise ShapeError("the mask is empty")
    cropped = crop_bitmap(bitmap, height, width)
    if not cropped.mask.size:
        raise ShapeError("lies outside the image")
    return cropped


def join_objects(
    objects: Iterable[Sequence[Shape]], room: MaskRoom, path: Path | str, warnings: list[str]
) -> tuple[Instance, ...]:
    """An instance for each group of shapes, their union; `warnings` gets a line for each that finds no room."""
    instances = []
    for shapes in objects:
        try:
            instances.append(_join(shapes, room))
        except ShapeError as fault:
            first = shapes[0]
            warnings.append(f"{path}: {first.origin}: label {brief(first.label)}: {fault}; the object is left out")
    return tuple(instances)


def _join(shapes: Sequence[Shape], room: MaskRoom) -> Instance:
    """Raises ShapeError."""
    scores = [shape.score for shape in shapes if shape.score is not None]
    first, score = shapes[0], max(scores, default=None)
    regions = [region for shape in shapes for region in shape.regions]
    parts = tuple(region for region in regions if isinstance(region, Part))
    bitmaps = [region for region in regions if isinstance(region, Bitmap)]
    if not bitmaps:
        return Instance(first.label, parts, None, score, first.origin)
    if len(regions) == 1:
        return Instance(first.label, (), bitmaps[0], score, first.origin)
    room.most_pixels()
    if parts:
        bitmaps.append(parts_bitmap(parts, room.height, room.width))
    return Instance(first.label, (), room.place(union_bitmap(bitmaps)), score, first.origin)


def image_size(
    declared: tuple[Any, Any], size: tuple[int, int] | None, path: Path | str, places: tuple[str, str]
) -> tuple[int, int, list[str]]:
    """Height and width to trust, and a warning where the file declares others.

    Args:
        declared: (height, width) as the file gives them, None where it does not.
        size: the image's real (height, width), None where it is unknown.
        path: the file, or the place in it, for messages.
        places: the names of the two fields, for messages.

    Raises:
        AnnotationError: the real size is unknown, and the declared one is none.
    """
    if size is None:
        if not all(type(length) is int and length > 0 for length in declared):
            values = ", ".join(map(brief, declared))
            raise AnnotationError(f"{path}: {', '.join(places)}: no image size ({values})")
        if declared[0] * declared[1] > MOST_PIXELS:
            pixels = " x ".join(map(brief, declared))
            raise AnnotationError(f"{path}: {', '.join(places)}: {pixels} pixels are no image of this world")
        return *declared, []  # type: ignore[return-value]
    if declared in (size, (None, None)):
        return *size, []
    reason = "; was it annotated without regard to its EXIF rotation?" if declared == size[::-1] else ""
    heights = f"{places[0]} {brief(declared[0])}, {places[1]} {brief(declared[1])}"
    return *size, [f"{path}: {heights}: the image has height {size[0]}, width {size[1]}, which is used{reason}"]


def rotated(points: Polygon, degrees: float, centre: Polygon) -> Polygon:
    """The points turned clockwise, as one sees it, about the centre (x, y)."""
    x, y = (points - centre).T
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.asarray(centre + np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1))


def written_regions(instance: Instance, height: int, width: int, max_error: float) -> list[Polygon | Bitmap]:
    """The parts of an object for a format whose polygons have no holes: polygons, and bitmaps for parts with holes.

    Outlines of bitmaps are within `max_error` pixels; polygons stay as they are, with 2 decimals. What lies outside
    the image is cut off, parts without a pixel inside are dropped.
    """
    bitmap = instance.bitmap
    if bitmap is None:
        parts: Sequence[Part] = instance.parts
    else:
        offset = np.array([bitmap.x, bitmap.y])
        parts = [_placed(part, offset, max_error) for part in trace_mask(bitmap.mask, 0)]
    regions = (
        _bitmap_inside(part, height, width) if part.holes else _outline_inside(part, height, width) for part in parts
    )
    return [region for region in regions if region is not None]


def _placed(part: Part, offset: np.ndarray, max_error: float) -> Part:
    """A traced part placed in the image; simplified, unless its holes make it a bitmap."""
    if part.holes:
        return Part(part.exterior + offset, tuple(hole + offset for hole in part.holes))
    return Part(simplify_outline(part.exterior, max_error) + offset)


def _outline_inside(part: Part, height: int, width: int) -> Polygon | None:
    outline = clip_polygon(part.exterior, height, width).round(2)
    return outline if has_area(outline, height, width) else None


def _bitmap_inside(part: Part, height: int, width: int) -> Bitmap | None:
    bitmap = crop_bitmap(parts_bitmap([part], height, width), height, width)
    return bitmap if bitmap.mask.size else None
