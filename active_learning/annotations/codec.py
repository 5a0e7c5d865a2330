"""What a module must have to read and write the files of an annotation tool.

A `document` is a file's content, parsed: what json holds, or the root element of an xml file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from active_learning.annotations.annotation import Annotation, Size


@runtime_checkable
class Codec(Protocol):
    """Reads and writes one kind of annotation file."""

    def recognises(self, document: Any) -> bool:
        """Whether the document is of this kind."""

    def image_name(self, document: Any) -> str:
        """The image's name or path as the file gives it; "" where it gives none."""

    def read(
        self, document: Any, *, path: Path, image: str, size: Size | None, within: Path | None = None
    ) -> Annotation:
        """The annotation, its objects clipped to the image; arguments as of `annotations.read_annotation`.

        Raises:
            AnnotationError: the whole file cannot be read.
        """

    def write(self, annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
        """Writes the file atomically; outlines of bitmaps are within `max_polygon_error` pixels."""


@runtime_checkable
class FolderTreeCodec(Codec, Protocol):
    """Of a tool whose exports are trees: its files name folders of images, and masks that are files of their own."""

    def mask_files(self, document: Any, *, path: Path, within: Path | None = None) -> dict[str, Path | None]:
        """From the names of the masks that the document refers to, to their files; None where there is none."""

    def image_folder(self, document: Any) -> str:
        """The image's folder, a path in the task, a subset or a collection; "" where the file gives none."""


class ImageCollection(Protocol):
    """The images of a file of many.

    `faults` are why images cannot be read, `warnings` what belongs to no image; each names file, place and reason.
    """

    faults: list[str]
    warnings: list[str]

    @property
    def images(self) -> tuple[str, ...]:
        """Their names, paths with "/"."""

    def paths_of(self, name: str) -> tuple[str, ...]:
        """Where that image may lie, the likeliest first."""

    def read(self, name: str, *, size: Size | None) -> Annotation:
        """The annotation of one of `images`; `size` as in `annotations.read_annotation`. Raises AnnotationError."""


@runtime_checkable
class CollectionCodec(Codec, Protocol):
    """Of files that hold many images each."""

    def images_of(self, document: Any, path: Path) -> ImageCollection:
        """The images that the document describes. Raises AnnotationError where it is damaged."""
