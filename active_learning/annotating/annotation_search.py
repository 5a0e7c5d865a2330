"""Finds the annotation files of awaited images, wherever below the annotate folder a tool put them."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from active_learning.annotations import FORMATS
from active_learning.annotations.supervisely_meta import META_FILE
from active_learning.annotations.yolo_layout import SUFFIX, looks_like_labels
from active_learning.annotations.yolo_names import DATA_FILE
from active_learning.dataset.absence import is_there
from active_learning.dataset.archives import is_archive
from active_learning.dataset.exported_images import is_converted
from active_learning.dataset.exports import convert_command
from active_learning.dataset.folder_walk import ANNOTATE, is_of_programs
from active_learning.dataset.image_folder import annotation_key, claimants, claimed_key
from active_learning.dataset.image_names import named_by_number, names_of
from active_learning.errors import AnnotationError, ForeignFileError, ManyImagesError
from active_learning.system.files import report_unreadable_folder
from active_learning.system.names import normalised

_SHOWN = 5  # faults
_DATA_SETS = (".csv", ".geojson", ".jsonl", ".ndjson", ".tsv")  # exports of other tools; .txt files are one an image


@dataclass
class Found:
    """Annotation files by image, the likeliest first, and the faults of files that cannot be given to an image.

    `outdated` are images with such a fault whose files are pre-labels that nobody has touched: not to be used, as that
    file may hold their corrections.
    """

    files: dict[str, list[Path]]
    faults: dict[str, str]
    outdated: set[str] = field(default_factory=set)


def search_annotate_folder(
    folder: Path,
    images: Iterable[str],
    named_in: Callable[[Path], str],
    classes: Sequence[str] = (),
    annotated: Collection[str] = (),
    is_untouched: Callable[[Path], bool] = lambda _: False,
) -> Found:
    """Searches the annotate folder of an image folder.

    A file is of the image whose name or stem it bears. It may lie elsewhere than its image (LabelMe's `--output` puts
    all in one place); then, as where several images bear that name, the image that it names inside decides. A file of
    no image that cannot be used as it is, such as an export of all images, is a fault of the last without a file, but
    not where the images in it have files already. Pre-labels that nobody has touched count as none there.

    Args:
        classes: for the command that makes such an export readable.
        annotated: images that have an annotation beside them, awaited or not.
        is_untouched: whether MaskAL wrote a file, and nobody has changed it.
    """
    owners = claimants(images := list(images))
    found = Found(defaultdict(list), {})
    unread: list[Path] = []
    for path in _annotation_files(folder / ANNOTATE, owners) if owners else ():
        key = claimed_key(path, owners, named_in)
        if key is None:
            unread.append(path)
        else:
            _add_file(found, path, folder, owners[key], named_in)
    left = [image for image in images if image not in found.faults]
    untouched = {name for name, files in found.files.items() if all(map(is_untouched, files))}
    outdated = [image for image in left if image in untouched and image not in annotated]
    bare = [*(image for image in left if image not in found.files), *outdated]
    if bare and unread:
        done, owners = {*found.files, *annotated} - set(outdated), claimants({*images, *annotated})
        command = convert_command(str(folder / ANNOTATE), classes, str(folder / ANNOTATE))
        are_there = any(is_there(folder / ANNOTATE / image) for image in bare)  # else they were collected
        how = f"with: {command}" if are_there else f"with copies of its images there, too, by: {command}"
        pending = (path for path in unread if not _is_settled(path, owners, done))
        faults = [fault for path in pending if (fault := _why_unread(path, folder / ANNOTATE, bare, named_in, how))]
        if faults:
            _add_faults(found, faults, bare[-1], outdated)
    return found


def _add_file(
    found: Found, path: Path, folder: Path, candidates: Sequence[str], named_in: Callable[[Path], str]
) -> None:
    """Gives a file to the one of the images that bear its name, or its fault to those that it may be of."""
    direct = _in_the_place_of(path, candidates, folder / ANNOTATE)
    owner, fault = _owner(folder, path, direct, candidates, named_in)
    if owner is not None:
        found.files[owner].insert(0 if owner in direct else len(found.files[owner]), path)
    for other in direct or candidates:
        if fault and other != owner:
            found.faults[other] = f"{path}: {fault}; save the annotation of {other} as {other}{path.suffix.lower()}"


def _add_faults(found: Found, faults: Sequence[str], image: str, outdated: Sequence[str]) -> None:
    """Gives the faults of files that are of no image to one that may lack what is in them."""
    lines = [*faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"{len(faults) - _SHOWN} more such files")
    if outdated:
        lines.append("until then unchanged pre-labels are not collected; if they are right, move such files elsewhere")
    found.faults[image] = "\n".join(lines)
    found.outdated.update(outdated[-1:])


def _is_settled(path: Path, owners: Mapping[str, list[str]], done: Set[str]) -> bool:
    """Whether all images that a file is of have annotations, also that of an empty label file."""
    of_one = owners.get(normalised(path.stem), ()) if path.suffix.lower() == SUFFIX else ()
    return (bool(of_one) and done >= set(of_one)) or is_converted(path, owners, done)


def _why_unread(path: Path, root: Path, bare: Sequence[str], named_in: Callable[[Path], str], how: str) -> str:
    """Why a file that bears no awaited image's name is not used, and the remedy; "" where that is no fault.

    Args:
        root: the annotate folder.
        bare: the images without a file.
        how: to make a file for each image of the files of many.
    """
    if is_archive(path.name):
        return f"{path}: is an archive, which is not read; unpack it there"
    labels = looks_like_labels(path) if path.suffix.lower() == SUFFIX else False
    if labels:
        return f"{path}: is a label file of YOLO; with its {DATA_FILE} there, too, turn it into another {how}"
    if labels is None:
        remedy = f"put it beside its image, with a {DATA_FILE} there, too, and turn it into another {how}"
        return f"{path}: is empty; if it is a label file of YOLO, {remedy}"
    if annotation_key(path.name) is None:
        return f"{path}: is of a kind that is not read; export in one of: COCO, {', '.join(FORMATS)}"
    try:
        named = posixpath.basename(normalised(named_in(path))).casefold()
    except ForeignFileError:
        return ""
    except ManyImagesError as error:
        return f"{error}; turn it into a file for each image {how}"
    except AnnotationError as error:
        return "" if path.name == META_FILE else str(error)
    same = [image for image in bare if posixpath.basename(normalised(image)).casefold() == named]
    same = _in_the_place_of(path, same, root) or same
    if not same:
        return ""
    if len(same) > 1:
        return f"{path}: may be of {' or '.join(same[:3])}; save it beside the one that it is of, under that name"
    name = f"{Path(same[0]).stem}{path.suffix}"
    if (path.parent / name).exists():  # an unchanged pre-label
        name = f"{Path(same[0]).name}{path.suffix}"
    return f"{path}: names {same[0]} inside, but bears another name; rename it {name}"


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


def _annotation_files(root: Path, owners: Collection[str]) -> Iterator[Path]:
    """With archives, which may hold some, and what other tools write, such as a .txt file for each image."""
    for place, folders, files in os.walk(root, onerror=report_unreadable_folder):
        folders[:] = sorted(name for name in folders if not is_of_programs(name))
        yield from (Path(place, name) for name in sorted(files) if _may_hold_annotations(name, owners))


def _may_hold_annotations(filename: str, owners: Collection[str]) -> bool:
    if annotation_key(filename) is not None or is_archive(filename):
        return True
    stem, suffix = os.path.splitext(filename)  # noqa: PTH122
    return suffix.lower() in _DATA_SETS or (suffix.lower() == SUFFIX and any(name in owners for name in names_of(stem)))


def _owner(
    folder: Path, path: Path, direct: Sequence[str], candidates: Sequence[str], named_in: Callable[[Path], str]
) -> tuple[str | None, str]:
    """The image that a file is of, if that is known, and why it is not of the others that bear its name."""
    nearest = direct or candidates
    try:
        named = named_in(path)
    except AnnotationError as error:
        return (nearest[0], "") if len(nearest) == 1 else (None, str(error).removeprefix(f"{path}: "))
    same: list[str] = []
    for meant in _meant(path, _inside(path.parent.relative_to(folder).as_posix(), named)):
        same = [image for image in candidates if normalised(image) == normalised(meant)]
        if same:
            break
        if _is_of_another(folder, path, meant):
            is_flat = path.suffix.lower() == ".xml" and "/" not in meant  # an export may have lost the folders
            return None, f"may be of {meant}" if is_flat else f"is of {meant}" if direct else ""
    choice = same or _by_name(nearest, named)
    if len(choice) == 1:
        return choice[0], f"is of {choice[0]}"
    return None, f"may be of {' or '.join(nearest)}, and names {named!r}"


def _by_name(images: Sequence[str], named: str) -> Sequence[str]:
    """The only image, else those that the file names in words: by their path, as V7 does, or by their name."""
    if "/" in named and len(whole := [image for image in images if normalised(image) == normalised(named)]) == 1:
        return whole
    wanted = posixpath.basename(normalised(named)).casefold()
    same = [image for image in images if posixpath.basename(normalised(image)).casefold() == wanted]
    return same if len(images) > 1 else images


def _inside(place: str, named: str) -> str:
    """The image that a path means, relative to the image folder, "" where it leads out of it; no file is touched."""
    path = posixpath.normpath(posixpath.join(place, named))
    if not named or path.startswith(("..", "/")):
        return ""
    return path.removeprefix(f"{ANNOTATE}/")


def _meant(path: Path, resolved: str) -> list[str]:
    """The images that a file may mean, the likeliest first: CVAT's exports have folders of their own before those of
    the images (default/field_1/a.xml), and name no folder inside."""
    parts = resolved.split("/")
    starts = range(len(parts)) if path.suffix.lower() == ".xml" else range(1)
    return ["/".join(parts[start:]) for start in starts]


def _is_of_another(folder: Path, path: Path, resolved: str) -> bool:
    """Whether the image named inside bears the file's name, and is there, or was in a folder that is: then the file is
    not of our candidates."""
    is_named = named_by_number(path.name) or annotation_key(path.name) in claimants([resolved])
    within, _, _ = resolved.rpartition("/")
    there = os.path.isfile(folder / resolved) or (within and os.path.isdir(folder / within))  # noqa: PTH112, PTH113 (False for impossible names)
    return bool(resolved) and is_named and bool(there)
