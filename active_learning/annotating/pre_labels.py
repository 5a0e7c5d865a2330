"""Pre-labels: annotation files of what a network predicts, put where a person's would be, and never over one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.annotations import FORMATS, Annotation, Format, Instance
from active_learning.annotations.contours import instance_bitmap, parts_without_holes
from active_learning.annotations.supervisely_meta import Meta, check_meta, read_meta
from active_learning.dataset.image_folder import claimants
from active_learning.dataset.image_names import check_image_name, is_image
from active_learning.errors import MaskALError
from active_learning.settings import Settings
from active_learning.system.disk_space import disk_failure
from active_learning.system.file_moves import draft_of_new
from active_learning.system.names import normalised
from active_learning.system.progress import progress
from active_learning.system.wording import counted

if TYPE_CHECKING:
    from active_learning.network.image_batches import UnreadableImage


@dataclass(frozen=True)
class ExportFormat:
    """How pre-labels are written. `meta` is of the tool's project, None for a tool that needs none."""

    tool: Format
    max_polygon_error: float = 1.0
    meta: Meta | None = None

    def write(self, annotation: Annotation, path: Path) -> None:
        """Writes the file, over what stands there."""
        if self.tool.polygons_only:
            annotation = _without_holes(annotation, self.max_polygon_error)
        if self.meta is not None:
            annotation = self.meta.fitted(annotation)
        self.tool.codec.write(annotation, path, max_polygon_error=self.max_polygon_error)


def export_format(settings: Settings, classes: Sequence[str]) -> ExportFormat:
    """That of the settings; `classes` are the names that the pre-labels may have.

    Raises:
        AnnotationError: the meta.json cannot be read or lacks a class.
    """
    tool, meta = FORMATS[settings.export_format], None
    if tool.needs_meta and settings.supervisely_meta_json is not None:
        meta = read_meta(settings.supervisely_meta_json)
        check_meta(meta, classes)
    return ExportFormat(tool, settings.max_polygon_error, meta)


def _without_holes(annotation: Annotation, max_error: float) -> Annotation:
    """The annotation in polygons that its tool can hold: an object with holes is cut through them."""

    def cut(instance: Instance) -> Instance:
        bitmap = instance_bitmap(instance, annotation.height, annotation.width)
        return replace(instance, parts=parts_without_holes(bitmap, max_error), bitmap=None)

    return replace(annotation, instances=tuple(map(cut, annotation.instances)))


@dataclass
class PreLabelCount:
    """What has been written, and which images were left because something stands there already."""

    images: int = 0
    objects: int = 0
    without_detections: int = 0
    left: int = 0

    def __str__(self) -> str:
        parts = [counted(self.images, "image"), counted(self.objects, "object")]
        parts.append(f"{counted(self.without_detections, 'image')} without detections")
        return ", ".join(parts)


class PreLabelFolder:
    """Writes the pre-labels of a folder's images beside them."""

    def __init__(self, folder: Path, export: ExportFormat) -> None:
        self.folder = folder
        self.export = export
        self.count = PreLabelCount()
        self._owners: dict[Path, dict[str, list[str]]] = {}

    def write(self, annotation: Annotation, before: Callable[[str, Path], object] = lambda *_: None) -> Path | None:
        """Writes the annotation file of an image of the folder; None where one of that name is there already.

        Args:
            before: gets image and file before the file has its name: an image that has one is not pre-labelled again.

        Raises:
            MaskALError: it cannot be written.
        """
        target = self.path_of(annotation.image)
        try:
            with draft_of_new(target) as draft:
                self.export.write(annotation, draft)
                if not target.exists():
                    before(annotation.image, draft)
        except FileExistsError:
            self.count.left += 1
            return None
        except OSError as error:
            reason = disk_failure(error) or f"{target}: cannot be written: {error.strerror or error}"
            raise MaskALError(reason) from error
        self.count.images += 1
        self.count.objects += len(annotation.instances)
        self.count.without_detections += not annotation.instances
        return target

    def write_all(
        self,
        predictions: Iterable[Annotation | UnreadableImage],
        total: int,
        report_unreadable: Callable[[UnreadableImage], None],
        before: Callable[[str, Path], object] = lambda *_: None,
    ) -> None:
        """Writes the predictions as they come, with a progress bar. `before`: as of `write`.

        Raises:
            MaskALError: a file cannot be written.
        """
        for one in progress(predictions, what="pre-labelling", unit="image", total=total):
            if not isinstance(one, Annotation):
                report_unreadable(one)
            else:
                self.write(one, before)

    def path_of(self, image: str) -> Path:
        """The file that the tool opens: `<stem>.json`, `<stem>.xml`, Supervisely: `<image name>.json`.

        Where another image has the same stem, it is named after the whole name of the image.
        """
        path = self.folder / check_image_name(image)
        if path.parent not in self._owners:
            names = os.listdir(path.parent) if path.parent.is_dir() else []  # noqa: PTH208 (names are wanted)
            self._owners[path.parent] = claimants(name for name in names if is_image(name))
        alone = len(self._owners[path.parent].get(normalised(path.stem), ())) <= 1
        by_stem = alone and not self.export.tool.named_after_image
        return path.with_name((path.stem if by_stem else path.name) + self.export.tool.suffix)
