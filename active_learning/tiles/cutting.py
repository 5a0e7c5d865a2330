"""The annotated objects of an image, cut into those of its tiles."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from active_learning.annotations.annotation import Bitmap, Instance, Part
from active_learning.annotations.coco import CocoImage
from active_learning.annotations.contours import clip_polygon, crop_bitmap, instance_bitmap, overlap
from active_learning.annotations.run_lengths import bitmap_of, decode_runs
from active_learning.tiles.grid import Tile

LEAST_SHARE = 0.2  # of an object, or of the tile where the object is larger; what is cut to less is a sliver
LEAST_PIXELS = 16
WITH_OBJECTS_PER_EMPTY = 3


@dataclass(frozen=True, eq=False)
class CutTile:
    """A tile with its objects, of which one that the tile's side cuts has its visible part; all in pixels of the tile.

    `slivers` is what is visible of the others, less what `objects` cover: neither an object to learn nor background.
    """

    tile: Tile
    objects: tuple[Instance, ...] = ()
    slivers: tuple[Bitmap, ...] = ()


def cut_annotation(image: CocoImage, tiles: Sequence[Tile]) -> list[CutTile]:
    """The tiles of an annotated image, in their order."""
    objects = [_Annotated.of(*pair, image) for pair in zip(image.labels, image.regions, strict=True)]
    boxes = np.array([one.box for one in objects], dtype=np.float64).reshape(-1, 4)
    cut = []
    for tile in tiles:
        x0, y0, x1, y1 = tile.bounds(image.height, image.width)
        near = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
        cut.append(_cut_tile(tile, (x0, y0, x1, y1), [objects[index] for index in np.flatnonzero(near).tolist()]))
    return cut


def tiles_to_train_on(tiles: Sequence[CutTile], name: str, seed: int) -> list[CutTile]:
    """Those with objects, and some of the empty ones: one for every three of those, and one at least.

    Args:
        tiles: of one image.
        name, seed: of the image and the run; they decide which of the empty ones.
    """
    empty = [index for index, one in enumerate(tiles) if not one.objects and not one.slivers]
    with_objects = [index for index, one in enumerate(tiles) if one.objects]
    wanted = max(math.ceil(len(with_objects) / WITH_OBJECTS_PER_EMPTY), 1)
    chosen = random.Random(f"{seed} {name}").sample(empty, min(wanted, len(empty)))
    return [tiles[index] for index in sorted([*with_objects, *chosen])]


@dataclass(frozen=True, eq=False)
class _Annotated:
    """An object of the image: its parts, or a bitmap; box x0, y0, x1, y1 and area in pixels."""

    instance: Instance
    box: tuple[float, float, float, float]
    area: float

    @classmethod
    def of(cls, label: str, region: str, image: CocoImage) -> _Annotated:
        fields = json.loads(region)
        segmentation, (x, y, width, height) = fields["segmentation"], fields["bbox"]
        if isinstance(segmentation, dict):
            bitmap = bitmap_of(decode_runs(segmentation["counts"]), image.height, image.width)
            instance = Instance(label, bitmap=crop_bitmap(bitmap, image.height, image.width))
        else:
            outlines = (np.array(numbers, dtype=np.float64).reshape(-1, 2) for numbers in segmentation)
            instance = Instance(label, tuple(map(Part, outlines)))
        return cls(instance, (x, y, x + width, y + height), fields["area"])


def _cut_tile(tile: Tile, bounds: tuple[int, int, int, int], near: Sequence[_Annotated]) -> CutTile:
    x0, y0, x1, y1 = bounds
    kept, slivers = [], []
    for one in near:
        whole = one.box[0] >= x0 and one.box[1] >= y0 and one.box[2] <= x1 and one.box[3] <= y1
        visible = _moved(one.instance, x0, y0) if whole else _visible(one.instance, x0, y0, y1 - y0, x1 - x0)
        if visible is None:
            continue
        pixels = None if whole else instance_bitmap(visible, y1 - y0, x1 - x0)
        if pixels is None or not _is_sliver(pixels, one.area, tile):
            kept.append(visible)
        elif pixels.mask.any():
            slivers.append(pixels)
    return CutTile(tile, tuple(kept), tuple(_uncovered(slivers, kept, y1 - y0, x1 - x0)) if slivers else ())


def _is_sliver(visible: Bitmap, area: float, tile: Tile) -> bool:
    pixels = int(np.count_nonzero(visible.mask))
    return pixels < max(LEAST_SHARE * min(area, tile.size**2), min(LEAST_PIXELS, area))


def _moved(instance: Instance, x: int, y: int) -> Instance:
    """With its place counted from column x, row y."""
    if (bitmap := instance.bitmap) is not None:
        return Instance(instance.label, bitmap=Bitmap(bitmap.x - x, bitmap.y - y, bitmap.mask))
    return Instance(instance.label, tuple(Part(part.exterior - (x, y)) for part in instance.parts))


def _visible(instance: Instance, x: int, y: int, height: int, width: int) -> Instance | None:
    """What lies in a window of that size with its corner at column x, row y; None for nothing."""
    moved = _moved(instance, x, y)
    if moved.bitmap is not None:
        bitmap = crop_bitmap(moved.bitmap, height, width)
        return Instance(moved.label, bitmap=bitmap) if bitmap.mask.size else None
    clipped = (clip_polygon(part.exterior, height, width) for part in moved.parts)
    parts = tuple(Part(outline) for outline in clipped if len(outline) >= 3 and (np.ptp(outline, axis=0) > 0).all())
    return Instance(moved.label, parts) if parts else None


def _uncovered(slivers: Sequence[Bitmap], kept: Sequence[Instance], height: int, width: int) -> list[Bitmap]:
    """The slivers without the pixels of objects that are to be learned."""
    left = [Bitmap(one.x, one.y, one.mask.copy()) for one in slivers]
    for instance in kept:
        pixels = instance_bitmap(instance, height, width)
        for sliver in left:
            hidden, covered = overlap(sliver, pixels)
            hidden &= ~covered
    return [one for one in left if one.mask.any()]
