"""The tiles that a network trains on: an image file each, and the COCO json file of their objects.

    <folder>/tiles.json
    <folder>/<key>/<image>_<y>_<x>.png    the tile with its corner at row y, column x

The key stands for the image, its annotation and how it is cut. So what lies below it is right as long as the key is
wanted, from loop to loop and after a kill; what is not wanted any more is removed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from active_learning.annotations.annotation import Annotation
from active_learning.annotations.coco import CocoImage, CocoWriter, coco_image
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import DatasetSummary, read_all, summary_of
from active_learning.dataset.image_folder import FolderSnapshot
from active_learning.errors import MaskALError
from active_learning.system.disk_space import check_space
from active_learning.system.files import draft_of, write_if_changed
from active_learning.system.image_files import pixels_fault
from active_learning.system.progress import progress
from active_learning.system.saving import signature
from active_learning.tiles.cutting import CutTile, cut_annotation, tiles_to_train_on
from active_learning.tiles.grid import tiles_of
from active_learning.tiles.reading import ImageTiles, Pixels

FILE = "tiles.json"
VERSION = 1  # of what is in the files of a key
_KEY = re.compile(r"[0-9a-f]{32}")
_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # quick, and hardly larger than the strongest


@dataclass(frozen=True)
class TilePlan:
    """How images are cut.

    Attributes:
        size, overlap: as in `tiles_of`.
        fill: blue, green, red of what lies outside of the image, and of slivers.
        seed: decides which of the empty tiles are taken.
        most_pixels: a larger image is refused.
    """

    size: int
    overlap: float
    fill: tuple[int, int, int]
    seed: int
    most_pixels: int


def write_tiles(
    annotations: AnnotationCache, images: Sequence[str], snapshot: FolderSnapshot, folder: Path, plan: TilePlan
) -> DatasetSummary:
    """Cuts annotated images into tiles below `folder`, whose `tiles.json` then names them; what is there is kept.

    Returns:
        What `tiles.json` holds; its images are tiles.

    Raises:
        MaskALError: an annotation or an image cannot be read, or the disk is too small.
    """
    cut = [_CutImage(annotations.folder, entry, folder, plan) for entry in read_all(annotations, images, snapshot)]
    _remove(folder, keep={one.key for one in cut})
    missing = [one for one in cut if one.missing]
    needed = sum(len(one.missing) for one in missing) * plan.size**2 * 3  # photographs take half of it
    check_space(folder, needed, "the tiles of the training images", "set weightsroot to another disk")
    folder.mkdir(parents=True, exist_ok=True)
    for one in progress(missing, what="cutting tiles", unit="image"):
        one.write_missing()
    entries = [entry for one in cut for entry in one.entries()]
    writer = CocoWriter(annotations.classes)
    for entry in entries:
        writer.add_image(entry)
    write_if_changed(folder / FILE, writer.text())
    return summary_of(entries, annotations.classes)


def remove_tiles(folder: Path) -> None:
    """Those of `write_tiles`; what else lies in the folder stays."""
    if not folder.is_dir():
        return
    _remove(folder, keep=set())
    (folder / FILE).unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or holds other files
        folder.rmdir()


def _remove(folder: Path, keep: set[str]) -> None:
    for place in folder.glob("*"):
        if _KEY.fullmatch(place.name) and place.name not in keep and place.is_dir():
            shutil.rmtree(place)


class _CutImage:
    def __init__(self, images: Path, entry: CocoImage, folder: Path, plan: TilePlan) -> None:
        self.path = images / entry.name
        self.name, self.size = entry.name, (entry.height, entry.width)
        self.plan = plan
        tiles = cut_annotation(entry, tiles_of(entry.height, entry.width, plan.size, plan.overlap))
        self.tiles = tiles_to_train_on(tiles, entry.name, plan.seed)
        what = (VERSION, entry.name, signature(self.path), *astuple(plan)[:-1], *self.size)
        text = repr((what, entry.labels, entry.regions))
        self.key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self.folder = folder / self.key

    def _file_name(self, one: CutTile) -> str:
        return f"{Path(self.name).stem[:40]}_{one.tile.y}_{one.tile.x}.png"

    @cached_property
    def missing(self) -> list[CutTile]:
        """Those whose files are not there as a whole."""
        return [one for one in self.tiles if not _is_whole(self.folder / self._file_name(one))]

    def write_missing(self) -> None:
        with ImageTiles(self.path, "BGR", self.plan.most_pixels) as image:
            if (image.height, image.width) != self.size:
                raise MaskALError(f"{self.path}: was replaced by an image of another size at this moment; start again")
            for one in self.missing:
                pixels = image.read(one.tile, self.plan.fill)
                _hide(pixels, one, self.plan.fill)
                with draft_of(self.folder / self._file_name(one)) as draft:
                    draft.write_bytes(cv2.imencode(".png", pixels, _COMPRESSION)[1].tobytes())

    def entries(self) -> Iterator[CocoImage]:
        for one in self.tiles:
            name, size = f"{self.key}/{self._file_name(one)}", one.tile.size
            yield coco_image(Annotation(name, size, size, one.objects))


def _hide(pixels: Pixels, one: CutTile, fill: tuple[int, int, int]) -> None:
    """Fills slivers, so that the network sees neither an object nor background there."""
    for sliver in one.slivers:
        rows, columns = sliver.mask.shape
        window = pixels[sliver.y : sliver.y + rows, sliver.x : sliver.x + columns]
        window[sliver.mask] = np.array(fill, dtype=np.uint8)


def _is_whole(path: Path) -> bool:
    """Whether a PNG file is there and can be decoded: a training would end at a damaged one."""
    return path.exists() and not pixels_fault(path)
