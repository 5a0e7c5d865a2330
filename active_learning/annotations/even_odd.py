"""Regions as a set of closed paths under the even-odd rule: a point is inside when an odd number of paths enclose it.

Such paths have no roles: a path within another is a hole, a path within a hole is a part, and where two paths overlap
the region ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from active_learning.annotations.annotation import Bitmap, Part, Polygon
from active_learning.annotations.contours import crop_bitmap, outlines_bitmap, parts_bitmap, trace_mask
from active_learning.annotations.shapes import written_outline

_TOUCHING = 0.02  # pixels; twice what rounding to 2 decimals moves a point
_MOST_PATHS = 1000  # of an object: as many are compared pair by pair, more go through a bitmap
_MOST_OVERLAPS = 10_000  # of the boxes of two paths: a second to find out whether they cross
_MOST_PAIRS = 2**18  # of points that are compared to join a path to others


def region_of_paths(paths: Sequence[Polygon], height: int, width: int) -> tuple[Part, ...] | Bitmap:
    """What the paths enclose in an image of that size: parts with holes, or a bitmap where the paths overlap."""
    if len(paths) == 1:
        return (Part(paths[0]),)
    region = crop_bitmap(outlines_bitmap(paths, height, width), height, width)
    if len(paths) > _MOST_PATHS:
        return region
    parts = _nested(paths)
    return parts if _same(parts_bitmap(parts, height, width), region, height, width) else region


def paths_of_parts(parts: Iterable[Part], height: int, width: int, max_error: float) -> list[Polygon]:
    """The union of the parts as paths that do not overlap, clipped to the image, with 2 decimals.

    Parts that overlap are united pixel by pixel and traced again, within `max_error` pixels.
    """
    kept = [clipped for part in parts if (clipped := _clipped_part(part, height, width)) is not None]
    if not kept or _is_even_odd(kept, height, width):
        return _paths(kept)
    return paths_of_bitmap(crop_bitmap(parts_bitmap(kept, height, width), height, width), max_error)


def paths_of_bitmap(bitmap: Bitmap, max_error: float) -> list[Polygon]:
    """The outlines of a mask as paths that do not overlap; closer than `max_error` where they would otherwise."""
    if not bitmap.mask.any():
        return []
    for error in (max_error, max_error / 2, max_error / 4):
        parts = trace_mask(bitmap.mask, error)
        if _is_even_odd(parts, *bitmap.mask.shape):
            break
    else:
        parts = trace_mask(bitmap.mask, 0)  # along the pixel edges, outlines touch but never cross
    return [(path + (bitmap.x, bitmap.y)).round(2) for path in _paths(parts)]


def join_paths(paths: Sequence[Polygon]) -> Polygon:
    """One path that encloses what paths that nowhere cross do, for formats with one outline an object.

    Each path is reached from a near point of those before it, and left the same way: such a line, run to and fro,
    encloses nothing. Outlines of parts run one way round and those of holes the other, so that areas add up.
    """
    if len(paths) == 1:
        return paths[0]
    parts = _nested(paths)
    turned = [
        _turned(path, sign) for part in parts for path, sign in [(part.exterior, 1), *((h, -1) for h in part.holes)]
    ]
    first, *others = turned if len(turned) == len(paths) else paths
    joined = first
    for path in others:
        here, there = _near_points(joined, path)
        loop = np.roll(path, -there, axis=0)
        joined = np.concatenate([joined[: here + 1], loop, loop[:1], joined[here:]])
    return joined


def _turned(path: Polygon, sign: int) -> Polygon:
    """The path run the way round that gives its area that sign."""
    following = np.roll(path, -1, axis=0)
    area = float((path[:, 0] * following[:, 1] - following[:, 0] * path[:, 1]).sum())
    return path if area * sign >= 0 else path[::-1]


def _near_points(path: Polygon, other: Polygon) -> tuple[int, int]:
    """The indices of the nearest points of two paths; of very long ones, of some of the points of the second."""
    step = -(-len(path) * len(other) // _MOST_PAIRS)
    distances = ((path[:, None] - other[None, ::step]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    return int(here), int(there) * step


def split_path(path: Polygon) -> list[Polygon]:
    """The opposite of `join_paths`: the rings that are left without the lines that are run to and fro.

    They enclose the same under the even-odd rule; a path without such lines is one ring. Lines that meet nothing are
    dropped, so that no ring may be left of a path without an area; then it is returned as it is.
    """
    rings: list[list[tuple[float, float]]] = []
    walked: list[tuple[float, float]] = []
    starts: dict[tuple[tuple[float, float], tuple[float, float]], int] = {}
    for x, y in [*path.tolist(), path[0].tolist()]:
        point = (x, y)
        if walked and walked[-1] == point:
            continue
        start = starts.get((point, walked[-1])) if walked else None
        if start is None:
            if walked:
                starts[walked[-1], point] = len(walked) - 1
            walked.append(point)
            continue
        rings.append(walked[start + 1 : -1])
        for at in range(start, len(walked) - 1):
            starts.pop((walked[at], walked[at + 1]), None)
        del walked[start + 1 :]
    rings.append(walked[:-1] if len(walked) > 1 else walked)
    return [np.array(ring) for ring in rings if len(ring) >= 3] or [path]


def _paths(parts: Iterable[Part]) -> list[Polygon]:
    return [path for part in parts for path in (part.exterior, *part.holes)]


def _clipped_part(part: Part, height: int, width: int) -> Part | None:
    exterior = written_outline(part.exterior, height, width)
    holes = (written_outline(hole, height, width) for hole in part.holes)
    return None if exterior is None else Part(exterior, tuple(hole for hole in holes if hole is not None))


def _same(first: Bitmap, second: Bitmap, height: int, width: int) -> bool:
    first, second = crop_bitmap(first, height, width), crop_bitmap(second, height, width)
    return (first.x, first.y) == (second.x, second.y) and np.array_equal(first.mask, second.mask)


def _is_even_odd(parts: Sequence[Part], height: int, width: int) -> bool:
    """Whether the paths of the parts, taken together, enclose the union of the parts and nowhere cross.

    False as well where there are too many to find out.
    """
    paths = _paths(parts)
    if len(paths) == 1:
        return True
    if len(paths) > _MOST_PATHS:
        return False
    union = parts_bitmap(parts, height, width)
    return _same(outlines_bitmap(paths, height, width), union, height, width) and not _any_cross(paths)


def _boxes(paths: Sequence[Polygon]) -> tuple[np.ndarray, np.ndarray]:
    """Upper left and lower right corners, Nx2 each."""
    return np.stack([path.min(axis=0) for path in paths]), np.stack([path.max(axis=0) for path in paths])


def _nested(paths: Sequence[Polygon]) -> tuple[Part, ...]:
    """The paths as parts: those within an even number of others are exteriors, the others are holes of the innermost
    exterior around them. Meaningful where no two paths cross."""
    low, high = _boxes(paths)
    within = np.asarray((low[:, None] >= low).all(axis=2) & (high[:, None] <= high).all(axis=2))
    np.fill_diagonal(within, False)
    around: list[set[int]] = [set() for _ in paths]
    for inner, outer in np.argwhere(within).tolist():
        if _encloses(paths[outer], paths[inner]):
            around[inner].add(outer)
    holes: dict[int, list[Polygon]] = {index: [] for index, outers in enumerate(around) if len(outers) % 2 == 0}
    for index, outers in enumerate(around):
        if len(outers) % 2:
            exteriors = [one for one in outers if one in holes]
            if exteriors:
                holes[max(exteriors, key=lambda one: len(around[one]))].append(paths[index])
    return tuple(Part(paths[index], tuple(inner)) for index, inner in holes.items())


def _encloses(outer: Polygon, inner: Polygon) -> bool:
    """Whether the first point of `inner` that is not on `outer` lies inside it."""
    contour = outer.astype(np.float32)
    sides = (cv2.pointPolygonTest(contour, (x, y), False) for x, y in inner.tolist())
    return next((side > 0 for side in sides if side), False)


def _any_cross(paths: Sequence[Polygon]) -> bool:
    """Whether two of them do; True as well where there are too many to find out."""
    low, high = _boxes(paths)
    overlap = (low[:, None] < high).all(axis=2) & (high[:, None] > low).all(axis=2)
    pairs = np.argwhere(np.triu(overlap, 1)).tolist()
    return len(pairs) > _MOST_OVERLAPS or any(_cross(paths[one], paths[other]) for one, other in pairs)


def _cross(first: Polygon, second: Polygon) -> bool:
    """Whether an edge of one path crosses an edge of the other by more than rounding can cause."""
    first_end, second_end = np.roll(first, -1, axis=0), np.roll(second, -1, axis=0)
    for start in range(0, len(first), 256):  # bounds the memory for paths of thousands of points
        edges = first[start : start + 256], first_end[start : start + 256]
        apart = _straddles(*edges, second, second_end) & _straddles(second, second_end, *edges).T
        if apart.any():
            return True
    return False


def _straddles(start: Polygon, end: Polygon, points: Polygon, others: Polygon) -> np.ndarray:
    """NxM: whether points[m] and others[m] lie on different sides of the line start[n]-end[n]."""
    along = end - start
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-12)[:, None]
    offset = (normal * start).sum(axis=1)[:, None]
    one, other = normal @ points.T - offset, normal @ others.T - offset
    return np.asarray((np.minimum(one, other) < -_TOUCHING) & (np.maximum(one, other) > _TOUCHING))
