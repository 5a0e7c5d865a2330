"""Annotations of images: one data model, and a codec for each annotation tool (see `formats`).

A file is loaded and parsed once: `load_document`, or `documents.read_content` and `parse_document` where its bytes are
wanted too. What that gives is then handed to the functions here.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Size
from active_learning.annotations.codec import Codec, CollectionCodec, FolderTreeCodec
from active_learning.annotations.darwin_item import slot_files
from active_learning.annotations.documents import FileKind, is_coco, kind_of_document, kind_of_unknown, load_document
from active_learning.annotations.formats import FORMATS, Format, codec_of
from active_learning.annotations.labels import check_labels, refuse_loss_of_all
from active_learning.errors import AnnotationError, ForeignFileError, ManyImagesError

_TELLING_BYTES = 4096
_TELLING_FIELDS = (b'"shapes"', b'"slots"', b'"classTitle"')  # of LabelMe, V7 Darwin and Supervisely

__all__ = [
    "FORMATS",
    "Annotation",
    "Bitmap",
    "FileKind",
    "Format",
    "Instance",
    "Part",
    "check_labels",
    "codec_of",
    "file_kind",
    "image_named_in",
    "load_document",
    "mask_files_of",
    "read_annotation",
    "read_leniently",
]


def read_annotation(
    path: Path | str, *, image: str, size: Size | None, within: Path | str | None = None, document: Any = None
) -> Annotation:
    """Reads an annotation file of any tool in FORMATS, recognised by its content.

    Of a 'CVAT for images' xml, which holds many images, the one of that name is read.

    Args:
        image: the name of the image that the file belongs to.
        size: the real (height, width) of the image in pixels, EXIF-rotated; None: what the file declares.
        within: the image folder; masks that lie outside of it are not read. Of all tools, only CVAT keeps masks in
            files of their own.
        document: what the file holds, where it is loaded already.

    Raises:
        AnnotationError: the file cannot be read, is damaged or is something else; names file, place and reason. A
            faulty object does not cost the file: it is left out, with a line in the annotation's `warnings`; where it
            leaves an image without any, that is the file's fault.
        ValueError: `size` is no size of an image.
    """
    path, size, within = Path(path), _whole_size(size), None if within is None else Path(within)
    try:
        annotation = read_leniently(path, image=image, size=size, within=within, document=document)
    except ManyImagesError as error:
        remedy = "turn it into a file for each image with: python -m active_learning.annotations convert"
        raise ManyImagesError(f"{error}; {remedy}") from error
    return refuse_loss_of_all(annotation, path)


def _whole_size(size: Any) -> Size | None:
    """Raises ValueError."""
    if size is None:
        return None
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) <= 0:
        raise ValueError(f"size must be (height, width) of the image in whole pixels, or None, not {size!r}")
    return height, width


def read_leniently(
    path: Path, *, image: str, size: Size | None, within: Path | None = None, document: Any = None
) -> Annotation:
    """As `read_annotation`, but gives an annotation without objects where none can be read: its `lost` must be seen to,
    as `check_labels` does."""
    document = load_document(path) if document is None else document
    return _known_codec(document, path).read(document, path=path, image=image, size=size, within=within)


def image_named_in(path: Path, document: Any = None) -> str:
    """The image's name or path that an annotation file gives, "" where it gives none; arguments as of read_annotation.

    Raises:
        AnnotationError: the file cannot be read, is no annotation, or (ManyImagesError) of many images.
    """
    document = load_document(path) if document is None else document
    codec = _known_codec(document, path)
    if isinstance(codec, CollectionCodec) or (isinstance(document, dict) and slot_files(document)):
        raise _foreign(document, path)
    return codec.image_name(document)


def file_kind(path: Path) -> FileKind:
    """What a json or xml file is; it is parsed only where its first bytes do not tell."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_TELLING_BYTES)
        if any(field in head for field in _TELLING_FIELDS):
            return FileKind.ANNOTATION
        document = load_document(path)
    except (OSError, AnnotationError):  # to be reported when it is read
        return FileKind.DAMAGED
    return FileKind.ANNOTATION if codec_of(document) is not None else kind_of_unknown(document)


def mask_files_of(path: Path, *, within: Path | None = None, document: Any = None) -> dict[str, Path | None]:
    """The mask files of an annotation, which belong with it wherever it goes: from their names to their places.

    Only CVAT's LabelMe 3.0 has some; of no annotation there are none. A name that is of no file `within` the image
    folder has None. Arguments as of read_annotation.

    Raises:
        AnnotationError: the file cannot be read.
    """
    if path.suffix.lower() != ".xml":
        return {}
    document = load_document(path) if document is None else document
    codec = codec_of(document)
    return codec.mask_files(document, path=path, within=within) if isinstance(codec, FolderTreeCodec) else {}


def _known_codec(document: Any, path: Path) -> Codec:
    codec = codec_of(document)
    if codec is None:
        raise _foreign(document, path)
    return codec


def _foreign(document: Any, path: Path) -> AnnotationError:
    text = f"{path}: is {kind_of_document(document)}"
    if codec_of(document) is not None or is_coco(document):
        return ManyImagesError(text)
    error = AnnotationError if kind_of_unknown(document) is FileKind.OTHER_TOOL else ForeignFileError
    return error(f"{text}; formats read here: {', '.join(FORMATS)}")
