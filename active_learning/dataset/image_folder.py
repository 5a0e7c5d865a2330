"""The images of a folder, and the annotation files that belong to them.

An image is named by its path relative to the folder, with `/`. Names compare NFC-normalised.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from active_learning.annotations import FileKind, file_kind, image_named_in
from active_learning.annotations.yolo_layout import LABELS, SUFFIX
from active_learning.annotations.yolo_names import may_hold_names
from active_learning.dataset.folder_walk import FolderWalk, files_of, walk_notes
from active_learning.dataset.image_names import (
    check_image_name,
    check_names,
    is_image,
    named_by_number,
)
from active_learning.dataset.mask_files import mask_files
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system.names import normalised
from active_learning.system.wording import and_more

EXPORTED_AS_PNG = (".tif", ".tiff")  # in a Supervisely project, whose tool does not show them
ANNOTATION_SUFFIXES = (".json", ".xml")  # the first wins where an image has both
NamedIn: TypeAlias = Callable[[Path], str]  # gives the image that an annotation file names; raises AnnotationError


class AnnotationFiles(Protocol):
    """Looks into annotation files, as an AnnotationCache does, which remembers what it saw."""

    def image_named_in(self, path: Path, /) -> str:
        """As `annotations.image_named_in`."""

    def file_kind(self, path: Path, /) -> FileKind:
        """As `annotations.file_kind`."""


class _AnnotationFiles:
    """Opens them each time."""

    image_named_in = staticmethod(image_named_in)
    file_kind = staticmethod(file_kind)


ANNOTATION_FILES = _AnnotationFiles()


@dataclass(frozen=True)
class FolderSnapshot:
    """What one walk of an image folder found; a phase of a run takes one and hands it on.

    Attributes:
        images: their names, sorted.
        files: from each sub-folder, "" for the folder itself, to the names of its files.
        notes: what a person should know of files that are passed over, a line each.
    """

    folder: Path
    images: tuple[str, ...]
    files: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()


def take_snapshot(folder: Path) -> FolderSnapshot:
    """Walks the folder and its sub-folders; the `annotate` folder is left out.

    Masks are no images (see `mask_files`).

    Raises:
        MaskALError: the folder is not there or cannot be read, or images have names that cannot be told apart or
            written in a list (`check_names`).
    """
    tour = FolderWalk(folder)
    files = {"" if parent == Path() else parent.as_posix(): names for parent, names in tour}
    masks, doubtful = mask_files(folder, files)
    paths = (f"{parent}/{name}" if parent else name for parent, names in files.items() for name in names)
    images = [path for path in paths if is_image(path.rpartition("/")[2]) and path not in masks]
    check_names(folder, images)
    others = (name for names in files.values() for name in names if not is_image(name))
    notes = walk_notes(folder, _that_matter(tour.passed_over), others)
    if doubtful:
        reason = "passed over: taken for masks by their names; if they are images, rename them or their folder"
        notes.append(f"{folder}: {and_more(doubtful, 3)}: {reason}")
    return FolderSnapshot(folder, tuple(sorted(images)), files, tuple(notes))


def _that_matter(passed_over: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Images and annotations, and folders, whose names end with `/`."""
    wanted = {reason: [name for name in names if _matters(name)] for reason, names in passed_over.items()}
    return {reason: names for reason, names in wanted.items() if names}


def _matters(path: str) -> bool:
    parent, _, filename = path.rpartition("/")
    is_of_yolo = may_hold_names(filename) or (filename.lower().endswith(SUFFIX) and LABELS in parent.split("/"))
    return not filename or is_image(filename) or annotation_key(filename) is not None or is_of_yolo


def find_images(folder: Path) -> list[str]:
    """The images of `take_snapshot`."""
    return list(take_snapshot(folder).images)


def annotation_key(filename: str) -> str | None:
    """What an annotation file is named after, an image's name or stem, NFC; None for a file that is no annotation."""
    stem, suffix = os.path.splitext(filename)  # noqa: PTH122
    if suffix.lower() not in ANNOTATION_SUFFIXES or filename.startswith("."):
        return None
    return normalised(stem)


def claimants(images: Iterable[str]) -> dict[str, list[str]]:
    """From each key that an annotation file may have to the images that it may be of: their names and stems, NFC."""
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        name = normalised(image.rpartition("/")[2])
        for key in {name, _stem(name), exported_name(name)}:
            found[key].append(image)
    return found


def exported_name(name: str) -> str:
    """An image's name in a Supervisely project; its annotation there is `<that>.json`."""
    return f"{name}.png" if name.lower().endswith(EXPORTED_AS_PNG) else name


def pair_annotations(
    folder: Path,
    images: Iterable[str],
    files: AnnotationFiles = ANNOTATION_FILES,
    snapshot: FolderSnapshot | None = None,
) -> dict[str, Path]:
    """From image to the annotation file beside it, for those that have one; arguments as of `find_annotations`.

    An image's file is `<image name>.json`, `<stem>.json`, `<image name>.xml` or `<stem>.xml`, the first of them that is
    an annotation; a file of another program is passed over.
    Where images share a stem, a file is of the image that it names inside; so are CVAT's item_000000012.xml. Each
    folder is listed once.

    Raises:
        MaskALError: an image name leads out of the folder, or a file may be of several images.
    """
    pairs, faults = find_annotations(folder, images, files, snapshot)
    if faults:
        raise MaskALError("\n".join(sorted(set(faults.values()))))
    return pairs


def find_annotations(
    folder: Path,
    images: Iterable[str],
    files: AnnotationFiles = ANNOTATION_FILES,
    snapshot: FolderSnapshot | None = None,
) -> tuple[dict[str, Path], dict[str, str]]:
    """As `pair_annotations`; images whose file may be another's come second, with that fault.

    Args:
        files: gives the image that an annotation file names, for shared stems and numbers, and what a file is.
        snapshot: what the folder holds; without it the folders of the images are listed.
    """
    by_parent: dict[str, list[str]] = defaultdict(list)
    for name in images:
        by_parent[check_image_name(name).rpartition("/")[0]].append(name)
    pairs: dict[str, Path] = {}
    faults: dict[str, str] = {}
    for parent, names in by_parent.items():
        place = folder / parent
        filenames = files_of(folder, Path(parent)) if snapshot is None else snapshot.files.get(parent, ())
        keys = {name: normalised(name.rpartition("/")[2]) for name in names}
        paired, doubtful = _pair_in_folder(place, _related_files(filenames, keys.values()), files)
        for name, key in keys.items():
            if key in paired:
                pairs[name] = place / paired[key]
            elif key in doubtful:
                faults[name] = doubtful[key]
    return pairs, faults


def _related_files(filenames: Iterable[str], images: Iterable[str]) -> list[str]:
    """The files of a folder that are named by number, or after an image: its stem, its name, that in Supervisely."""
    names = set(claimants(images))
    named = ((filename, _stem(normalised(filename))) for filename in filenames)
    return [filename for filename, stem in named if stem in names or _stem(stem) in names or named_by_number(filename)]


def foreign_files(snapshot: FolderSnapshot, files: AnnotationFiles = ANNOTATION_FILES) -> list[Path]:
    """The files of other programs that have names as of annotations; `find_annotations` passes them over."""
    return [path for path, _ in _files_named_as(snapshot) if files.file_kind(path) is FileKind.NO_ANNOTATION]


def second_annotations(
    snapshot: FolderSnapshot, pairs: Mapping[str, Path], files: AnnotationFiles = ANNOTATION_FILES
) -> list[Path]:
    """Annotations beside an image that has another one, by `pairs`, as `find_annotations` gives them."""
    used = set(pairs.values())
    named = ((path, images) for path, images in _files_named_as(snapshot) if path not in used)
    others = (path for path, images in named if not pairs.keys().isdisjoint(images))
    return [path for path in others if files.file_kind(path) is FileKind.ANNOTATION]


def _files_named_as(snapshot: FolderSnapshot) -> list[tuple[Path, list[str]]]:
    """The files that bear names as of annotations of the images beside them, with these."""
    found: list[tuple[Path, list[str]]] = []
    for parent, names in snapshot.files.items():
        images = [f"{parent}/{name}" if parent else name for name in names if is_image(name)]
        owners, related = claimants(images), _related_files(names, map(normalised, filter(is_image, names)))
        keys = {name: annotation_key(name) for name in related}
        found += [(snapshot.folder / parent / name, owners[key]) for name, key in keys.items() if key in owners]
    return sorted(found)


def _stem(filename: str) -> str:
    return os.path.splitext(filename)[0]  # noqa: PTH122


def _pair_in_folder(
    place: Path, filenames: Sequence[str], files: AnnotationFiles
) -> tuple[dict[str, str], dict[str, str]]:
    """From image (NFC) to annotation filename, and to the fault of a file that may be its own or another's."""
    owners = claimants(normalised(filename) for filename in filenames if is_image(filename))
    named_in = files.image_named_in
    named = {filename: claimed_key(place / filename, owners, named_in) for filename in filenames}
    kinds = {filename: files.file_kind(place / filename) for filename, key in named.items() if key is not None}
    keys = {one: key for one, key in named.items() if key is not None and kinds[one] < FileKind.NO_ANNOTATION}
    order = sorted(keys, key=lambda one: (keys[one] not in owners[keys[one]], _suffix_rank(one)))
    paired: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for filename in order:
        key = keys[filename]
        owner: str | None = key if key in owners[key] else owners[key][0]
        if key in owners[key] and len(owners[key]) > 1:  # a.png.json, where there is a.png.png, too
            owner = _named_one(place / filename, owners[key], named_in) or key
        elif len(owners[key]) > 1:
            owner, fault = _owner(place / filename, owners[key], paired, named_in)
            doubtful.update({} if owner else dict.fromkeys(owners[key], fault))
        if owner is not None and (owner not in paired or kinds[filename] < kinds[paired[owner]]):
            paired[owner] = filename
    return paired, doubtful


def claimed_key(path: Path, owners: Mapping[str, Sequence[str]], named_in: NamedIn) -> str | None:
    """The key of `owners`, which `claimants` gives, that an annotation file is of.

    A file of a number is of the image that it names inside, by its name or, as CVAT does, without suffix.
    """
    keys = [annotation_key(path.name)]
    if named_by_number(path.name):
        # A fault is reported once the file is read for an image, if it bears the name of one.
        with suppress(AnnotationError):
            name = normalised(named_in(path)).rpartition("/")[2]
            keys = [name, _stem(name), *keys]
    return next((key for key in keys if key in owners), None)


def _suffix_rank(filename: str) -> tuple[int, str]:
    suffix = os.path.splitext(filename)[1].lower()  # noqa: PTH122
    return ANNOTATION_SUFFIXES.index(suffix), filename


def _named_one(path: Path, images: Sequence[str], named_in: NamedIn) -> str:
    """The image of these that a file names inside; "" for none."""
    with suppress(AnnotationError):
        named = normalised(named_in(path)).rpartition("/")[2].casefold()
        return next((image for image in images if image.casefold() == named), "")
    return ""


def _owner(path: Path, sharing: Sequence[str], paired: Mapping[str, str], named_in: NamedIn) -> tuple[str | None, str]:
    """Whose a file is of the images that share its stem, or why that is unknown."""
    try:
        named = normalised(named_in(path)).rpartition("/")[2]
    except AnnotationError as error:
        return None, str(error)
    alone = [image for image in sharing if image not in paired]
    for candidates in ([image for image in sharing if image.casefold() == named.casefold()], alone):
        if len(candidates) == 1:
            return candidates[0], ""
    several = " or ".join(sharing)
    return None, f"{path}: may be of {several}, and names {named!r}; name it after its image, such as {sharing[0]}.json"
