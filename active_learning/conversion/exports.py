"""Writes annotated images so that a tool opens them: a COCO json file, or a folder with the images."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from active_learning.annotations import FORMATS, Annotation, Format, Instance, read_leniently, supervisely
from active_learning.annotations.coco import CocoWriter
from active_learning.annotations.contours import instance_bitmap, parts_without_holes
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.annotations.formats import DATA_SETS
from active_learning.annotations.supervisely_meta import META_FILE, check_meta, read_meta, write_meta
from active_learning.annotations.yolo import label_text
from active_learning.annotations.yolo_layout import IMAGES
from active_learning.annotations.yolo_names import DATA_FILE, names_text
from active_learning.conversion.layouts import SUPERVISELY_IMAGES, YOLO_IMAGES, places_of
from active_learning.errors import AnnotationError
from active_learning.system.file_moves import draft_of_new, is_same_entry
from active_learning.system.files import write_atomically
from active_learning.system.image_files import eight_bits, image_file, read_pixels
from active_learning.system.own_files import OwnFiles
from active_learning.system.wording import counted

COCO = "coco"
TOOLS = (*FORMATS, *DATA_SETS)
CVAT_ZIP = "cvat_images_1.1.zip"
_AS_PNG = ("1", "L", "LA", "I", "I;16", "I;16B", "P", "RGB", "RGBA")  # modes that PNG holds as they are
_TINY = 3.0  # pixels
CocoMasks: TypeAlias = Literal["polygons", "rle"]


class CocoExport:
    """One json file; images keep the names by which they lie in the folder that was read. As `FolderExport`."""

    warnings: Sequence[str] = ()

    def __init__(self, out: Path, classes: Sequence[str], masks: CocoMasks | None, max_polygon_error: float) -> None:
        """`masks`: all objects as these; None: polygons, but run lengths for masks and what has holes."""
        self._out, self._masks, self._max_error = out, masks, max_polygon_error
        self._writer = CocoWriter(classes)

    def existing(self) -> list[Path]:
        return [self._out] if os.path.lexists(self._out) else []

    def add(self, annotation: Annotation, image: str, file: Path) -> int:
        if self._masks is None:
            self._writer.add(annotation)
            return 0
        size = (annotation.height, annotation.width)
        written = (self._written(instance, *size) for instance in annotation.instances)
        kept = tuple(instance for instance in written if instance is not None)
        if annotation.instances and not kept:
            raise AnnotationError(f"{image}: all its objects are too small for masks")
        self._writer.add(replace(annotation, instances=kept))
        return len(annotation.instances) - len(kept)

    def _written(self, instance: Instance, height: int, width: int) -> Instance | None:
        """As polygons without holes, or as a mask; None where it covers no pixel."""
        has_outlines = instance.bitmap is None and not any(part.holes for part in instance.parts)
        if self._masks == "polygons" and has_outlines:
            return instance
        bitmap = instance_bitmap(instance, height, width)
        if not bitmap.mask.any():
            return None
        if self._masks == "rle":
            return replace(instance, parts=(), bitmap=bitmap)
        return replace(instance, parts=parts_without_holes(bitmap, self._max_error), bitmap=None)

    def finish(self) -> None:
        with _new_file(self._out) as draft:
            write_atomically(draft, self._writer.text(for_others=True))


@dataclass
class FolderExport:
    """Annotations and copies of the images in a tool's layout, image by image. Nothing is written before `add`."""

    tool: str
    out: Path
    images: Mapping[str, Path]  # the files by their names in the data set
    classes: Sequence[str]
    max_polygon_error: float

    kept_suffixes: ClassVar[frozenset[str] | None] = None  # of images that the tool reads; None: all

    def __post_init__(self) -> None:
        self.warnings: list[str] = []  # what a person should know of all that was written, a line each
        self._places = places_of(self.tool, list(self.images))
        self._own_files = OwnFiles(self.out)

    @property
    def _format(self) -> Format:
        return FORMATS[self.tool]

    def existing(self) -> list[Path]:
        """What would be overwritten; an unchanged pre-label gives way to what a person has made of its image."""
        annotations = [self.out / place.annotation for place in self._places.values()]
        copies = [(file, self.out / self._places[image].image) for image, file in self.images.items()]
        copied = [copy for file, copy in copies if not is_same_entry(file, copy)]
        there = (path for path in (*annotations, *copied) if os.path.lexists(path))
        return [path for path in there if not self._own_files.is_untouched(path)]

    def add(self, annotation: Annotation, image: str, file: Path) -> int:
        """Writes the annotation of an image, named as in the data set; `file` is the image, which is copied first.

        Returns how many of its objects are too small for the format. Raises MaskALError, also where all are.
        """
        place = self._places[image]
        named = replace(annotation, image=image, extra={})
        with _new_file(self.out / place.annotation) as draft:
            self._format.codec.write(named, draft, max_polygon_error=self.max_polygon_error)
            lost = self._lost(named, draft)
            self._copy(file, self.out / place.image)
            self._own_files.give_way(self.out / place.annotation)
        return lost

    def _lost(self, annotation: Annotation, path: Path) -> int:
        """How many objects a written file lacks. Raises AnnotationError where it lacks all."""
        if not any(map(_is_tiny, annotation.instances)):
            return 0
        size = (annotation.height, annotation.width)
        found = read_leniently(path, image=annotation.image, size=size, within=self.out).instances
        if not found:
            raise AnnotationError(f"{annotation.image}: all its objects are too small for {self._format.title}")
        return len(annotation.instances) - len(found)

    def _copy(self, file: Path, target: Path) -> None:
        """Images of a kind that the tool does not read become PNG files, turned by their EXIF orientation."""
        if is_same_entry(file, target):
            return
        with _new_file(target) as draft:
            if self.kept_suffixes is None or file.suffix.lower() in self.kept_suffixes:
                shutil.copy2(file, draft)
            else:
                _save_as_png(file, draft)

    def finish(self) -> None:
        """Writes what is about all images, here nothing. Raises MaskALError."""


class CvatExport(FolderExport):
    """LabelMe 3.0 files beside the images; for CVAT's upload a zip file of 'CVAT for images 1.1' with the images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._writer = CvatImagesWriter(self.classes, max_polygon_error=self.max_polygon_error)
        self._packed: dict[str, Path] = {}

    def existing(self) -> list[Path]:
        return [path for path in (self.out / self._format.folders[0], self.out / CVAT_ZIP) if os.path.lexists(path)]

    def add(self, annotation: Annotation, image: str, file: Path) -> int:
        lost = super().add(annotation, image, file)
        self._writer.add(replace(annotation, image=image))
        self._packed[f"images/{image}"] = file
        return lost

    def finish(self) -> None:
        path = self.out / CVAT_ZIP
        with _new_file(path) as draft, zipfile.ZipFile(draft, "w", strict_timestamps=False) as package:
            package.writestr("annotations.xml", self._writer.text(path), zipfile.ZIP_DEFLATED)
            for name, file in self._packed.items():
                package.write(file, name)


class SuperviselyExport(FolderExport):
    """A project. A meta.json that is there already is kept, and must know the classes."""

    kept_suffixes = SUPERVISELY_IMAGES

    def __post_init__(self) -> None:
        """Raises AnnotationError where the meta.json does not go with the classes."""
        super().__post_init__()
        self._has_meta = (self.out / META_FILE).exists()
        self._meta = read_meta(self.out / META_FILE) if self._has_meta else None
        if self._meta is not None:
            check_meta(self._meta, self.classes)

    def add(self, annotation: Annotation, image: str, file: Path) -> int:
        if not self._has_meta:
            with _new_file(self.out / META_FILE) as draft:
                write_meta(draft, self.classes)
            self._has_meta = True
        automatic = any(instance.score is not None for instance in annotation.instances)
        path = self.out / self._places[image].annotation
        fitted = annotation if self._meta is None else self._meta.fitted(annotation)
        with _new_file(path) as draft:
            supervisely.write(replace(fitted, extra={}), draft, automatic=automatic)
            lost = self._lost(replace(annotation, image=image), draft)
            self._copy(file, self.out / self._places[image].image)
        for folder in self._data_sets(path.parent.parent):
            (folder / "ann").mkdir(parents=True, exist_ok=True)
            (folder / "img").mkdir(parents=True, exist_ok=True)
        return lost

    def _data_sets(self, folder: Path) -> Iterable[Path]:
        """A data set's folder and those of the data sets around it."""
        return [one for one in (folder, *folder.parents) if self.out in one.parents and one.name != "datasets"]


class YoloExport(FolderExport):
    """The folders `images` and `labels`, and a data.yaml from which Ultralytics trains. Each has its own file names:
    where `train` and `val` are sub-folders of the images, they are the splits."""

    kept_suffixes = YOLO_IMAGES

    def __post_init__(self) -> None:
        super().__post_init__()
        self._numbers = {name: number for number, name in enumerate(self.classes)}
        self._joined = 0
        self._written: list[str] = []

    def existing(self) -> list[Path]:
        data = self.out / DATA_FILE
        return [*super().existing(), *([data] if os.path.lexists(data) else [])]

    def add(self, annotation: Annotation, image: str, file: Path) -> int:
        written = label_text(annotation, self._numbers, max_polygon_error=self.max_polygon_error)
        if annotation.instances and not written.objects:
            raise AnnotationError(f"{image}: all its objects are too small for YOLO")
        place = self._places[image]
        with _new_file(self.out / place.annotation) as draft:
            write_atomically(draft, written.text)
            self._copy(file, self.out / place.image)
        self._joined += written.joined
        self._written.append(image)
        return len(annotation.instances) - written.objects

    def finish(self) -> None:
        splits, remark = self._splits()
        with _new_file(self.out / DATA_FILE) as draft:
            write_atomically(draft, names_text(self.classes, splits, remark))
        if remark:
            self.warnings.append(f"{self.out / DATA_FILE}: {remark}")
        if self._joined:
            self.warnings.append(
                f"{self.out}: {counted(self._joined, 'object')} in parts or with holes: YOLO has one outline an "
                "object, so lines without width join theirs; Ultralytics paints them a pixel wide"
            )

    def _splits(self) -> tuple[dict[str, str], str]:
        """The folders of the splits, and what to do where there are none."""
        tops = {name.partition("/")[0] if "/" in name else "" for name in self._written}
        for val in ("val", "valid", "validation"):
            if {"train", val} <= tops <= {"train", val, "test"}:
                splits = {"train": "train", "val": val, "test": "test"}
                return {split: f"{IMAGES}/{top}" for split, top in splits.items() if top in tops}, ""
        remark = "train and val name the same images; give val images of its own before you trust its scores"
        return {"train": IMAGES, "val": IMAGES}, remark


def _save_as_png(file: Path, target: Path) -> None:
    with image_file(file) as stream:
        picture = read_pixels(stream, deep_greys=True)
    if picture.mode not in _AS_PNG:
        picture = eight_bits(picture)
    (picture if picture.mode in _AS_PNG else picture.convert("RGB")).save(target, "PNG")


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file to write, which gets its name at the end of the block; makes the folder.

    Raises:
        AnnotationError: somebody has saved a file of that name meanwhile, which stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft_of_new(path) as draft:
            yield draft
    except FileExistsError as error:
        raise AnnotationError(f"{path}: was saved by somebody meanwhile; it stays, and this one is left out") from error


def _is_tiny(instance: Instance) -> bool:
    """Whether an object may cover no pixel's middle, or lose its area where coordinates are rounded."""
    return not any(np.ptp(part.exterior, axis=0).min() > _TINY for part in instance.parts) and instance.bitmap is None


Export: TypeAlias = CocoExport | FolderExport


def make_export(
    tool: str,
    out: Path,
    images: Mapping[str, Path],
    classes: Sequence[str],
    max_polygon_error: float,
    coco_masks: CocoMasks | None = None,
) -> Export:
    """The export of one of TOOLS. Raises AnnotationError."""
    if tool == COCO:
        return CocoExport(out, classes, coco_masks, max_polygon_error)
    return OWN_EXPORTS.get(tool, FolderExport)(tool, out, images, classes, max_polygon_error)


OWN_EXPORTS: dict[str, type[FolderExport]] = {"cvat": CvatExport, "supervisely": SuperviselyExport, "yolo": YoloExport}
