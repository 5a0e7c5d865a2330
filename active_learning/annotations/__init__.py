"""Annotations of images: one data model, and a codec for each annotation tool (see `formats`).

A file is loaded and parsed once: `load_document`, or `read_content` and `parse_document` where its bytes are wanted
too. What it holds is then asked of the document, by the functions whose names speak of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Mask, Part, Polygon, Size
from active_learning.annotations.codec import Codec, CollectionCodec, FolderTreeCodec
from active_learning.annotations.documents import kind_of_document, load_document, parse_document, read_content
from active_learning.annotations.formats import FORMATS, Format, codec_of
from active_learning.annotations.labels import check_labels
from active_learning.errors import AnnotationError

__all__ = [
    "FORMATS",
    "Annotation",
    "Bitmap",
    "Codec",
    "Format",
    "Instance",
    "Mask",
    "Part",
    "Polygon",
    "check_labels",
    "codec_of",
    "image_name_of",
    "image_named_in",
    "load_document",
    "mask_files_of",
    "mask_files_of_document",
    "parse_document",
    "read_annotation",
    "read_content",
    "read_document",
]


def read_annotation(path: Path, *, image: str, size: Size | None, within: Path | None = None) -> Annotation:
    """Reads an annotation file of any tool in FORMATS, recognised by its content.

    Of a 'CVAT for images' xml, which holds many images, the one of that name is read.

    Args:
        image: the name of the image that the file belongs to.
        size: the real (height, width) of the image in pixels, EXIF-rotated; None: what the file declares.
        within: the image folder; masks that lie outside of it are not read. Of all tools, only CVAT keeps masks in
            files of their own.

    Raises:
        AnnotationError: the file cannot be read, is damaged or is something else; names file, place and reason. A
            faulty object does not cost the file: it is left out, with a line in the annotation's `warnings`.
    """
    return read_document(load_document(path), path=path, image=image, size=size, within=within)


def read_document(document: Any, *, path: Path, image: str, size: Size | None, within: Path | None) -> Annotation:
    """As `read_annotation`, of a file that is loaded already; `path` is its place."""
    return _known_codec(document, path).read(document, path=path, image=image, size=size, within=within)


def image_named_in(path: Path) -> str:
    """The image's name or path that an annotation file gives, "" where it gives none; raises as read_annotation."""
    return image_name_of(load_document(path), path)


def image_name_of(document: Any, path: Path) -> str:
    """As `image_named_in`, of a file that is loaded already.

    Raises:
        AnnotationError: the document is no annotation, or of many images.
    """
    codec = _known_codec(document, path)
    if isinstance(codec, CollectionCodec):
        raise _foreign(document, path)
    return codec.image_name(document)


def mask_files_of(path: Path, *, within: Path | None = None) -> dict[str, Path | None]:
    """The mask files of an annotation, which belong with it wherever it goes: from their names to their places.

    Only CVAT's LabelMe 3.0 has some. A name that is of no file `within` the image folder has None.

    Raises:
        AnnotationError: the file cannot be read.
    """
    if path.suffix.lower() != ".xml":
        return {}
    return mask_files_of_document(load_document(path), path=path, within=within)


def mask_files_of_document(document: Any, *, path: Path, within: Path | None = None) -> dict[str, Path | None]:
    """As `mask_files_of`, of a file that is loaded already; of no annotation there are none."""
    codec = codec_of(document)
    return codec.mask_files(document, path=path, within=within) if isinstance(codec, FolderTreeCodec) else {}


def _known_codec(document: Any, path: Path) -> Codec:
    codec = codec_of(document)
    if codec is None:
        raise _foreign(document, path)
    return codec


def _foreign(document: Any, path: Path) -> AnnotationError:
    return AnnotationError(f"{path}: is {kind_of_document(document)}; formats read here: {', '.join(FORMATS)}")
