"""Annotations of images: one data model, and a codec for each annotation tool.

A codec is a module with the functions of `Codec`; FORMATS names them all. Reading needs numpy and cv2 only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from active_learning.annotations import cvat, cvat_images, darwin, labelme, supervisely
from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Mask, Part, Polygon
from active_learning.annotations.documents import kind_of_document, load_document
from active_learning.annotations.labels import check_labels
from active_learning.errors import AnnotationError

__all__ = [
    "FORMATS",
    "Annotation",
    "Bitmap",
    "Codec",
    "Instance",
    "Mask",
    "Part",
    "Polygon",
    "check_labels",
    "image_named_in",
    "mask_files_of",
    "read_annotation",
]


class Codec(Protocol):
    """Reads and writes the files of one annotation tool. A `document` is a file's content, parsed."""

    def recognises(self, document: Any) -> bool:
        """Whether the document is of this tool."""

    def image_name(self, document: Any) -> str:
        """The image's name or path as the file gives it; "" where it gives none."""

    def read(self, document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
        """The annotation; `size` is the image's real (height, width). Raises AnnotationError."""

    def write(self, annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
        """Writes the file atomically; outlines of bitmaps are within `max_polygon_error` pixels."""


FORMATS: dict[str, Codec] = {
    "labelme": labelme,
    "cvat": cvat,
    "darwin": darwin,
    "supervisely": supervisely,
}


def read_annotation(path: Path, *, image: str, size: tuple[int, int] | None, within: Path | None = None) -> Annotation:
    """Reads an annotation file of any tool in FORMATS, told apart by content.

    Of a 'CVAT for images' xml, which holds many images, the one of that name is read.

    Args:
        image: the name of the image that the file belongs to.
        size: the real (height, width) of the image in pixels, EXIF-rotated; None: what the file declares.
        within: the image folder; masks that lie outside of it are not read. Of all tools, only CVAT keeps masks in
            files of their own.

    Raises:
        AnnotationError: the file cannot be read, is damaged or is something else; names file, place and reason. A
            faulty object does not cost the file: it is left out, and said so in the annotation's `warnings`.
    """
    return read_document(load_document(path), path=path, image=image, size=size, within=within)


def read_document(
    document: Any, *, path: Path, image: str, size: tuple[int, int] | None, within: Path | None = None
) -> Annotation:
    """As `read_annotation`, of a file that is loaded already."""
    if cvat_images.recognises(document):
        return cvat_images.read(document, path=path, image=image, size=size)
    if cvat.recognises(document):
        return cvat.read(document, path=path, image=image, size=size, within=within)
    return _codec_of(document, path).read(document, path=path, image=image, size=size)


def mask_files_of(path: Path, *, within: Path | None = None) -> dict[str, Path | None]:
    """The mask files of an annotation, which belong with it wherever it goes; see `cvat.mask_files`.

    Raises:
        AnnotationError: the file cannot be read.
    """
    return (
        {} if path.suffix.lower() != ".xml" else mask_files_of_document(load_document(path), path=path, within=within)
    )


def mask_files_of_document(document: Any, *, path: Path, within: Path | None = None) -> dict[str, Path | None]:
    """As `mask_files_of`, of a file that is loaded already."""
    return cvat.mask_files(document, path=path, within=within) if cvat.recognises(document) else {}


def image_named_in(path: Path) -> str:
    """The image's name or path that an annotation file gives, "" where it gives none; raises as read_annotation."""
    return image_name_of(load_document(path), path)


def image_name_of(document: Any, path: Path) -> str:
    """As `image_named_in`, of a file that is loaded already."""
    return _codec_of(document, path).image_name(document)


def codec_of(document: Any) -> Codec | None:
    """The codec of a document; None where it is of no tool, or of many images."""
    return next((codec for codec in FORMATS.values() if codec.recognises(document)), None)


def _codec_of(document: Any, path: Path) -> Codec:
    codec = codec_of(document)
    if codec is not None:
        return codec
    raise AnnotationError(f"{path}: is {kind_of_document(document)}; formats read here: {', '.join(FORMATS)}")
