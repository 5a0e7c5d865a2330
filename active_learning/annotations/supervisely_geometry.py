"""The regions of Supervisely's geometries."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_learning.annotations.annotation import Bitmap, Mask, Part, Polygon, ShapeError
from active_learning.annotations.canvas import Canvas, Regions
from active_learning.annotations.contours import clip_polygon
from active_learning.annotations.documents import brief
from active_learning.annotations.png import SIGNATURE, decode_base64, decode_png
from active_learning.annotations.shapes import box_outline, has_area, read_outline, read_points, read_polygon


@dataclass(frozen=True)
class Grid:
    """The image, and what the coordinates in the file are: of corners where they `have_fractions`, else of pixels."""

    canvas: Canvas
    have_fractions: bool


def has_fractions(entries: Sequence[Any]) -> bool:
    """Whether any outline has a coordinate between whole numbers; boxes with an angle may have some in any file."""
    outlined = [entry for entry in entries if isinstance(entry, dict) and "angle" not in entry]
    pending = [entry.get(key) for entry in outlined for key in ("points", "parts")]
    while pending:
        value = pending.pop()
        if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
            return True
        if isinstance(value, (list, dict)):
            pending += value.values() if isinstance(value, dict) else value
    return False


def has_outline(entry: dict[str, Any], fewest: int) -> bool:
    """Whether an object has the points of a polygon, so many at least."""
    points = entry.get("points")
    exterior = points.get("exterior") if isinstance(points, dict) else None
    return isinstance(exterior, list) and len(exterior) >= fewest


def _polygon(entry: dict[str, Any], grid: Grid) -> Regions:
    part, faults = _read_part(entry.get("points"), grid, "points")
    return (part,), faults


def _multipolygon(entry: dict[str, Any], grid: Grid) -> Regions:
    if not isinstance(entry.get("parts"), list) or not entry["parts"]:
        raise ShapeError("has no parts")
    parts, faults = [], []
    for index, points in enumerate(entry["parts"]):
        place = f"parts[{index}]"
        try:
            part, holes_faults = _read_part(points, grid, place)
        except ShapeError as fault:
            faults.append(f"{place}: {fault}; the part is left out")
        else:
            parts.append(part)
            faults += holes_faults
    if not parts:
        raise ShapeError(faults[0].removesuffix("; the part is left out"))
    return tuple(parts), faults


def _read_part(points: Any, grid: Grid, place: str) -> tuple[Part, list[str]]:
    """An exterior with its holes, and the faults of the holes that are left out."""
    if not isinstance(points, dict):
        raise ShapeError(f"the points must have exterior and interior, but are {brief(points)}")
    exterior = grid.canvas.part(_outline(points.get("exterior"), grid)).exterior
    interior = points.get("interior") or []
    if not isinstance(interior, list):
        return Part(exterior), [f"{place}.interior: is {brief(interior)}, not a list; the holes are filled"]
    holes, faults = [], []
    for index, ring in enumerate(interior):
        try:
            hole = clip_polygon(_outline(ring, grid), grid.canvas.height, grid.canvas.width)
        except ShapeError as fault:
            faults.append(f"{place}.interior[{index}]: {fault}; the hole is filled")
        else:
            holes += [hole] if has_area(hole, grid.canvas.height, grid.canvas.width) else []
    return Part(exterior, tuple(holes)), faults


def _outline(points: Any, grid: Grid) -> Polygon:
    """Corner coordinates. Raises ShapeError."""
    outline = read_polygon(points)
    return outline if grid.have_fractions else outline + 0.5


def _rectangle(entry: dict[str, Any], grid: Grid) -> Regions:
    """Whole numbers are the pixels of two opposite corners, in any file: the SDK writes no other, nor does the tool."""
    have_fractions = has_fractions([{"points": entry.get("points")}])
    return (grid.canvas.part(_box(entry.get("points"), have_fractions)),), []


def _oriented_bbox(entry: dict[str, Any], grid: Grid) -> Regions:
    """A box turned about its middle by an angle in radians, clockwise."""
    angle = entry.get("angle")
    if not isinstance(angle, (int, float)) or isinstance(angle, bool) or not abs(angle) < 1e6:
        raise ShapeError(f"the angle must be a number of radians, not {brief(angle)}")
    have_fractions = grid.have_fractions or has_fractions([{"points": entry.get("points")}])
    return (grid.canvas.part(_box(entry.get("points"), have_fractions, math.degrees(angle))),), []


def _box(points: Any, have_fractions: bool, degrees: float = 0.0) -> Polygon:
    """The four corners of a box, given by two opposite ones; both pixels belong to it where they are indices."""
    ends = read_outline(points.get("exterior") if isinstance(points, dict) else points, "a rectangle", 2, 2)
    return box_outline(ends.min(axis=0), ends.max(axis=0) + (0 if have_fractions else 1), degrees)


def _bitmap(entry: dict[str, Any], grid: Grid) -> Regions:
    content = entry.get("bitmap", entry.get("alpha_mask"))
    if not isinstance(content, dict) or not isinstance(content.get("data"), str) or not content["data"]:
        raise ShapeError("has no mask")
    grid.canvas.check_crop()
    x, y = np.rint(read_points([content.get("origin")])[0]).astype(int).tolist()
    most_pixels = grid.canvas.most_pixels()
    try:
        mask = _decode(content["data"], most_pixels)
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: {error}") from error
    return (grid.canvas.bitmap(Bitmap(x, y, mask)),), []


GEOMETRIES: dict[str, Callable[[dict[str, Any], Grid], Regions]] = {
    "polygon": _polygon,
    "multipolygon": _multipolygon,
    "rectangle": _rectangle,
    "oriented_bbox": _oriented_bbox,
    "bitmap": _bitmap,
    "alpha_mask": _bitmap,
}


def _decode(text: str, most_pixels: int) -> Mask:
    """A mask from a base64 PNG, mostly compressed once more. Raises ValueError."""
    content = decode_base64(text)
    if not content.startswith(SIGNATURE):
        content = _decompress(content, 4 * most_pixels + 2**16)
    return decode_png(content, by_alpha=True, most_pixels=most_pixels)


def _decompress(content: bytes, most_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        png = stream.decompress(content, most_bytes)
    except zlib.error as error:
        raise ValueError(f"neither a PNG nor compressed by zlib: {error}") from error
    if stream.unconsumed_tail:
        raise ValueError(f"more than {most_bytes} bytes when decompressed")
    if not stream.eof:
        raise ValueError("the compressed PNG is cut off")
    return png
