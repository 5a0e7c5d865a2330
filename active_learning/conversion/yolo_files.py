"""The label files of YOLO data sets in a folder, with their images and the names of their classes.

The layouts of Ultralytics (images/train, labels/train), Roboflow (train/images, train/labels) and CVAT, and texts
beside the images as of Darknet. Which images a data.yaml lists for a split does not matter: all are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from active_learning.annotations import Annotation
from active_learning.annotations.yolo import kinds_of_rows, read_labels, tracks_of_rows
from active_learning.annotations.yolo_layout import LABELS, SUFFIX, label_path, looks_like_labels
from active_learning.annotations.yolo_names import may_hold_names, read_names
from active_learning.conversion.report import Report
from active_learning.dataset.image_folder import FolderSnapshot
from active_learning.dataset.image_names import other_spellings
from active_learning.errors import AnnotationError
from active_learning.system.image_files import image_size
from active_learning.system.names import normalised
from active_learning.system.wording import and_more, counted

Names = Mapping[int, str]  # of the classes, by their numbers


@dataclass(frozen=True)
class LabelFile:
    """A label file and its image, which stands where Ultralytics looks for it (`exact`) or elsewhere."""

    path: Path
    image: str
    exact: bool
    names: Names

    def read(self, root: Path, image: str) -> Annotation:
        """Raises MaskALError."""
        return read_labels(self.path, self.names, image=image, size=image_size(root / image))


@dataclass
class LabelFiles:
    """`bare` are the images of the data sets that have no label file, with the place where it would be."""

    files: list[LabelFile] = field(default_factory=list)
    bare: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Candidate:
    """What may be a label file: it has the place or the content of one. `images` are those that it may be of; the file
    `is_renamed` where it has lost their name, as an upload of Label Studio."""

    path: Path
    images: tuple[str, ...]
    exact: bool
    is_renamed: bool = False


def find_label_files(snapshot: FolderSnapshot, annotated: Set[str], report: Report) -> LabelFiles:
    """The label files of the images; faults are reported.

    Args:
        annotated: images that have an annotation of another tool beside them; a text beside such an image counts only
            where there are names of classes for it.
    """
    names = _NamesFiles(snapshot)
    groups: dict[str, list[_Candidate]] = defaultdict(list)  # by the fault of their names
    data_sets: dict[int, tuple[Names, list[_Candidate]]] = {}
    candidates = [*_candidates(snapshot, names)]
    for one in candidates:
        try:
            known = names.of(one.path.parent)
        except AnnotationError as error:
            groups[str(error)].append(one)
            continue
        if known is not None:
            data_sets.setdefault(id(known), (known, []))[1].append(one)
        elif not (one.images and annotated >= set(one.images)):
            groups[""].append(one)
    for fault, group in groups.items():
        report.fail(fault or _without_names(group, snapshot.folder))
    if astray := [*_astray(snapshot, {one.path for one in candidates})]:
        reason = "like label files of YOLO, which lie in a folder labels, or beside their images; left out"
        report.warn(f"{and_more(astray, what='files')}: {reason}. Rename their folder if they are some")
    found = LabelFiles()
    for known, group in data_sets.values():
        found.files += _of_data_set(known, group, snapshot.folder, report)
    _find_bare(found, snapshot.folder, snapshot.images)
    return found


def _without_names(group: Sequence[_Candidate], root: Path) -> str:
    files = and_more([one.path for one in group], what="label files")
    return f"{files}: no data.yaml says which class a number is; put it into {root} (obj.names, classes.txt will do)"


class _NamesFiles:
    """The names of classes for the folders of label files."""

    def __init__(self, snapshot: FolderSnapshot) -> None:
        self._files = {
            snapshot.folder / parent: [snapshot.folder / parent / name for name in names if may_hold_names(name)]
            for parent, names in snapshot.files.items()
        }
        self._found = cache(self._find)
        self._read = cache(read_names)

    def are_in(self, path: Path) -> bool:
        """Whether a file is one of names, not a label file that is called like one."""
        try:
            return may_hold_names(path.name) and self._read(path) is not None
        except AnnotationError:  # reported where its names are wanted
            return True

    def of(self, folder: Path) -> Names | None:
        """Of the folder and those around it; where none of these has any, of all. None where there are none.

        Raises:
            AnnotationError: a file cannot be read, or two contradict each other.
        """
        found = self._found(folder)
        if isinstance(found, AnnotationError):
            raise found
        return found

    def _find(self, folder: Path) -> Names | AnnotationError | None:
        around = [one for one in (folder, *folder.parents) if one in self._files]
        nearest = [path for one in around for path in self._files[one]]
        everywhere = [path for paths in self._files.values() for path in paths]
        try:
            return self._agreed(nearest) or self._agreed(everywhere)
        except AnnotationError as error:
            return error

    def _agreed(self, paths: Iterable[Path]) -> Names | None:
        found: tuple[Path, Names] | None = None
        for path in paths:
            names = self._read(path)
            if names is None:
                continue
            if found is not None and _folded(found[1]) != _folded(names):
                reason = "they have other names for the numbers of classes; leave one, or convert each data set alone"
                raise AnnotationError(f"{found[0]} and {path}: {reason}")
            found = found or (path, names)
        return None if found is None else found[1]


def _folded(names: Names) -> dict[int, str]:
    return {number: normalised(name.strip()) for number, name in names.items()}


def _candidates(snapshot: FolderSnapshot, names: _NamesFiles) -> Iterator[_Candidate]:
    owners: dict[str, list[str]] = defaultdict(list)
    for image in snapshot.images:
        name = _folded_path(image)
        for place in {label_path(name), str(PurePosixPath(name).with_suffix(SUFFIX))}:
            owners[place].append(image)
    index = _StemIndex(snapshot.images)
    for parent, files in snapshot.files.items():
        folder = snapshot.folder / parent
        in_labels = LABELS in _folded_path(parent).split("/")
        for name in files:
            if not name.lower().endswith(SUFFIX) or name.startswith(".") or names.are_in(folder / name):
                continue
            place = _folded_path(f"{parent}/{name}" if parent else name)
            exact = tuple(owners.get(place, ()))
            images = exact or (index.find(place) if in_labels else ())
            renamed = () if images else _of_another_name(place, owners, index if in_labels else None)
            is_placed = exact or in_labels or renamed
            if (exact and in_labels) or (is_placed and _is_label_file(folder / name, exact, names)):
                yield _Candidate(folder / name, images or renamed, bool(exact), bool(renamed))


def _astray(snapshot: FolderSnapshot, placed: Set[Path]) -> Iterator[Path]:
    """Texts that have the content of a label file and the name of an image, where no label file is looked for."""
    stems = {PurePosixPath(_folded_path(image)).stem for image in snapshot.images}
    for parent, files in snapshot.files.items():
        for name in files:
            path = snapshot.folder / parent / name
            is_named = name.lower().endswith(SUFFIX) and _folded_path(path.stem) in stems
            if is_named and path not in placed and not may_hold_names(name) and looks_like_labels(path):
                yield path


def _of_another_name(place: str, owners: Mapping[str, Sequence[str]], index: _StemIndex | None) -> tuple[str, ...]:
    """The images of a label file that was an upload of Label Studio (3f2a1b4c-a.txt is of a.png)."""
    for one in other_spellings(place):
        if images := tuple(owners.get(one, ())) or (index.find(one) if index else ()):
            return images
    return ()


def _folded_path(path: str) -> str:
    """Capitals do not matter, as in folders Images and Labels; no two images differ in them alone."""
    return normalised(path).casefold()


def _is_label_file(path: Path, images: Sequence[str], names: _NamesFiles) -> bool:
    """By its content; an empty one only beside one of `images`, where classes have names."""
    looks = looks_like_labels(path)
    if looks is not None or not images:
        return bool(looks)
    try:
        return names.of(path.parent) is not None
    except AnnotationError:  # reported for others, if it matters
        return False


class _StemIndex:
    """Finds images by the end of their path without suffix, as where labels were exported without their images."""

    def __init__(self, images: Sequence[str]) -> None:
        self._images = images

    def find(self, place: str) -> tuple[str, ...]:
        """Those with which the path of a label file has most folders in common, below its folder `labels`."""
        parts = PurePosixPath(place).with_suffix("").parts
        start = len(parts) - parts[::-1].index(LABELS)
        ends = ("/".join(parts[at:]) for at in range(start, len(parts)))
        return next((found for end in ends if (found := tuple(self._tails.get(end, ())))), ())

    @cached_property
    def _tails(self) -> Mapping[str, list[str]]:
        tails: dict[str, list[str]] = defaultdict(list)
        for image in self._images:
            parts = PurePosixPath(_folded_path(image)).with_suffix("").parts
            for at in range(len(parts)):
                tails["/".join(parts[at:])].append(image)
        return tails


def _of_data_set(names: Names, group: Sequence[_Candidate], root: Path, report: Report) -> list[LabelFile]:
    """The files of a data set that have one image each; none where all its objects are boxes, or end in tracks."""
    group = _without_second(group, root, report)
    if fault := tracks_of_rows(one.path for one in group):
        report.fail(f"{fault}; so do all objects of the data set, which is left out")
        return []
    kinds = kinds_of_rows(one.path for one in group)
    if kinds.boxes and not (kinds.corners or kinds.others):
        remedy = "masks are needed: export polygons (YOLO segmentation), or outline the objects"
        report.fail(f"{kinds.first}: is a box, as all objects of the data set ({kinds.boxes}); {remedy}")
        return []
    if kinds.corners and not (kinds.boxes or kinds.others):
        reason = "if these are oriented boxes, the masks are boxes, too"
        report.warn(f"{root}: all {counted(kinds.corners, 'object')} of YOLO have four corners: {reason}")
    files = []
    for one in group:
        if len(one.images) == 1:
            files.append(LabelFile(one.path, one.images[0], one.exact, names))
        elif one.images:
            several = " or ".join(one.images[:3])
            report.fail(f"{one.path}: may be of {several}; rename one of them, each with its label file")
    gone = [one.path for one in group if not one.images]
    if gone:
        fault = f"there is no such image below {root}, of a kind that is read; put them there"
        report.fail(f"{and_more(gone, what='label files')}: {fault}")
    return files


def _without_second(group: Sequence[_Candidate], root: Path, report: Report) -> list[_Candidate]:
    """Where an image has a label file of its name, one that is renamed is of another image, which is gone; beside the
    images it may as well be an earlier export, and is left out."""
    named = {image for one in group if not one.is_renamed for image in one.images}
    second = [one.path for one in group if one.is_renamed and not named.isdisjoint(one.images)]
    folders = {path: _folded_path(path.parent.relative_to(root).as_posix()).split("/") for path in second}
    beside = [path for path, parts in folders.items() if LABELS not in parts]
    if beside:
        report.warn(f"{and_more(beside, what='files')}: the image has a label file of its own name; left out")
    left_out = set(beside)
    return [replace(one, images=()) if one.path in folders else one for one in group if one.path not in left_out]


def _find_bare(found: LabelFiles, root: Path, images: Iterable[str]) -> None:
    """An image is of a data set where its label file would lie among those of others."""
    folders = {_folded_path(one.path.parent.relative_to(root).as_posix()) for one in found.files if one.exact}
    labelled = {one.image for one in found.files}
    for image in images:
        folder = PurePosixPath(label_path(_folded_path(image))).parent.as_posix()
        if image not in labelled and folder in folders:
            found.bare[image] = root / label_path(image)
