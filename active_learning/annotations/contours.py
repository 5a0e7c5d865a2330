"""Polygons to masks and back.

A pixel belongs to a polygon when its centre (column + 0.5, row + 0.5) lies inside by the even-odd rule, so borders
are not painted: areas neither grow nor shrink, and a mask traced here and filled again is the same mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from active_learning.annotations.annotation import Bitmap, Instance, Mask, Part, Polygon

# The outline through the middles of the pixel edges is at most this far from the outline along the edges.
_CORNER_CUT = 0.5 * np.sqrt(0.5)
_CROSSINGS_AT_ONCE = 2**20
_ROWS = 32  # through an outline, in which is looked whether it crosses itself
_MOST_ROWS = 2**14  # in which the area of one that does is measured,
_MOST_TESTS = 2**23  # or as many as rows and edges make of tests at most


def polygon_area(polygon: Polygon) -> float:
    """The enclosed area in square pixels (shoelace formula), whichever way round the points run."""
    # As complex numbers, the products of neighbours have the areas as their imaginary parts.
    points = np.subtract(polygon, polygon[0], dtype=np.float64, order="C").view(np.complex128)[:, 0]
    return abs(float(np.vdot(points[:-1], points[1:]).imag)) / 2


def enclosed_area(outline: Polygon) -> float:
    """The area inside by the even-odd rule, in square pixels, wherever the outline lies.

    Where it crosses itself, the formula would take its lobes from each other: what of rows is inside is added up, four
    to a pixel, fewer in outlines of thousands of pixels or points.
    """
    if not crosses_itself(outline):
        return polygon_area(outline)
    height = float(np.ptp(outline[:, 1]))
    rows = max(min(max(round(4 * height), 256), _MOST_ROWS, _MOST_TESTS // len(outline)), 1)
    _, x, _ = _crossings(outline, rows)
    return float((x[1::2] - x[::2]).sum()) * height / rows


def crosses_itself(outline: Polygon) -> bool:
    """Whether some rows or columns through the outline show lobes of it; edges that lie upon each other may count as
    well. Of compact ones, whose lobes can only be small, rows are looked at alone."""
    if len(outline) < 4:
        return False
    is_compact = polygon_area(outline) > np.ptp(outline, axis=0).prod() / 2
    return _shows_lobes(outline) or (not is_compact and _shows_lobes(outline[:, ::-1]))


def _shows_lobes(outline: Polygon) -> bool:
    """Where an outline does not cross itself, edges lead up and down in turn from the left to the right through a row,
    and the first of each row the same way."""
    _, _, leads_up = _crossings(outline, _ROWS)
    return bool((leads_up[::2] != leads_up[:1]).any() or (leads_up[1::2] == leads_up[:1]).any())


def _crossings(outline: Polygon, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the middles of so many rows over the height of an outline cross its edges, row by row and from left to
    right: (c,) the row, the x, and whether the edge leads up. Each row has an even number."""
    x, y = np.concatenate([outline, outline[:1]]).T
    low, high = float(y.min()), float(y.max())
    middles = low + (high - low) * (np.arange(rows) + 0.5) / rows
    below = y > middles[:, None]
    row, edge = (below[:, 1:] != below[:, :-1]).nonzero()
    along = (middles[row] - y[edge]) / (y[edge + 1] - y[edge])
    at = x[edge] + along * (x[edge + 1] - x[edge])
    order = np.lexsort((at, row))
    return row[order], at[order], below[row, edge][order]


def even_odd_mask(outlines: Sequence[Polygon], height: int, width: int) -> Mask:
    """The pixels whose centres an odd number of outlines enclose, height x width; what lies outside is cut off.

    Each edge flips all pixels to its right, row by row; an odd number of flips is inside.
    """
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    flips = np.zeros((height, width + 1), dtype=np.uint8)
    first = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5), 0, height).astype(np.int64)
    crossings = np.cumsum(last - first)
    done = 0
    while done < len(crossings) and crossings[-1]:  # in chunks: edges times rows can be gigabytes
        before = crossings[done - 1] if done else 0
        until = max(int(np.searchsorted(crossings, before + _CROSSINGS_AT_ONCE, "right")), done + 1)
        chunk = slice(done, until)
        _flip(flips, start[chunk], end[chunk], first[chunk], last[chunk])
        done = until
    flips &= 1
    return np.bitwise_xor.accumulate(flips[:, :width], axis=1).view(np.bool_)


def _flip(flips: np.ndarray, start: Polygon, end: Polygon, first: np.ndarray, last: np.ndarray) -> None:
    """Counts, modulo 256, where the edges start[i]-end[i] cross the middles of the rows first[i] to before last[i]."""
    columns, counts = flips.shape[1], last - first
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    (x0, y0), along = start[edge].T, (end - start)[edge]
    x = x0 + (row + 0.5 - y0) * along[:, 0] / along[:, 1]
    column = np.clip(np.ceil(x - 0.5), 0, columns - 1).astype(np.int64)
    np.add.at(flips.reshape(-1), row * columns + column, np.uint8(1))


def edge_rows(outlines: Sequence[Polygon]) -> float:
    """How many rows of pixels the edges of the outlines cross, taken together; the work of filling them."""
    return sum(float(np.abs(np.diff(outline[:, 1], append=outline[:1, 1])).sum()) for outline in outlines)


def parts_bitmap(parts: Sequence[Part], height: int, width: int) -> Bitmap:
    """The union of the parts inside an image of that size, in the smallest crop of whole pixels that holds them."""
    if len(parts) == 1:
        return _part_bitmap(parts[0], height, width)
    left, top, right, bottom = _pixel_box([part.exterior for part in parts], height, width)
    union = Bitmap(left, top, np.zeros((bottom - top, right - left), dtype=bool))
    for part in parts:
        window, inside = overlap(union, _part_bitmap(part, height, width))
        window |= inside
    return union


def union_area(parts: Sequence[Part], height: int, width: int) -> float:
    """Of the parts without their holes, in square pixels: what they share, counted in pixels, counts once."""
    areas = [enclosed_area(part.exterior) for part in parts]
    if len(parts) == 1 or not _boxes_overlap(parts):
        return sum(areas)
    pixels = sum(int(parts_bitmap([part], height, width).mask.sum()) for part in parts)
    return sum(areas) - (pixels - int(parts_bitmap(parts, height, width).mask.sum()))


def _boxes_overlap(parts: Sequence[Part]) -> bool:
    """Whether the boxes of any two parts overlap; taken for so where there are too many to compare."""
    if len(parts) > 1000:
        return True
    low = np.stack([part.exterior.min(axis=0) for part in parts])
    high = np.stack([part.exterior.max(axis=0) for part in parts])
    below = (low[:, None] < high[None]).all(axis=2)
    return int((below & below.T).sum()) > len(parts)


def _part_bitmap(part: Part, height: int, width: int) -> Bitmap:
    """Each hole is filled in a crop of its own: there may be hundreds."""
    region = outlines_bitmap([part.exterior], height, width)
    for hole in part.holes:
        window, inside = overlap(region, outlines_bitmap([hole], height, width))
        window &= ~inside
    return region


def outlines_bitmap(outlines: Sequence[Polygon], height: int, width: int) -> Bitmap:
    """What an odd number of outlines enclose inside an image of that size, in a crop that holds them."""
    left, top, right, bottom = _pixel_box(outlines, height, width)
    shifted = [outline - (left, top) for outline in outlines]
    return Bitmap(left, top, even_odd_mask(shifted, bottom - top, right - left))


def _pixel_box(outlines: Sequence[Polygon], height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the whole pixels around the outlines, within the image."""
    low = np.min([outline.min(axis=0) for outline in outlines], axis=0)
    high = np.max([outline.max(axis=0) for outline in outlines], axis=0)
    left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    return left, top, right, bottom


def overlap(first: Bitmap, second: Bitmap) -> tuple[Mask, Mask]:
    """Views of the two masks, of one shape, where their crops overlap; of 0 pixels where they do not."""
    x, y = max(first.x, second.x), max(first.y, second.y)
    right = min(one.x + one.mask.shape[1] for one in (first, second))
    bottom = min(one.y + one.mask.shape[0] for one in (first, second))
    rows, columns = max(bottom - y, 0), max(right - x, 0)
    one, other = (bitmap.mask[y - bitmap.y :, x - bitmap.x :][:rows, :columns] for bitmap in (first, second))
    return one, other


def instance_bitmap(instance: Instance, height: int, width: int) -> Bitmap:
    """The object's pixels inside an image of that size, as a crop."""
    if instance.bitmap is None:
        return parts_bitmap(instance.parts, height, width)
    return crop_bitmap(instance.bitmap, height, width)


def instance_mask(instance: Instance, height: int, width: int) -> Mask:
    """The object's pixels, height x width."""
    return _paste([instance_bitmap(instance, height, width)], 0, 0, height, width)


def crop_bitmap(bitmap: Bitmap, height: int, width: int) -> Bitmap:
    """The smallest crop that holds the set pixels inside an image of that size; 0x0 where there are none."""
    top, left = max(-bitmap.y, 0), max(-bitmap.x, 0)
    inside = bitmap.mask[top : max(height - bitmap.y, 0), left : max(width - bitmap.x, 0)]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return Bitmap(0, 0, np.zeros((0, 0), dtype=bool))
    crop = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if crop.size < bitmap.mask.size:
        crop = crop.copy()  # a view would keep the whole mask in memory
    return Bitmap(int(bitmap.x + left + columns[0]), int(bitmap.y + top + rows[0]), crop)


def union_bitmap(bitmaps: Iterable[Bitmap]) -> Bitmap:
    """All set pixels of at least one bitmap."""
    bitmaps = list(bitmaps)
    left, top = min(one.x for one in bitmaps), min(one.y for one in bitmaps)
    right = max(one.x + one.mask.shape[1] for one in bitmaps)
    bottom = max(one.y + one.mask.shape[0] for one in bitmaps)
    return Bitmap(left, top, _paste(bitmaps, left, top, bottom - top, right - left))


def _paste(bitmaps: Iterable[Bitmap], left: int, top: int, height: int, width: int) -> Mask:
    canvas = np.zeros((height, width), dtype=bool)
    for one in bitmaps:
        rows, columns = one.mask.shape
        canvas[one.y - top : one.y - top + rows, one.x - left : one.x - left + columns] |= one.mask
    return canvas


def clip_polygon(polygon: Polygon, height: int, width: int) -> Polygon:
    """The polygon inside the image; empty (0x2) where it lies outside.

    Cuts along one border after the other (Sutherland and Hodgman 1974). A polygon that leaves and comes back is joined
    along the border, which encloses nothing.
    """
    for axis, border, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        polygon = _cut(polygon, axis, border, sign)
    return polygon


def _cut(polygon: Polygon, axis: int, border: int, sign: int) -> Polygon:
    """Keeps the side where sign * (coordinate - border) >= 0."""
    distance = sign * (polygon[:, axis] - border)
    if not len(polygon) or distance.min() >= 0:
        return polygon
    following, beyond = np.roll(polygon, -1, axis=0), np.roll(distance, -1)
    crosses = (distance >= 0) != (beyond >= 0)
    share = np.divide(distance, distance - beyond, out=np.zeros_like(distance), where=crosses)
    crossing = polygon + share[:, None] * (following - polygon)
    crossing[:, axis] = border
    both = np.stack([polygon, crossing], axis=1).reshape(-1, 2)
    return np.asarray(both[np.stack([distance >= 0, crosses], axis=1).ravel()])


def trace_mask(mask: Mask, max_error: float) -> tuple[Part, ...]:
    """The regions of a mask as polygons with as few points as `max_error` allows.

    Args:
        mask: HxW. Pixels that touch at a corner belong to the same region.
        max_error: pixels; no point of an outline lies further than this from the outline of the pixels. Below 0.7 the
            polygons enclose exactly the pixels of the mask.
    """
    # Twice as large, a pixel has corners of its own: contour positions 2x and 2x + 1 are its edges x and x + 1.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not len(contours):
        return ()
    outlines = [simplify_outline((contour[:, 0] + 1) // 2, max_error) for contour in contours]
    parents = tree.reshape(-1, 4)[:, 3].tolist()
    holes: dict[int, list[Polygon]] = {index: [] for index, parent in enumerate(parents) if parent < 0}
    for index, parent in enumerate(parents):
        if parent >= 0:
            holes[parent].append(outlines[index])
    return tuple(Part(outlines[index], tuple(inner)) for index, inner in holes.items())


def parts_without_holes(bitmap: Bitmap, max_error: float) -> tuple[Part, ...]:
    """The regions of a bitmap, placed in the image; one with holes is cut through them into parts that have none.

    `max_error` as in `trace_mask`.
    """
    count, regions = cv2.connectedComponents(bitmap.mask.astype(np.uint8), connectivity=8)
    pieces: list[Part] = []
    for number in range(1, count):
        region = regions == number
        (part,) = trace_mask(region, max_error)
        if not part.holes:
            pieces.append(Part(part.exterior + (bitmap.x, bitmap.y)))
            continue
        middle = min(max(int(part.holes[0][:, 0].mean()), 1), region.shape[1] - 1)
        for start, half in ((0, region[:, :middle]), (middle, region[:, middle:])):
            pieces += parts_without_holes(Bitmap(bitmap.x + start, bitmap.y, half), max_error)
    return tuple(pieces)


def simplify_outline(corners: np.ndarray, max_error: float) -> Polygon:
    """Fewer points for a closed outline (n, 2) along pixel edges, within `max_error` pixels and never of zero area.

    Slanted edges need few points through the middles of the pixel edges, upright boxes through their corners.
    """
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)].astype(np.float64)
    through_corners = _within(corners, min(max_error, 0.49))
    if max_error < _CORNER_CUT:
        return through_corners
    ahead = np.roll(corners, -1, axis=0) - corners
    half = ahead / (2 * np.abs(ahead).sum(axis=1, keepdims=True))
    middles = np.stack([corners + half, corners + ahead - half], axis=1).reshape(-1, 2)
    middles = middles[np.any(middles != np.roll(middles, 1, axis=0), axis=1)]
    return min(through_corners, _within(middles, max_error - _CORNER_CUT), key=len)


def _within(outline: Polygon, tolerance: float) -> Polygon:
    """The outline with fewer points; a region that would collapse is simplified less."""
    while tolerance > 0.05:
        fewer = np.asarray(outline[_kept_points(outline, tolerance)])
        if len(fewer) >= 3 and polygon_area(fewer) > 0:
            return fewer
        tolerance /= 2
    back, ahead = outline - np.roll(outline, 1, axis=0), np.roll(outline, -1, axis=0) - outline
    return np.asarray(outline[back[:, 0] * ahead[:, 1] != back[:, 1] * ahead[:, 0]])


def _kept_points(outline: Polygon, tolerance: float) -> np.ndarray:
    """Ascending indices of the points to keep, so that all others lie within `tolerance` of the chords (Douglas and
    Peucker 1973). The outline is split at its first point and the one furthest from it."""
    closed = np.concatenate([outline, outline[:1]])
    far = int(np.argmax(((outline - outline[0]) ** 2).sum(axis=1)))
    kept, pending = {0, far}, [(0, far), (far, len(outline))]
    while pending:
        start, end = pending.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        furthest = int(np.argmax(distances))
        if distances[furthest] > tolerance + 1e-9:
            split = start + 1 + furthest
            kept.add(split)
            pending += [(start, split), (split, end)]
    return np.array(sorted(kept))


def _distances(points: Polygon, start: Polygon, end: Polygon) -> np.ndarray:
    """Distances of N points from the segment start-end."""
    along = end - start
    squared = max(float(along @ along), 1e-12)
    share = np.clip((points - start) @ along / squared, 0, 1)
    return np.asarray(np.linalg.norm(points - start - share[:, None] * along, axis=1))
