"""Finds the annotation files of awaited images, wherever below the annotate folder a tool put them."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import check_labels, image_named_in, mask_files_of, read_annotation
from active_learning.dataset.image_folder import (
    ANNOTATE,
    annotation_key,
    claimants,
    image_size,
    key_of_numbered,
    named_by_number,
    normalised,
)
from active_learning.errors import AnnotationError, MaskALError

Signature = tuple[int, int, int]  # changes with the file


class AnnotationChecks:
    """Reads annotation files for their faults, each one only when it has changed."""

    def __init__(self, folder: Path, classes: Sequence[str], unknown_labels: str) -> None:
        self._folder = folder
        self._classes = classes
        self._unknown_labels = unknown_labels
        self._faults: dict[tuple[Path, str], tuple[tuple[Signature | None, Signature | None] | None, str]] = {}
        self._names: dict[Path, tuple[Signature | None, str | AnnotationError]] = {}

    def fault(self, path: Path, image: str) -> str:
        """What is wrong with an image's annotation file, or with the image; "" for nothing."""
        signature = _signature(path), _signature(self._folder / image)
        known = self._faults.get((path, image))
        if known is None or known[0] != signature:
            fault, may_pass = self._read(path, image)
            known = self._faults[path, image] = None if may_pass else signature, fault
        return known[1]

    def _read(self, path: Path, image: str) -> tuple[str, bool]:
        """What is wrong with the file, and whether that can change while the file does not."""
        try:
            annotation = read_annotation(path, image=image, size=image_size(self._folder / image), within=self._folder)
            check_labels(annotation, self._classes, self._unknown_labels, path)
            masks = mask_files_of(path, within=self._folder)
        except MaskALError as error:
            return str(error), False
        absent = [name for name, file in masks.items() if file is None]
        if absent:
            return f"{path}: there is no mask {absent[0]!r}; put CVAT's folder Masks beside the xml file, too", True
        return "", False

    def named_in(self, path: Path) -> str:
        """The image that a file names; raises AnnotationError."""
        signature = _signature(path)
        known = self._names.get(path)
        if known is None or known[0] != signature:
            known = self._names[path] = signature, _name_or_error(path)
        if isinstance(known[1], AnnotationError):
            raise known[1]
        return known[1]


def _name_or_error(path: Path) -> str | AnnotationError:
    try:
        return image_named_in(path)
    except AnnotationError as error:
        return error


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:  # replaced at this moment; reading it says what there is to say
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


@dataclass
class Found:
    """Annotation files by image, the likeliest first, and the faults of files that cannot be given to an image."""

    files: dict[str, list[Path]]
    faults: dict[str, str]


def search_annotate_folder(folder: Path, images: Iterable[str], named_in: Callable[[Path], str]) -> Found:
    """Looks through the annotate folder of an image folder.

    A file is of the image whose name or stem it bears. It may lie elsewhere than its image (LabelMe's `--output` puts
    all in one place); then, as where several images bear that name, the image that it names inside decides.
    """
    owners = claimants(images)
    found = Found(defaultdict(list), {})
    for path in _annotation_files(folder / ANNOTATE):
        key = annotation_key(path.name) or ""
        if named_by_number(path.name):
            key = key_of_numbered(path, owners, named_in) or key
        candidates = owners.get(key, [])
        if not candidates:
            continue
        direct = _in_the_place_of(path, candidates, folder / ANNOTATE)
        owner, fault = _owner(folder, path, direct, candidates, named_in)
        if owner is not None:
            found.files[owner].insert(0 if owner in direct else len(found.files[owner]), path)
        for other in direct or candidates:
            if fault and other != owner:
                found.faults[other] = f"{path}: {fault}; save the annotation of {other} as {other}.json"
    return found


def _in_the_place_of(path: Path, images: Sequence[str], root: Path) -> list[str]:
    """The images whose copies are in the folder of the file. CVAT's export repeats their folders below its own
    (default/field_1/a.xml): there, those of the longest folder."""
    here = [image for image in images if (root / image).parent == path.parent]
    if here or path.suffix.lower() != ".xml":
        return here
    place = f"/{path.parent.as_posix()}/"
    ends = {image: f"/{image}".rpartition("/")[0] + "/" for image in images}
    fitting = [image for image, end in ends.items() if place.endswith(end)]
    longest = max((len(ends[image]) for image in fitting), default=0)
    return [image for image in fitting if len(ends[image]) == longest]


def _annotation_files(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        folders.sort()
        yield from (Path(place, name) for name in sorted(files) if annotation_key(name) is not None)


def _owner(
    folder: Path, path: Path, direct: Sequence[str], candidates: Sequence[str], named_in: Callable[[Path], str]
) -> tuple[str | None, str]:
    """The image that a file is of, if that can be told, and why it is not of the others that bear its name."""
    nearest = direct or candidates
    try:
        named = named_in(path)
    except AnnotationError as error:
        return (nearest[0], "") if len(nearest) == 1 else (None, str(error).removeprefix(f"{path}: "))
    resolved = _inside(path.parent.relative_to(folder).as_posix(), named)
    same = [image for image in candidates if normalised(image) == normalised(resolved)]
    if not same and _is_of_another(folder, path, resolved):
        return None, f"is of {named}" if direct else ""
    choice = same or _by_name(nearest, named)
    if len(choice) == 1:
        return choice[0], f"is of {choice[0]}"
    return None, f"may be of {' or '.join(nearest)}, and names {named!r}"


def _by_name(images: Sequence[str], named: str) -> Sequence[str]:
    """The only image, else those that the file names in words."""
    wanted = posixpath.basename(normalised(named)).casefold()
    same = [image for image in images if posixpath.basename(normalised(image)).casefold() == wanted]
    return same if len(images) > 1 else images


def _inside(place: str, named: str) -> str:
    """The image that a path means, relative to the image folder, "" where it leads out of it; no file is touched."""
    path = posixpath.normpath(posixpath.join(place, named))
    if not named or path.startswith(("..", "/")):
        return ""
    return path.removeprefix(f"{ANNOTATE}/")


def _is_of_another(folder: Path, path: Path, resolved: str) -> bool:
    """Whether the image named inside is there, and bears the file's name: then the file is not of our candidates."""
    key = annotation_key(path.name)
    return bool(resolved) and key in claimants([resolved]) and os.path.isfile(folder / resolved)  # noqa: PTH113 (False for impossible names)
