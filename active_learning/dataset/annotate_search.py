"""Finds the annotation files of awaited images, wherever below the annotate folder a tool put them."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import check_labels, image_named_in, read_annotation
from active_learning.dataset.image_folder import ANNOTATE, annotation_key, claimants, image_size, normalised
from active_learning.errors import AnnotationError, MaskALError

Signature = tuple[int, int, int]  # changes with the file


class AnnotationChecks:
    """Reads annotation files for their faults, each one only when it has changed."""

    def __init__(self, folder: Path, classes: Sequence[str], unknown_labels: str) -> None:
        self._folder = folder
        self._classes = classes
        self._unknown_labels = unknown_labels
        self._faults: dict[tuple[Path, str], tuple[Signature | None, str]] = {}
        self._names: dict[Path, tuple[Signature | None, str | AnnotationError]] = {}

    def fault(self, path: Path, image: str) -> str:
        """What is wrong with an image's annotation file; "" for nothing."""
        signature = _signature(path)
        known = self._faults.get((path, image))
        if known is None or known[0] != signature:
            known = self._faults[path, image] = signature, self._read(path, image)
        return known[1]

    def _read(self, path: Path, image: str) -> str:
        try:
            annotation = read_annotation(path, image=image, size=image_size(self._folder / image))
            check_labels(annotation, self._classes, self._unknown_labels, path)
        except MaskALError as error:
            return str(error)
        return ""

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
        candidates = owners.get(annotation_key(path.name) or "", [])
        if not candidates:
            continue
        direct = [image for image in candidates if (folder / ANNOTATE / image).parent == path.parent]
        owner, fault = _owner(folder, path, direct, candidates, named_in)
        if owner is not None:
            found.files[owner].insert(0 if owner in direct else len(found.files[owner]), path)
        for other in direct or candidates:
            if fault and other != owner:
                found.faults[other] = f"{path}: {fault}; save the annotation of {other} as {other}.json"
    return found


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
