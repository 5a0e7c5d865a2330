"""Data sets that lie in an image folder as a tool exported them: they are not read there, and have to be converted."""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from active_learning.annotations import image_named_in
from active_learning.annotations.yolo_layout import LABELS, SUFFIX, looks_like_labels
from active_learning.annotations.yolo_names import may_hold_names
from active_learning.dataset.archives import DAMAGED_ARCHIVE, is_archive, is_of_an_image, members
from active_learning.dataset.exported_images import MOST_BYTES, came_later, is_converted
from active_learning.dataset.image_folder import FolderSnapshot, annotation_key, claimants
from active_learning.dataset.image_names import named_by_number, names_of
from active_learning.errors import AnnotationError
from active_learning.system.names import normalised
from active_learning.system.programs import as_typed

READ_BYTES = 65536  # from the start and from the end of a file
MOST_FILES = 50  # are opened, the largest
TABLE = ".csv"  # as the VGG Image Annotator writes it, too
_LIST = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_COCO_KEY = re.compile(rb'"(image_id|category_id)"\s*:|"categories"\s*:\s*\[')  # those of Datumaro are no list


# Of tools whose files are not converted either: what tells them, what they are, and what to do.
_NOT_READ = (
    (
        re.compile(rb"<annotations[\s>].*<track[\s>]", re.DOTALL),
        "a 'CVAT for video' xml file",
        "export 'CVAT for images' instead",
    ),
    (
        re.compile(rb'"shape_attributes"\s*:|region_shape_attributes,'),
        "a file of the VGG Image Annotator",
        "export COCO instead",
    ),
    (re.compile(rb'"from_name"\s*:\s*"'), "a json file of Label Studio", "export COCO instead"),
    (re.compile(rb'"categories"\s*:\s*\{.*"label_id"\s*:', re.DOTALL), "a Datumaro json file", "export COCO instead"),
)


@dataclass(frozen=True)
class Export:
    """A file and what it is, in words. `apart`: it is to be converted outside of the image folder. `remedy`: what to do
    with a file that is not converted; "" for one that is. `later`: its images have annotations, which are all older."""

    path: Path
    kind: str
    apart: bool = False
    remedy: str = ""
    later: bool = False


@dataclass(frozen=True)
class FolderAnnotations:
    """`beside`: the number of images beside which lies an annotation file of their name. `exports`: where all have one,
    those alone that came later. `misnamed`: from files that bear another name to the image beside them that they name
    inside, of those without an annotation. `stray`: from the other annotation files that bear the name of no image
    beside them to the image that they name, "" for none."""

    beside: int
    exports: tuple[Export, ...]
    misnamed: Mapping[Path, str]
    stray: Mapping[Path, str]


@dataclass
class _Files:
    """What may hold annotations, as far as names and places tell.

    Attributes:
        beside: the annotation files of each image that has some beside it.
        apart: what is known to be an export.
        labels, astray: texts that may be label files of YOLO, where they belong and elsewhere.
    """

    beside: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    apart: list[Export] = field(default_factory=list)
    documents: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    astray: list[Path] = field(default_factory=list)


def find_exports(
    snapshot: FolderSnapshot, leave: Collection[Path] = (), annotated: Mapping[str, Path] | None = None
) -> FolderAnnotations:
    """Of the files that are of no image beside them, those that hold annotations; files of `leave` are passed over, and
    so is what has been converted.

    Args:
        annotated: from image to its annotation, as `find_annotations` gives them; without it their names alone tell.
    """
    everywhere = claimants(snapshot.images)
    files = _files_of(snapshot, everywhere, leave)
    found, beside = files.apart, files.beside
    if annotated is not None:
        beside = {image: [path] for image, path in annotated.items()}
    labels = _that_wait((Export(path, "a label file of YOLO") for path in files.labels), everywhere, beside)
    paths = (label.path for label in labels if _size(label.path))  # empty ones alone may be left out on purpose
    if not any(map(looks_like_labels, islice(paths, MOST_FILES))):
        labels = []
    remedy = f"call its folder {LABELS} if it is one"
    astray = filter(looks_like_labels, files.astray[:MOST_FILES])
    found += [Export(path, "like a label file of YOLO", remedy=remedy) for path in astray]
    exports = {path: _export_of_many(path) for path in heapq.nlargest(MOST_FILES, files.documents, key=_size)}
    tables = map(_export_of_many, heapq.nlargest(MOST_FILES, files.tables, key=_size))
    found += filter(None, (*exports.values(), *tables))
    left = [*_that_wait(found, everywhere, beside), *labels]
    if len(beside) == len(snapshot.images):
        left = [export for export in left if export.later]
    bare = {normalised(image).casefold(): image for image in snapshot.images if image not in beside}
    named = {path: _image_named_in(path) for path in sorted(exports) if exports[path] is None}
    stray = {path: image for path, image in named.items() if image is not None}
    beside_it = {path: bare.get(_as_if_beside(path, image, snapshot.folder)) for path, image in stray.items()}
    misnamed = {path: stray.pop(path) and image for path, image in beside_it.items() if image}
    return FolderAnnotations(len(beside), tuple(left), misnamed, stray)


def _that_wait(
    exports: Iterable[Export], everywhere: Mapping[str, list[str]], beside: Mapping[str, Sequence[Path]]
) -> list[Export]:
    """Those that have not been converted, and those that came later than what was."""
    waiting = []
    for export in exports:
        if not (beside and is_converted(export.path, everywhere, beside.keys())):
            waiting.append(export)
        elif came_later(export.path, everywhere, beside):
            waiting.append(replace(export, later=True))
    return waiting


def _files_of(snapshot: FolderSnapshot, everywhere: Collection[str], leave: Collection[Path]) -> _Files:
    """`everywhere`: the keys of all images (`claimants`)."""
    by_parent: dict[str, list[str]] = defaultdict(list)
    for image in snapshot.images:
        by_parent[image.rpartition("/")[0]].append(image)
    found = _Files()
    for parent, files in snapshot.files.items():
        place, images = snapshot.folder / parent, by_parent[parent]
        keys = claimants(images)
        for name in files:
            key = annotation_key(name)
            if key in keys:
                for image in keys[key]:
                    found.beside[image].append(place / name)
            elif key is not None and not images and key in everywhere:
                kind = "an annotation that does not lie beside its image"
                found.apart.append(Export(place / name, kind, apart=True))
            elif key is not None and not named_by_number(name) and place / name not in leave:
                found.documents.append(place / name)
            elif is_archive(name) and holds_annotations(place / name):
                found.apart.append(Export(place / name, "an archive with annotations", apart=True))
            elif _may_be_labels(name):
                is_placed = LABELS in parent.split("/") or _is_called_after(name, keys)
                if is_placed or _is_called_after(name, everywhere):
                    (found.labels if is_placed else found.astray).append(place / name)
            elif name.lower().endswith(TABLE):
                found.tables.append(place / name)
    return found


def _image_named_in(path: Path) -> str | None:
    """The image that an annotation names, "" for none; None where the file is no annotation."""
    with suppress(AnnotationError):
        return image_named_in(path) if path.is_file() and _size(path) <= MOST_BYTES else None
    return None


def _as_if_beside(path: Path, image: str, folder: Path) -> str:
    """The image that an annotation names, as if it lay beside it, in small letters; "" for none."""
    name = PurePosixPath(normalised(image).casefold()).name
    return (path.parent.relative_to(folder) / name).as_posix().casefold() if name else ""


def _may_be_labels(filename: str) -> bool:
    return filename.lower().endswith(SUFFIX) and not (filename.startswith(".") or may_hold_names(filename))


def _is_called_after(text: str, keys: Collection[str]) -> bool:
    """Whether a text has the name of an image."""
    return any(name in keys for name in names_of(text[: -len(SUFFIX)]))


def convert_command(source: str, classes: Sequence[str], target: str) -> str:
    """What turns an export into a file beside each image, as it is typed; where no class is known, with a word for
    them."""
    words = [source, "--to", "labelme", "--classes", *(classes or ("CLASS",)), "--out", target]
    return f"python -m active_learning.annotations convert {as_typed(words)}"


def rename_and_convert(path: Path, image: str, classes: Sequence[str]) -> str:
    """The remedy for an export of many images that bears the name of one."""
    command = convert_command(str(path.parent), classes, str(path.parent))
    return f"rename it, as it bears the name of {image}, and turn it into a file for each image with: {command}"


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _export_of_many(path: Path) -> Export | None:
    """By the start and the end, as such files may be larger than the memory; None for another file."""
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with path.open("rb") as stream:
            start = stream.read(READ_BYTES)
            stream.seek(max(_size(path) - READ_BYTES, 0))
            text = start + stream.read(READ_BYTES)
            start, text = (part.replace(b"\0", b"") for part in (start, text))  # of UTF-16
    except OSError:
        return None
    if _LIST.search(text) and _COCO_KEY.search(text):
        if b'"segments_info"' in text:
            return Export(path, "a COCO panoptic json file", remedy="export the instances instead")
        return Export(path, "a COCO json file")
    other = next((Export(path, kind, remedy=remedy) for sign, kind, remedy in _NOT_READ if sign.search(text)), None)
    if other is None and re.search(rb"<annotations[\s>]", start) and b"<image" in text:
        return Export(path, "a 'CVAT for images' xml file")
    return other


def holds_annotations(path: Path) -> bool:
    """An archive of nothing but images is none of ours to name."""
    if not path.is_file():
        return False
    with suppress(*DAMAGED_ARCHIVE):
        return any(is_of_an_image(member) or may_hold_names(member.name) for member in members(path))
    return False
