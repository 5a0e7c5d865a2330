"""Detections in the tiles of an image become those of the image.

Tiles overlap, so what lies there is detected once in each of them, and an object on a side of a tile is cut. Two tiles
see the pixels that they share twice: detections that agree there are one object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from active_learning.sampling.observations import Mask
from active_learning.tiles.grid import Tile

SAME = 0.5  # IoU in the shared pixels from which two detections are one object
INSIDE = 0.5  # share of a fragment's pixels that lie in the object that it is of
NEAR_SIDE = (3.0, 0.03)  # pixels, or share of its own side, from which on a detection reaches its tile's side


@dataclass(frozen=True, eq=False)
class TileDetection:
    """A detection in a tile. Box (4,) and mask are in pixels of the image."""

    tile: Tile
    label: int
    score: float
    box: npt.NDArray[np.float64]
    mask: Mask

    @classmethod
    def in_image(
        cls, tile: Tile, label: int, score: float, box: npt.NDArray[np.float64], mask: Mask, height: int, width: int
    ) -> TileDetection:
        """Of what was detected in pixels of the tile, box (4,) x0, y0, x1, y1: moved to its place in an image of that
        size, and cut to that."""
        corners = box + (tile.x, tile.y, tile.x, tile.y)
        bounds = np.minimum(corners, (width, height, width, height))
        x0, y0, x1, y1 = tile.bounds(height, width)
        pixels = mask.pixels[: max(y1 - y0 - mask.y, 0), : max(x1 - x0 - mask.x, 0)]
        return cls(tile, label, score, bounds, Mask.cut(tile.x + mask.x, tile.y + mask.y, pixels))

    def is_cut(self, height: int, width: int) -> bool:
        """Whether it reaches a side of its tile beyond which the image, of that size, goes on."""
        x0, y0, x1, y1 = self.mask.bounds
        left, top, right, bottom = self.tile.bounds(height, width)
        pixels, share = NEAR_SIDE
        across, down = max(pixels, share * (x1 - x0)), max(pixels, share * (y1 - y0))
        return (
            (left > 0 and x0 - left <= across)
            or (top > 0 and y0 - top <= down)
            or (right < width and right - x1 <= across)
            or (bottom < height and bottom - y1 <= down)
        )


@dataclass(frozen=True, eq=False)
class JoinedDetection:
    """An object of the image. `members` are indices of the detections that are one with it, the first being that whose
    score, class and probabilities stand; `whole`: one of them is not cut."""

    members: tuple[int, ...]
    whole: bool
    box: npt.NDArray[np.float64]
    mask: Mask

    @property
    def source(self) -> int:
        return self.members[0]


def join_tiles(
    found: Sequence[TileDetection], height: int, width: int, *, nms_threshold: float
) -> list[JoinedDetection]:
    """The objects of an image of that size, in order of falling score.

    Where one of the detections of an object is not cut, the best of these stands for it; else it is all of them
    together. Classes do not part them: the network's own suppression goes across classes, too, so two tiles that see
    two classes see one object. What one tile sees as two stays two.
    Fragments that lie inside an object of another tile go, what lies beyond the image, and what the network would
    suppress in one image.

    Args:
        found: of all tiles; in each tile, suppression has been done.
        nms_threshold: IoU of boxes above which the lower score is suppressed.
    """
    joined = [_joined(found, group) for group in _Groups(found, height, width).joined()]
    joined = [one for one in joined if (one.box[2:] > one.box[:2]).all()]
    joined.sort(key=lambda one: (-found[one.source].score, one.source))
    return _suppressed(found, _without_fragments(found, joined), nms_threshold)


@dataclass(frozen=True, eq=False)
class _Group:
    """Detections (indices) of one object, the cut ones and the others."""

    cut: tuple[int, ...]
    whole: tuple[int, ...]

    @property
    def members(self) -> tuple[int, ...]:
        return self.whole + self.cut


class _Groups:
    """The detections, grouped by agreement: those that agree best first, of equal ones those of one class."""

    def __init__(self, found: Sequence[TileDetection], height: int, width: int) -> None:
        self.found = found
        self.size = (height, width)
        self.is_cut = [one.is_cut(height, width) for one in found]
        alone = ((((index,), ()) if cut else ((), (index,))) for index, cut in enumerate(self.is_cut))
        self.group_of = [_Group(*members) for members in alone]

    def joined(self) -> list[_Group]:
        agreements = sorted(self._agreements(), reverse=True)
        for _, _, one, other in agreements:
            self._unite(self.group_of[-one], self.group_of[-other])
        return list(dict.fromkeys(self.group_of))

    def _agreements(self) -> Iterator[tuple[float, bool, int, int]]:
        """(IoU, whether of one class, minus the index of one, of the other) of each pair that may be one object."""
        for one, other in _overlapping(np.array([one.mask.bounds for one in self.found], dtype=np.float64)):
            first, second = self.found[one], self.found[other]
            iou = 0.0 if first.tile == second.tile else _shared_iou(first, second, *self.size)
            if iou >= SAME:
                yield iou, first.label == second.label, -one, -other

    def _unite(self, one: _Group, other: _Group) -> None:
        """Not what one tile sees as two objects."""
        if one is other or any(self._rivals(a, b) for a in one.members for b in other.members):
            return
        both = _Group(one.cut + other.cut, one.whole + other.whole)
        for index in both.members:
            self.group_of[index] = both

    def _rivals(self, one: int, other: int) -> bool:
        """Whether they are two objects of one tile, and not two parts of one that the tile's side cuts apart."""
        first, second = self.found[one], self.found[other]
        parts = self.is_cut[one] and self.is_cut[other] and _inside(first.mask, second.mask) <= INSIDE
        return first.tile == second.tile and not parts


def _joined(found: Sequence[TileDetection], group: _Group) -> JoinedDetection:
    order = sorted(group.whole or group.cut, key=lambda index: (-found[index].score, index))
    best = found[order[0]]
    members = (order[0], *(index for index in group.members if index != order[0]))
    if group.whole or len(members) == 1:
        return JoinedDetection(members, bool(group.whole), best.box, best.mask)
    boxes = np.stack([found[index].box for index in members])
    box = np.concatenate((boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)))
    return JoinedDetection(members, False, box, _union([found[index].mask for index in members]))


def _without_fragments(found: Sequence[TileDetection], joined: Sequence[JoinedDetection]) -> list[JoinedDetection]:
    """Without the cut ones that lie inside another which was not detected in their own tiles."""
    gone = set()
    for pair in _overlapping(np.array([one.mask.bounds for one in joined], dtype=np.float64)):
        smaller, larger = sorted(pair, key=lambda index: (joined[index].mask.area, -index))
        if joined[smaller].whole or _share_a_tile(found, joined[smaller], joined[larger]):
            continue
        if joined[smaller].mask.intersection(joined[larger].mask) > INSIDE * joined[smaller].mask.area:
            gone.add(smaller)
    return [one for index, one in enumerate(joined) if index not in gone]


def _suppressed(
    found: Sequence[TileDetection], joined: Sequence[JoinedDetection], nms_threshold: float
) -> list[JoinedDetection]:
    """Those in order of falling score that no better one of other tiles suppresses."""
    boxes = np.array([one.box for one in joined], dtype=np.float64)
    better: dict[int, list[int]] = {}
    for one, other in map(sorted, _overlapping(boxes)):
        rivals = _box_iou(boxes[one], boxes[other]) > nms_threshold
        if rivals and not _share_a_tile(found, joined[one], joined[other]):
            better.setdefault(other, []).append(one)
    kept: set[int] = set()
    for index in range(len(joined)):
        if kept.isdisjoint(better.get(index, ())):
            kept.add(index)
    return [joined[index] for index in sorted(kept)]


def _share_a_tile(found: Sequence[TileDetection], one: JoinedDetection, other: JoinedDetection) -> bool:
    return not {found[index].tile for index in one.members}.isdisjoint(found[index].tile for index in other.members)


def _overlapping(bounds: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of (n, 4) x0, y0, x1, y1 that have an area in common; each compared with its neighbours only."""
    if not len(bounds):
        return
    order = np.argsort(bounds[:, 0], kind="stable")
    x0, y0, x1, y1 = bounds[order].T
    ends = np.searchsorted(x0, x1)
    for place in range(len(order)):
        after = slice(place + 1, max(int(ends[place]), place + 1))
        near = np.flatnonzero((y0[after] < y1[place]) & (y1[after] > y0[place])) + place + 1
        for neighbour in near.tolist():
            yield int(order[place]), int(order[neighbour])


def _shared_iou(one: TileDetection, other: TileDetection, height: int, width: int) -> float:
    """IoU of the parts of both masks that lie in both tiles."""
    shared = one.mask.intersection(other.mask)
    if not shared:
        return 0.0
    both = zip(one.tile.bounds(height, width), other.tile.bounds(height, width), strict=True)
    x0, y0, x1, y1 = (max(pair) if place < 2 else min(pair) for place, pair in enumerate(both))
    areas = one.mask.within(x0, y0, x1, y1).area + other.mask.within(x0, y0, x1, y1).area
    return shared / (areas - shared)


def _inside(one: Mask, other: Mask) -> float:
    """The share of the smaller mask that lies in the larger."""
    return one.intersection(other) / max(min(one.area, other.area), 1)


def _box_iou(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(sides.clip(0).prod())
    return shared / float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)


def _union(masks: Sequence[Mask]) -> Mask:
    bounds = np.array([mask.bounds for mask in masks])
    (x0, y0), (x1, y1) = bounds[:, :2].min(axis=0).tolist(), bounds[:, 2:].max(axis=0).tolist()
    pixels = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for mask in masks:
        left, top, right, bottom = mask.bounds
        pixels[top - y0 : bottom - y0, left - x0 : right - x0] |= mask.pixels
    return Mask(x0, y0, pixels, int(np.count_nonzero(pixels)))
