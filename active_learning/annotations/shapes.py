"""What the readers and writers of all formats share about a single shape."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from active_learning.annotations import contours
from active_learning.annotations.annotation import Bitmap, Instance, Part, Polygon, ShapeError
from active_learning.annotations.documents import brief

FURTHEST = 1e7  # pixels; beyond it, coordinates are damage
_CLOSED = re.compile(r"rect|quad|rotat|poly(?!line)|box|obb|square|outline|contour|freehand|rhomb|trapez|parallelogram")
_NOT_CLOSED = re.compile(r"3d|line(?!d)|cub|point|mask")


def read_label(entry: Any, field: str, others: str) -> str:
    """The label of a json object, which must have `others` as well. Raises ShapeError."""
    if not isinstance(entry, dict):
        raise ShapeError(f"is {brief(entry)}, not an object with {field} and {others}")
    label = label_text(entry.get(field))
    if not label.strip():
        raise ShapeError(f"the {field} must be a text")
    return label


def label_text(value: Any) -> str:
    """A label as text, in which other programs write a number; "" where it is neither."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (str, int, float)) else ""


def label_of(entry: Any, field: str) -> str:
    """As `read_label`, "" where it has none."""
    return label_text(entry.get(field)) if isinstance(entry, dict) else ""


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


def read_polygon(points: Any) -> Polygon:
    """As `read_points`, of at least three."""
    return read_outline(points, "a polygon", 3)


def read_outline(points: Any, kind: str, fewest: int, most: float = math.inf) -> Polygon:
    """As `read_points`, of as many as the kind of shape, such as "a circle", has."""
    outline = read_points(points)
    if not fewest <= len(outline) <= most:
        raise ShapeError(f"{kind} needs {fewest} points, not {len(outline)}")
    return outline


def is_closed_outline(kind: Any) -> bool:
    """Whether a kind of shape of another tool, such as X-AnyLabeling's "rotation" and "quadrilateral", is by its name
    the outline of an area, its corners in order."""
    name = kind.casefold() if isinstance(kind, str) else ""
    return _CLOSED.search(name) is not None and _NOT_CLOSED.search(name.replace("outline", "")) is None


def box_outline(start: Sequence[float], end: Sequence[float], degrees: float = 0.0) -> Polygon:
    """The four corners of a box between two opposite ones, each (x, y), that is turned clockwise about its middle."""
    (x0, y0), (x1, y1) = start, end
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    return rotated(corners, degrees, corners.mean(axis=0)) if degrees else corners


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
    return np.asarray(np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1) + center)


def has_area(outline: Polygon, height: int, width: int) -> bool:
    """The lobes of an outline that crosses itself can cancel out: such a one counts by its pixels in the image."""
    if len(outline) < 3 or contours.polygon_area(outline) > 1e-6:
        return len(outline) >= 3
    return bool(contours.outlines_bitmap([outline], height, width).mask.any())


def check_drawable(outlines: Sequence[Polygon], height: int, width: int) -> None:
    """Raises ShapeError where filling them takes longer than for any outlines along the edges of pixels.

    The outlines lie inside the image.
    """
    most = 4 * height * width + 2**16
    few_points = sum(map(len, outlines)) * height <= most  # an edge crosses every row at most
    if not few_points and contours.edge_rows(outlines) > most:
        raise ShapeError("the outline runs to and fro more often than the image has pixels")


def clipped_outline(outline: Polygon, height: int, width: int) -> Polygon:
    """The outline inside the image. Raises ShapeError where nothing of it has an area."""
    clipped = contours.clip_polygon(outline, height, width)
    check_drawable([clipped], height, width)
    if not has_area(clipped, height, width):
        raise ShapeError("lies outside the image" if has_area(outline, 0, 0) else "has no area")
    return clipped


def clipped_bitmap(bitmap: Bitmap, height: int, width: int) -> Bitmap:
    """The set pixels inside the image. Raises ShapeError where there are none."""
    if not bitmap.mask.any():
        raise ShapeError("the mask is empty")
    cropped = contours.crop_bitmap(bitmap, height, width)
    if not cropped.mask.size:
        raise ShapeError("lies outside the image")
    return cropped


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
        parts = [_placed(part, offset, max_error) for part in contours.trace_mask(bitmap.mask, 0)]
    regions = (_written_region(part, height, width) for part in parts)
    return [region for region in regions if region is not None]


def _placed(part: Part, offset: np.ndarray, max_error: float) -> Part:
    """A traced part placed in the image; simplified, unless its holes make it a bitmap."""
    if part.holes:
        return Part(part.exterior + offset, tuple(hole + offset for hole in part.holes))
    return Part(contours.simplify_outline(part.exterior, max_error) + offset)


def written_outline(outline: Polygon, height: int, width: int) -> Polygon | None:
    """The outline inside the image, with 2 decimals; None where nothing of it has an area."""
    clipped = contours.clip_polygon(outline, height, width).round(2)
    return clipped if has_area(clipped, height, width) else None


def _written_region(part: Part, height: int, width: int) -> Polygon | Bitmap | None:
    if not part.holes:
        return written_outline(part.exterior, height, width)
    bitmap = contours.crop_bitmap(contours.parts_bitmap([part], height, width), height, width)
    return bitmap if bitmap.mask.size else None
