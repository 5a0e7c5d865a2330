"""Whether an export has been converted: then all images that it has objects of are annotated, and it can stay."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from active_learning.annotations.documents import is_coco, parse_document
from active_learning.annotations.yolo_layout import SUFFIX
from active_learning.dataset.archives import DAMAGED_ARCHIVE, ZIP, is_archive, is_of_an_image, members
from active_learning.dataset.image_folder import annotation_key
from active_learning.dataset.image_names import names_of
from active_learning.errors import AnnotationError
from active_learning.system.file_moves import same_content

MOST_BYTES = 2**27  # of a file that is parsed for this
CLOCK_STEP = 2 * 10**9  # nanoseconds, of drives that keep times coarsely

Owners = Mapping[str, list[str]]
"""From names and stems to images, as `image_folder.claimants` gives them."""


def is_converted(path: Path, owners: Owners, annotated: Set[str]) -> bool:
    """Whether an export is of images of a folder that are all annotated.

    Of images that share a name all must be. Images without objects do not count, as they may be left out on purpose,
    unless the export has no others.

    Args:
        owners: of all images of the folder.
        annotated: of these, the ones with an annotation.
    """
    images = exported_images(path, owners)
    return bool(images) and images <= annotated


def came_later(path: Path, owners: Owners, files: Mapping[str, Sequence[Path]]) -> bool:
    """Whether an export is newer than all annotations of its images, and no copy of one: it may hold corrections.

    Args:
        owners: as for `is_converted`.
        files: from image to its annotations.
    """
    made = [file for image in exported_images(path, owners) for file in files.get(image, ())]
    with suppress(OSError):
        newest = max((file.stat().st_mtime_ns for file in made), default=None)
        if newest is not None and path.stat().st_mtime_ns > newest + CLOCK_STEP:
            return not any(same_content(path, file) for file in made)
    return False


def may_hold(path: Path, owners: Owners, images: Set[str]) -> bool:
    """Whether an export has objects of one of these images, or that cannot be seen quickly; see `exported_images`."""
    found = _images(path, owners)
    return found is None or not found.isdisjoint(images)


def exported_images(path: Path, owners: Owners) -> set[str]:
    """The images of a folder that an export has objects of, if it has objects, else all that it names; none where that
    cannot be seen quickly."""
    return _images(path, owners) or set()


def _images(path: Path, owners: Owners) -> set[str] | None:
    """As `exported_images`, but None where that cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    own = _owners(_name_of_one(path.name), owners)
    if own or path.suffix.lower() == SUFFIX:
        return own
    names = _names(path, status.st_size, status.st_mtime_ns)
    return {image for name in names for image in _owners(name, owners)} if names else None


def _owners(name: str, owners: Owners) -> set[str]:
    for key in names_of(name):
        if found := owners.get(key) or owners.get(PurePosixPath(key).stem):
            return set(found)
    return set()


def _name_of_one(filename: str) -> str:
    """The name or stem of the image that an annotation or label file is of, if it is of one."""
    if filename.lower().endswith(SUFFIX):
        return filename[: -len(SUFFIX)]
    return annotation_key(filename) or ""


@lru_cache(maxsize=256)
def _names(path: Path, size: int, time: int) -> frozenset[str]:  # noqa: ARG001 (a file that changed is read again)
    """Of the images in a file of many, or in an archive."""
    with suppress(AnnotationError, *DAMAGED_ARCHIVE):
        if is_archive(path.name):
            return frozenset(_names_in_archive(path))
        if size <= MOST_BYTES:
            return frozenset(_names_in(parse_document(path.read_bytes(), path)))
    return frozenset()


def _names_in_archive(path: Path) -> Iterator[str]:
    """Of its members and, of a zip file, of the images in the largest of those that are annotations."""
    if path.suffix.lower() != ZIP:
        yield from _names_of_ones(members(path))
        return
    with zipfile.ZipFile(path) as package:
        listed = {PurePosixPath(one.filename): one for one in package.infolist()}
        yield from _names_of_ones(listed)
        documents = [one for member, one in listed.items() if annotation_key(member.name) is not None]
        largest = max(documents, key=lambda one: one.file_size, default=None)
        if largest is not None and largest.file_size <= MOST_BYTES:
            yield from _names_in(parse_document(package.read(largest), path))


def _names_of_ones(files: Iterable[PurePosixPath]) -> Iterator[str]:
    yield from (_name_of_one(file.name) for file in files if is_of_an_image(file))


def _names_in(document: Any) -> Iterator[str]:
    """Of the images with objects in a COCO or 'CVAT for images' document, of all where none has any; of another kind
    none."""
    found: list[tuple[Any, bool]] = []  # of each image its name, and whether it has objects
    if isinstance(document, Element):
        found = [(element.get("name"), len(element) > 0) for element in document.findall("image")]
    elif is_coco(document):
        ids = {str(one.get("image_id")) for one in _entries(document, "annotations")}
        found = [(image.get("file_name"), str(image.get("id")) in ids) for image in _entries(document, "images")]
    has_objects = any(has for _, has in found)
    yield from (name for name, has in found if isinstance(name, str) and has >= has_objects)


def _entries(document: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    entries = document.get(key)
    yield from (one for one in (entries if isinstance(entries, list) else ()) if isinstance(one, dict))
