"""The annotated images of a folder: annotations beside images, or a tool's export, unpacked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from active_learning.annotations import Annotation, codec_of, cvat, cvat_images, image_named_in, read_annotation
from active_learning.annotations.coco import CocoFile
from active_learning.annotations.coco import recognises as is_coco
from active_learning.annotations.documents import kind_of_document, load_document
from active_learning.annotations.supervisely_meta import META_FILE
from active_learning.conversion.image_index import TOOL_FOLDERS, ImageIndex, Match
from active_learning.conversion.report import Report
from active_learning.dataset.image_folder import annotation_key, find_annotations, find_images, walk
from active_learning.dataset.image_size import image_size
from active_learning.errors import AnnotationError

# Where a tool keeps images apart from their annotations: folder of annotations -> folder of images.
TWIN_FOLDERS = {"ann": "img", "Annotations": "Images", "annotations": "images"}
_ONE_TOOL_FOLDER = [{name} for name in TOOL_FOLDERS]

Reader = Callable[[str], Annotation]  # of an image's name; raises MaskALError


@dataclass(frozen=True)
class Source:
    """An image, named relative to the folder, its annotation file, and how to read that."""

    image: str
    path: Path
    read: Reader


@dataclass(frozen=True)
class _Claim:
    """An annotation that says which image it is of, in words for messages and as what was found."""

    path: Path
    named: str
    match: Match
    read: Reader


def find_sources(root: Path, report: Report, *, leave: Path | None = None) -> tuple[list[Source], int]:
    """The annotated images of a folder and its sub-folders, in the order of their names, and the number of the others.

    An image that stands beside its annotation has that one. Other files say themselves which images they are of: in
    their place or in their text. What is damaged or of no image here is reported and left out.

    Args:
        leave: a folder in which nothing is looked for.

    Raises:
        MaskALError: there is no such folder.
    """
    left = None if leave is None else leave.absolute()
    images = [name for name in find_images(root) if left is None or left not in (root / name).absolute().parents]
    beside, _ = find_annotations(root, images, image_named_in)
    found = {name: Source(name, path, _reader(root, path)) for name, path in beside.items()}
    index, paired = ImageIndex(root, images), set(beside.values())
    others = [path for path in _documents(root, left) if path not in paired]
    claims = [claim for path in others for claim in _claims(root, path, index, report)]
    late: dict[Path, list[str]] = defaultdict(list)
    for claim in sorted(claims, key=lambda claim: not claim.match.exact):
        late[claim.path] += _settle(root, claim, found, report)
    for path, names in late.items():
        if names:
            more = f" and {len(names) - 1} more images" if len(names) > 1 else ""
            report.warn(f"{path}: {names[0]}{more}: annotated in {found[names[0]].path} already; this is left out")
    return [found[name] for name in sorted(found)], len(images) - len(found)


def _documents(root: Path, left: Path | None) -> list[Path]:
    paths = [root / parent / name for parent, files in walk(root) for name in files if annotation_key(name) is not None]
    return sorted(path for path in paths if left is None or left not in path.absolute().parents)


def _reader(root: Path, path: Path) -> Reader:
    return lambda image: read_annotation(path, image=image, size=image_size(root / image), within=root)


def _claims(root: Path, path: Path, index: ImageIndex, report: Report) -> list[_Claim]:
    """Which images an annotation file is of; reports files that are of none."""
    place = path.parent.relative_to(root).as_posix()
    key = annotation_key(path.name) or ""
    if path.suffix.lower() == ".json":  # most need not be opened yet
        twin = _in_twin_folder(place, key, index)
        if twin.images:
            return [_Claim(path, key, twin, _reader(root, path))]
    try:
        document = load_document(path)
        if is_coco(document):
            return _claims_of_coco(root, path, CocoFile(document, path), index, report)
    except AnnotationError as error:
        report.fail(str(error))
        return []
    if cvat_images.recognises(document):
        return _claims_of_cvat_images(root, path, document, index, report)
    codec = codec_of(document)
    if codec is None and path.name == META_FILE:
        return []
    if codec is None:
        report.warn(f"{path}: is {kind_of_document(document)}; it is left as it is")
        return []
    named = codec.image_name(document) or key
    names = [f"{cvat.folder_of(document)}/{named}", named] if codec is cvat else [named]
    match = _in_twin_folder(place, named, index)
    return [_Claim(path, named, _first_match(match, names, place, index), _reader(root, path))]


def _in_twin_folder(place: str, key: str, index: ImageIndex) -> Match:
    """The image of a name in the folder that belongs to a tool's folder of annotations."""
    parts = list(PurePosixPath(place).parts)
    for at in reversed(range(len(parts))):
        if parts[at] in TWIN_FOLDERS:
            twin = "/".join([*parts[:at], TWIN_FOLDERS[parts[at]], *parts[at + 1 :]])
            match = index.find(f"{twin}/{key}", ".")
            return match if match.exact and all(one.rpartition("/")[0] == twin for one in match.images) else Match()
    return Match()


def _first_match(match: Match, names: list[str], place: str, index: ImageIndex) -> Match:
    for name in names:
        match = match if match.images else index.find(name.lstrip("/"), place)
    return match


def _claims_of_coco(root: Path, path: Path, file: CocoFile, index: ImageIndex, report: Report) -> list[_Claim]:
    for fault in file.faults:
        report.fail(fault)
    for warning in file.warnings:
        report.warn(warning)

    def read(name: str, image: str) -> Annotation:
        return replace(file.read(name, size=image_size(root / image)), image=image)

    place = path.parent.relative_to(root).as_posix()
    return [_Claim(path, name, index.find(name, place), partial(read, name)) for name in file.images]


def _claims_of_cvat_images(root: Path, path: Path, document: Any, index: ImageIndex, report: Report) -> list[_Claim]:
    def read(name: str, image: str) -> Annotation:
        element = elements[name]
        return replace(cvat_images.read_image(element, name, path, image_size(root / image)), image=image)

    elements = cvat_images.named_images(document, path, report.fail)
    place = path.parent.relative_to(root).as_posix()
    claims = []
    for name, element in elements.items():
        subset = element.get("subset", "").strip() or path.stem  # datumaro names the file of a subset after it
        match = _first_match(Match(), [f"images/{subset}/{name}", f"{subset}/{name}", name], place, index)
        claims.append(_Claim(path, name, match, partial(read, name)))
    return claims


def _settle(root: Path, claim: _Claim, found: dict[str, Source], report: Report) -> list[str]:
    """Gives the image to the claim, or else returns it where it was given to another one before."""
    match, where = claim.match, f"{claim.path}: image {claim.named!r}"
    if len(match.images) > 1:
        report.fail(f"{where}: may be {' or '.join(match.images[:3])}; give the whole name")
    elif not match.images or (match.images[0] in found and not match.exact):
        there = claim.path.parent / claim.named
        report.fail(f"{where}: is neither at {there} nor elsewhere below {root}; put the image there")
    elif match.images[0] in found:
        return [match.images[0]]
    else:
        found[match.images[0]] = Source(match.images[0], claim.path, claim.read)
    return []


def names_in_data_set(sources: Iterable[Source], root: Path) -> dict[str, str]:
    """From image to its name without the folders that a tool has put before or around it; all names differ."""
    sources = list(sources)
    names = {source.image: _without_tool_folders(source, root) for source in sources}
    apart = [source for source in sources if (root / source.image).parent != source.path.parent]
    if apart or all(source.path.suffix.lower() == ".xml" for source in sources):
        while {name.partition("/")[0] if "/" in name else "" for name in names.values()} in _ONE_TOOL_FOLDER:
            names = {image: name.partition("/")[2] for image, name in names.items()}
    return names if len(set(names.values())) == len(names) else {source.image: source.image for source in sources}


def _without_tool_folders(source: Source, root: Path) -> str:
    """Supervisely: <data set>/datasets/<data set>/img/<image>, with the annotation in ann."""
    parts = PurePosixPath(source.image).parts
    if len(parts) < 2 or parts[-2] != "img" or source.path.parent != (root / source.image).parent.parent / "ann":
        return source.image
    return "/".join([*(part for part in parts[:-2] if part != "datasets"), parts[-1]])
