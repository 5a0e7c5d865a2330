"""The annotation files of an image folder: each is read, hashed and parsed once while its size and time stay.

What is kept of a file is small (CocoImage), so that a run holds that of all its images from loop to loop.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from active_learning.annotations import (
    Annotation,
    FileKind,
    check_labels,
    file_kind,
    image_named_in,
    labelme,
    mask_files_of,
    read_leniently,
)
from active_learning.annotations.coco import CocoImage, coco_image
from active_learning.annotations.cvat_masks import MASKS
from active_learning.annotations.documents import parse_document, read_content
from active_learning.dataset.exports import rename_and_convert
from active_learning.errors import AnnotationError, ManyImagesError, MaskALError
from active_learning.system import saving
from active_learning.system.image_files import image_size
from active_learning.system.pixel_limit import MOST_PIXELS
from active_learning.system.saving import Signature, is_just_saved, signature

# Of files that have been asked for the image they name, and are about to be read for it; in bytes on the disk.
MOST_BYTES_PARSED = 2**24
MOST_WARNINGS = 20  # of a file
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class _File:
    """An annotation file as it was when it was parsed."""

    signature: Signature | None
    digest: str
    named: str | AnnotationError


@dataclass(frozen=True)
class _Entry:
    """What an annotation file holds of an image, as long as the signatures of all files that were read stay."""

    signatures: tuple[Signature | None, ...]
    masks: tuple[Path, ...]
    image: CocoImage | None
    fault: str = ""


class AnnotationCache:
    """Of one image folder and the classes of a run."""

    def __init__(
        self, folder: Path, classes: Sequence[str], unknown_labels: str = "error", most_pixels: int = MOST_PIXELS
    ) -> None:
        """`unknown_labels` as in `annotations.check_labels`; images of more than `most_pixels` are a fault."""
        self.folder = folder
        self.classes = tuple(classes)
        self.unknown_labels = unknown_labels
        self.most_pixels = most_pixels
        self._files: dict[Path, _File] = {}
        self._kinds: dict[Path, tuple[Signature | None, FileKind]] = {}
        self._entries: dict[tuple[Path, str], _Entry] = {}
        self._parsed: dict[Path, tuple[int, Any]] = {}
        self._bytes_parsed = 0

    def image_named_in(self, path: Path) -> str:
        """The image that a file names, "" where it names none; raises AnnotationError."""
        named = self._file(path).named
        if isinstance(named, AnnotationError):
            raise type(named)(str(named))
        return named

    def file_kind(self, path: Path) -> FileKind:
        """As `annotations.file_kind`, at the cost of a `stat` where the file is known."""
        seen, known = signature(path), self._kinds.get(path)
        if known is None or known[0] != seen:
            known = self._kinds[path] = seen, file_kind(path)
        return known[1]

    def digest(self, path: Path) -> str:
        """Of the file's bytes (SHA-1); raises AnnotationError where it cannot be opened."""
        return self._file(path).digest

    def is_as_read(self, path: Path, now: Path) -> bool:
        """Whether the file at `now` is what was last read at `path`, from where it was renamed."""
        known, found = self._files.get(path), signature(now)
        if known is None or known.signature is None or found is None:
            return False
        # Of time and size: some drives number a renamed file anew.
        return (known.signature[0], known.signature[2]) == (found[0], found[2])

    def fault(self, path: Path, image: str) -> str:
        """What is wrong with an image's annotation file, or with the image; "" for nothing."""
        return self._entry(path, image).fault

    def look(self, path: Path, image: str) -> tuple[CocoImage | None, str]:
        """What `read` returns at this moment, or None and the fault."""
        entry = self._entry(path, image)
        return entry.image, entry.fault

    def read(self, path: Path, image: str) -> CocoImage:
        """What an annotation file holds of an image; labels are of the classes.

        Raises:
            MaskALError: the file or the image cannot be read, or a label is unknown.
        """
        entry = self._entry(path, image)
        end = time.monotonic() + saving.SECONDS_TO_SAVE
        while entry.image is None and is_just_saved(path) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            entry = self._entry(path, image)
        if entry.image is None:
            raise MaskALError(entry.fault)
        return entry.image

    def _entry(self, path: Path, image: str) -> _Entry:
        known = self._entries.get((path, image))
        if known is None or known.signatures != self._signatures(path, image, known.masks):
            known = self._entries[path, image] = self._read(path, image)
        return known

    def _signatures(self, path: Path, image: str, masks: Iterable[Path]) -> tuple[Signature | None, ...]:
        return tuple(map(signature, (path, self.folder / image, *masks)))

    def _read(self, path: Path, image: str) -> _Entry:
        signatures, files = self._signatures(path, image, ()), tuple[Path, ...]()
        try:
            document = self._take_document(path)
            size = image_size(self.folder / image, self.most_pixels)
            masks = mask_files_of(path, within=self.folder, document=document)
            if absent := [name for name, file in masks.items() if file is None]:
                fault = f"{path}: there is no mask {absent[0]!r}; put CVAT's folder Masks beside the xml file, too"
                return _Entry((), (), None, fault)  # no signature: the mask may come while the annotation stays
            if masks:  # the nearest counts, and one may come that is nearer
                files = (*filter(None, masks.values()), path.parent, path.parent / MASKS)
                signatures += tuple(map(signature, files))  # before they are read: one may be half there
            annotation = read_leniently(path, image=image, size=size, within=self.folder, document=document)
            annotation = check_labels(annotation, self.classes, self.unknown_labels, path)
        except ManyImagesError as error:
            return _Entry(signatures, files, None, f"{error}; {rename_and_convert(path, image, self.classes)}")
        except MaskALError as error:
            return _Entry(signatures, files, None, str(error))
        empty = not annotation.instances and not annotation.skipped
        found = coco_image(_with_few_warnings(annotation, path))
        found = replace(found, may_be_unopened=empty and not labelme.recognises(document))
        return _Entry(signatures, files, found)

    def _take_document(self, path: Path) -> Any:
        """The parsed file, which is then forgotten: documents take much memory."""
        self._file(path)
        _, document = self._forget(path) or self._parse(path)
        if isinstance(document, AnnotationError):
            raise type(document)(str(document))
        return document

    def _file(self, path: Path) -> _File:
        known = self._files.get(path)
        if known is None or known.signature != signature(path):
            self._forget(path)
            size, document = self._parse(path)
            if self._bytes_parsed + size <= MOST_BYTES_PARSED:
                self._parsed[path] = size, document
                self._bytes_parsed += size
            known = self._files[path]
        return known

    def _forget(self, path: Path) -> tuple[int, Any] | None:
        held = self._parsed.pop(path, None)
        self._bytes_parsed -= held[0] if held else 0
        return held

    def _parse(self, path: Path) -> tuple[int, Any | AnnotationError]:
        """The file's size and content; its name and digest are noted."""
        seen, content, document = signature(path), read_content(path), None
        try:
            document = parse_document(content, path)
            named: str | AnnotationError = image_named_in(path, document)
        except AnnotationError as error:
            named = error
            if not (isinstance(error, ManyImagesError) and isinstance(document, dict)):  # of slots one can be read
                document = error
        self._files[path] = _File(seen, hashlib.sha1(content, usedforsecurity=False).hexdigest(), named)
        return len(content), document


def _with_few_warnings(annotation: Annotation, path: Path) -> Annotation:
    """What is kept of a file is small."""
    more = len(annotation.warnings) - MOST_WARNINGS
    if more <= 0:
        return annotation
    return replace(annotation, warnings=(*annotation.warnings[:MOST_WARNINGS], f"{path}: {more} more warnings"))
