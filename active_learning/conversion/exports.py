"""Writes annotated images so that a tool opens them: a COCO json file, or a folder with the images."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageOps

from active_learning.annotations import FORMATS, Annotation, supervisely
from active_learning.annotations.coco import CocoWriter
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.annotations.supervisely_meta import META_FILE, check_meta, read_meta, write_meta
from active_learning.conversion.layouts import SUPERVISELY_IMAGES, places_of
from active_learning.errors import MaskALError
from active_learning.system.file_moves import same_place
from active_learning.system.files import copy_atomically, write_atomically

COCO = "coco"
TOOLS = (COCO, *FORMATS)
CVAT_ZIP = "cvat_images_1.1.zip"
_AS_PNG = ("1", "L", "LA", "I", "I;16", "I;16B", "P", "RGB", "RGBA")  # modes that PNG holds as they are
_TO_RGB = ("CMYK", "YCbCr", "LAB", "HSV", "RGBX")


class Export(Protocol):
    """Takes images one by one. Nothing is written before `add`, and nothing that exists is overwritten."""

    def existing(self) -> list[Path]:
        """What would be overwritten."""

    def add(self, annotation: Annotation, image: str, file: Path) -> None:
        """Writes the annotation of an image, named as in the data set; `file` is the image. Raises MaskALError."""

    def finish(self) -> None:
        """Writes what is about all images. Raises MaskALError."""


class CocoExport:
    """One json file; images keep the names by which they lie in the folder that was read."""

    def __init__(self, out: Path, classes: Sequence[str]) -> None:
        self._out = out
        self._writer = CocoWriter(classes)

    def existing(self) -> list[Path]:
        return [self._out] if os.path.lexists(self._out) else []

    def add(self, annotation: Annotation, image: str, file: Path) -> None:
        self._writer.add(annotation)

    def finish(self) -> None:
        write_atomically(self._out, self._writer.text())


class FolderExport:
    """Annotations and copies of the images in a tool's layout."""

    def __init__(
        self, tool: str, out: Path, images: Mapping[str, Path], classes: Sequence[str], max_polygon_error: float
    ) -> None:
        """`images` are the files by their names in the data set."""
        self._format = FORMATS[tool]
        self._out = out
        self._images = images
        self._classes = classes
        self._max_error = max_polygon_error
        self._places = places_of(tool, list(images))

    def existing(self) -> list[Path]:
        annotations = [self._out / place.annotation for place in self._places.values()]
        copies = [(file, self._out / self._places[image].image) for image, file in self._images.items()]
        copied = [copy for file, copy in copies if not same_place(file, copy)]
        return [path for path in (*annotations, *copied) if os.path.lexists(path)]

    def add(self, annotation: Annotation, image: str, file: Path) -> None:
        place = self._places[image]
        named = replace(annotation, image=image, extra={})
        self._format.codec.write(named, self._out / place.annotation, max_polygon_error=self._max_error)
        self._copy(file, self._out / place.image)

    def _copy(self, file: Path, target: Path) -> None:
        if not same_place(file, target):
            copy_atomically(file, target)

    def finish(self) -> None:
        """All is written already."""


class CvatExport(FolderExport):
    """LabelMe 3.0 files beside the images; for CVAT's upload a zip file of 'CVAT for images 1.1' with the images."""

    def __init__(
        self, tool: str, out: Path, images: Mapping[str, Path], classes: Sequence[str], max_polygon_error: float
    ) -> None:
        super().__init__(tool, out, images, classes, max_polygon_error)
        self._writer = CvatImagesWriter(classes, max_polygon_error=max_polygon_error)
        self._packed: dict[str, Path] = {}

    def existing(self) -> list[Path]:
        return [path for path in (self._out / self._format.folders[0], self._out / CVAT_ZIP) if os.path.lexists(path)]

    def add(self, annotation: Annotation, image: str, file: Path) -> None:
        super().add(annotation, image, file)
        self._writer.add(replace(annotation, image=image))
        self._packed[f"images/{image}"] = file

    def finish(self) -> None:
        path = self._out / CVAT_ZIP
        draft = path.with_name(path.name + ".tmp")
        draft.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(draft, "w") as package:
            package.writestr("annotations.xml", self._writer.text(path), zipfile.ZIP_DEFLATED)
            for name, file in self._packed.items():
                package.write(file, name)
        draft.replace(path)


class SuperviselyExport(FolderExport):
    """A project. A meta.json that is there already is kept, and must know the classes."""

    def __init__(
        self, tool: str, out: Path, images: Mapping[str, Path], classes: Sequence[str], max_polygon_error: float
    ) -> None:
        """Raises AnnotationError where the meta.json does not go with the classes."""
        super().__init__(tool, out, images, classes, max_polygon_error)
        self._has_meta = (out / META_FILE).exists()
        self._has_scores = True
        if self._has_meta:
            meta = read_meta(out / META_FILE)
            check_meta(meta, classes)
            self._has_scores = meta.has_scores

    def add(self, annotation: Annotation, image: str, file: Path) -> None:
        if not self._has_meta:
            write_meta(self._out / META_FILE, self._classes)
            self._has_meta = True
        automatic = any(instance.score is not None for instance in annotation.instances)
        path = self._out / self._places[image].annotation
        scored = annotation if self._has_scores else annotation.without_scores()
        supervisely.write(replace(scored, extra={}), path, automatic=automatic)
        for folder in self._data_sets(path.parent.parent):
            (folder / "ann").mkdir(parents=True, exist_ok=True)
            (folder / "img").mkdir(parents=True, exist_ok=True)
        self._copy(file, self._out / self._places[image].image)

    def _data_sets(self, folder: Path) -> Iterable[Path]:
        """A data set's folder and those of the data sets around it."""
        return [one for one in (folder, *folder.parents) if self._out in one.parents and one.name != "datasets"]

    def _copy(self, file: Path, target: Path) -> None:
        """Images of a kind that Supervisely does not read become PNG files, turned by their EXIF orientation."""
        if file.suffix.lower() in SUPERVISELY_IMAGES:
            super()._copy(file, target)
            return
        draft = target.with_name(target.name + ".tmp")
        try:
            with Image.open(file) as stored:
                picture = ImageOps.exif_transpose(stored)
            if picture.mode not in (*_AS_PNG, *_TO_RGB):
                raise MaskALError(f"{file}: a picture of mode {picture.mode} has no PNG form; save it as an 8-bit PNG")
            (picture.convert("RGB") if picture.mode in _TO_RGB else picture).save(draft, "PNG")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise MaskALError(f"{file}: cannot be converted to PNG for Supervisely: {error}") from error
        draft.replace(target)


def make_export(
    tool: str, out: Path, images: Mapping[str, Path], classes: Sequence[str], max_polygon_error: float
) -> Export:
    """The export of one of TOOLS; see `Export`. Raises AnnotationError."""
    if tool == COCO:
        return CocoExport(out, classes)
    return OWN_EXPORTS.get(tool, FolderExport)(tool, out, images, classes, max_polygon_error)


OWN_EXPORTS: dict[str, type[FolderExport]] = {"cvat": CvatExport, "supervisely": SuperviselyExport}
