"""The annotated images of a folder: annotations beside images, or a tool's export, unpacked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from active_learning.annotations import (
    FORMATS,
    Annotation,
    FileKind,
    codec_of,
    darwin,
    file_kind,
    load_document,
    read_leniently,
)
from active_learning.annotations.coco import CocoFile
from active_learning.annotations.codec import CollectionCodec, FolderTreeCodec, ImageCollection
from active_learning.annotations.documents import is_coco, kind_of_document
from active_learning.annotations.supervisely_meta import META_FILE
from active_learning.annotations.yolo_layout import IMAGES, SUFFIX, label_path
from active_learning.conversion.image_index import TOOL_FOLDERS, ImageIndex, Match, is_of_another_machine, words_of
from active_learning.conversion.joining import Reader, Source, has_objects, is_of_labelme, joined, joined_with_beside
from active_learning.conversion.report import Report
from active_learning.conversion.yolo_files import LabelFile, find_label_files
from active_learning.dataset.archives import is_archive
from active_learning.dataset.exported_images import is_converted
from active_learning.dataset.exports import holds_annotations
from active_learning.dataset.image_folder import (
    FolderSnapshot,
    annotation_key,
    claimants,
    find_annotations,
    take_snapshot,
)
from active_learning.errors import AnnotationError
from active_learning.system.image_files import image_size
from active_learning.system.names import normalised
from active_learning.system.own_files import OwnFiles
from active_learning.system.wording import and_more

# Where a tool keeps images apart from their annotations: folder of annotations -> folder of images.
TWIN_FOLDERS = {"ann": "img", "Annotations": "Images", "annotations": "images"}
_HEAD_BYTES = 65536
_FIELDS_OF_SEVERAL = (b"<annotations", b'"slots"')  # of CVAT for images and V7 Darwin
_ONE_TOOL_FOLDER = [{name} for name in TOOL_FOLDERS]


@dataclass(frozen=True)
class _Claim:
    """An annotation, the image that it names, for messages, and the images that this may mean."""

    path: Path
    named: str
    match: Match
    read: Reader
    is_one_of_many: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the image has that name, with its suffix where it is given one."""
        return self.match.exact and not self.match.other_suffix


def find_sources(root: Path, report: Report, *, keep_bare: bool = False) -> tuple[list[Source], int]:
    """The annotated images of a folder and its sub-folders, in the order of their names, and the number of the others.

    An image that stands beside its annotation has that one; see `joined_with_beside`. Of other files their place, or
    the name in them, gives the image. A pre-label that nobody has changed gives way to any of them. What is damaged or
    of no image here is reported and left out.

    Args:
        keep_bare: an image of a YOLO data set without a label file is one without objects, as Ultralytics takes it.

    Raises:
        MaskALError: there is no such folder.
    """
    own_files = OwnFiles(root)
    snapshot = _without_copies(take_snapshot(root), own_files)
    for note in snapshot.notes:
        report.warn(note)
    images = snapshot.images
    beside, _ = find_annotations(root, images)
    beside = {name: path for name, path in beside.items() if not _is_of_several(path)}
    pre_labels = {name: path for name, path in beside.items() if own_files.is_untouched(path)}
    beside = {name: path for name, path in beside.items() if name not in pre_labels}
    found = {name: Source(name, path, _reader(root, path)) for name, path in beside.items()}
    index, paired = ImageIndex(root, images, _paths(snapshot)), set(beside.values())
    others = [path for path in _documents(snapshot) if path not in paired and not own_files.is_untouched(path)]
    claims = [claim for path in others for claim in _claims(root, path, index, report)]
    yolo = find_label_files(snapshot, beside.keys(), report)
    claims += [_claim_of_labels(root, file) for file in yolo.files]
    claims = [_of_no_other(root, claim, index) for claim in claims]
    late: dict[Path, list[Source]] = defaultdict(list)
    claims = sorted(_unambiguous(claims, report), key=lambda claim: (not claim.is_exact, not claim.match.exact))
    for claim in claims:
        late[_place_of(claim)] += _settle(root, claim, found, beside, index, report)
    _warn_of_late(late, found, report)
    _warn_of_other_names(claims, found, report)
    _warn_of_archives(snapshot, found.keys(), report)
    left = {name: path for name, path in pre_labels.items() if name not in found}
    found |= {name: Source(name, path, _reader(root, path)) for name, path in left.items()}
    bare = {name: path for name, path in yolo.bare.items() if name not in found}
    if keep_bare:
        found |= {name: _without_objects(root, name, path) for name, path in bare.items()}
    elif bare:
        _warn_of_bare(list(bare), report)
    return [found[name] for name in sorted(found)], len(images) - len(found)


def _without_copies(snapshot: FolderSnapshot, own_files: OwnFiles) -> FolderSnapshot:
    """Without the images that MaskAL has put into a Supervisely project in the annotate folder."""
    images = (name for name in snapshot.images if not own_files.is_untouched(snapshot.folder / name))
    return replace(snapshot, images=tuple(images))


def _of_no_other(root: Path, claim: _Claim, index: ImageIndex) -> _Claim:
    """Without the image, where it seems to be another one of that name: see `ImageIndex.is_another`."""
    file = claim.path.relative_to(root).as_posix()
    is_of_many = claim.is_one_of_many and claim.path.suffix.lower() != SUFFIX
    is_another = not claim.match.exact and any(
        index.is_another(image, claim.named, file, is_of_many=is_of_many) for image in claim.match.images
    )
    return replace(claim, match=Match()) if is_another else claim


def _claim_of_labels(root: Path, file: LabelFile) -> _Claim:
    match = Match((file.image,), file.exact)
    return _Claim(file.path, file.path.stem, match, partial(file.read, root), is_one_of_many=True)


def _without_objects(root: Path, image: str, path: Path) -> Source:
    """`path` is where the label file would be."""
    return Source(image, path, lambda name: Annotation(name, *image_size(root / image)), is_one_of_many=True)


def _warn_of_bare(images: Sequence[str], report: Report) -> None:
    remedy = "Ultralytics takes such for images without objects; so does --empty-images keep"
    report.warn(
        f"{and_more(images, 3, 'images')}: without a label file of YOLO, so left out, as not annotated; {remedy}"
    )


def _paths(snapshot: FolderSnapshot) -> list[str]:
    """Of all files, relative to the folder."""
    return [f"{parent}/{name}" if parent else name for parent, names in snapshot.files.items() for name in names]


def _place_of(claim: _Claim) -> Path:
    """For messages: the file, or the folder of label files, which are many."""
    return claim.path.parent if claim.path.suffix.lower() == SUFFIX else claim.path


def _warn_of_late(late: Mapping[Path, Sequence[Source]], found: Mapping[str, Source], report: Report) -> None:
    """`late`: from annotation files to their images that had an annotation before."""
    for path, sources in late.items():
        lost = [one.image for one in sources if not has_objects(found[one.image]) and has_objects(one)]
        for names, reason in (
            ([one.image for one in sources if one.image not in lost], "annotated in {} already; this is left out"),
            (lost, "objects here, and none in {}, which is used; if that is wrong, move it away and convert again"),
        ):
            if names:
                report.warn(f"{path}: {and_more(names, what='images')}: {reason.format(found[names[0]].path)}")


def _warn_of_other_names(claims: Iterable[_Claim], found: Mapping[str, Source], report: Report) -> None:
    """Of files of many, where an image has another name than the file gives it; those of one tell when they are read.
    As in CVAT, a name may go without its suffix."""
    others: dict[Path, list[str]] = defaultdict(list)
    for claim in claims:
        if claim.is_one_of_many and len(claim.match.images) == 1:
            (image,) = claim.match.images
            here, named = (PurePosixPath(normalised(name).casefold()) for name in (image, claim.named))
            if found[image].read is claim.read and named.name not in (here.name, here.stem):
                others[_place_of(claim)].append(f"{claim.named} ({image})")
    reason = "there is no image of that name, so the one in brackets is taken; see that it is the same"
    for path, names in others.items():
        report.warn(f"{path}: {and_more(names, 3)}: {reason}")


def _warn_of_archives(snapshot: FolderSnapshot, annotated: Set[str], report: Report) -> None:
    owners = claimants(snapshot.images)
    for path in map(snapshot.folder.joinpath, _paths(snapshot)):
        if is_archive(path.name) and holds_annotations(path) and not is_converted(path, owners, annotated):
            report.warn(f"{path}: is an archive, which is not read; unpack it into a folder, and convert that")


def _documents(snapshot: FolderSnapshot) -> list[Path]:
    files = map(snapshot.folder.joinpath, _paths(snapshot))
    return sorted(path for path in files if annotation_key(path.name) is not None)


def _reader(root: Path, path: Path) -> Reader:
    return lambda image: read_leniently(path, image=image, size=image_size(root / image), within=root)


def _is_of_several(path: Path) -> bool:
    """Whether a file that bears the name of an image describes other images, too."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if file_kind(path) is FileKind.ANNOTATION and not any(field in head for field in _FIELDS_OF_SEVERAL):
            return False
        collection = _collection_of(load_document(path), path)
    except (OSError, AnnotationError):  # reported when it is read
        return False
    return collection is not None and (len(collection.images) > 1 or isinstance(collection, CocoFile))


def _claims(root: Path, path: Path, index: ImageIndex, report: Report) -> list[_Claim]:
    """Which images an annotation file is of; reports files that are of none."""
    place = path.parent.relative_to(root).as_posix()
    key = annotation_key(path.name) or ""
    twin = _in_twin_folder(place, key, index) if path.suffix.lower() == ".json" else Match()
    is_clear = len(twin.images) == 1
    if is_clear and not index.is_shared(key) and not _is_of_several(path):  # most need not be opened yet
        return [_Claim(path, key, twin, _reader(root, path))]
    try:
        document = load_document(path)
        collection = _collection_of(document, path)
    except AnnotationError as error:
        report.fail(str(error))
        return []
    if collection is not None:
        return _claims_of_collection(root, path, collection, index, report)
    codec = codec_of(document)
    if codec is None:
        if path.name != META_FILE:
            report.warn(f"{path}: is {kind_of_document(document)}; it is left as it is")
        return []
    named = codec.image_name(document) or key
    inside = f"{codec.image_folder(document)}/{named}".lstrip("/") if isinstance(codec, FolderTreeCodec) else named
    names = dict.fromkeys((inside, named))
    match = _in_twin_folder(place, named, index)
    match = match if match.images else index.find_first(names, place)
    if is_clear and (not match.exact or is_of_another_machine(named)):
        match = twin
    return [_Claim(path, named, match, _reader(root, path))]


def _collection_of(document: Any, path: Path) -> ImageCollection | None:
    """The images of a file of many; None for a file of one, or none. Raises AnnotationError."""
    if is_coco(document):
        return CocoFile(document, path)
    codec = codec_of(document)
    if codec is FORMATS["darwin"].codec and (images := darwin.SlotImages(document, path)).images:
        return images
    return codec.images_of(document, path) if isinstance(codec, CollectionCodec) else None


def _in_twin_folder(place: str, key: str, index: ImageIndex) -> Match:
    """The image of a name in the folder that belongs to a tool's folder of annotations."""
    parts = list(PurePosixPath(place).parts)
    for at in reversed(range(len(parts))):
        if parts[at] in TWIN_FOLDERS:
            twin = "/".join([*parts[:at], TWIN_FOLDERS[parts[at]], *parts[at + 1 :]])
            match = index.find(f"{twin}/{key}", ".")
            return match if match.exact and all(one.rpartition("/")[0] == twin for one in match.images) else Match()
    return Match()


def _claims_of_collection(
    root: Path, path: Path, collection: ImageCollection, index: ImageIndex, report: Report
) -> list[_Claim]:
    for fault in collection.faults:
        report.fail(fault)
    for warning in collection.warnings:
        report.warn(warning)

    def read(name: str, image: str) -> Annotation:
        return replace(collection.read(name, size=image_size(root / image)), image=image)

    place = path.parent.relative_to(root).as_posix()
    inside = {name: [path.lstrip("/") for path in collection.paths_of(name)] for name in collection.images}
    matches = {name: _of_split(path, index.find_first(paths, place)) for name, paths in inside.items()}
    return [
        _Claim(path, name, _or_by_end(name, match, place, index), partial(read, name), is_one_of_many=True)
        for name, match in matches.items()
    ]


def _of_split(path: Path, match: Match) -> Match:
    """Of several images the one in a folder that the file's name has, as instances_val2017.json."""
    words = set(words_of(path.name))
    named = tuple(image for image in match.images if words.intersection(PurePosixPath(image).parent.parts))
    return replace(match, images=named) if len(match.images) > 1 and len(named) == 1 else match


def _or_by_end(name: str, match: Match, place: str, index: ImageIndex) -> Match:
    """The match, or else the images at the end of the path."""
    is_elsewhere = is_of_another_machine(name) or ".." in PurePosixPath(name).parts
    return replace(match, exact=match.exact and not is_elsewhere) if match.images else index.find_by_end(name, place)


def _unambiguous(claims: Sequence[_Claim], report: Report) -> list[_Claim]:
    """The claims, less those of several names of a file for one image, unless one alone is its path: these are
    reported."""
    groups: dict[tuple[Path, tuple[str, ...]], list[_Claim]] = defaultdict(list)
    for claim in claims:
        groups[claim.path, claim.match.images].append(claim)
    kept = []
    for (path, images), group in groups.items():
        exact = sum(claim.is_exact for claim in group)
        if len(group) == 1 or exact == 1 or not images:
            kept += group
            continue
        rivals = and_more([claim.named for claim in group], 2, "images")
        for claim in group:
            may_be = f"{' or '.join(images[:3])} may be this or {rivals}"
            report.fail(f"{path}: image {claim.named!r}: {may_be}; give the whole names")
    return kept


def _settle(
    root: Path, claim: _Claim, found: dict[str, Source], beside: Mapping[str, Path], index: ImageIndex, report: Report
) -> list[Source]:
    """Gives the image to the claim, or else returns that where the image was given to another one before; `beside` are
    the files that stand beside their images."""
    match, where = claim.match, f"{claim.path}: image {claim.named!r}"
    if len(match.images) > 1:
        report.fail(f"{where}: may be {' or '.join(match.images[:3])}; give the whole name")
    elif not match.images or _is_anothers(claim, found.get(match.images[0]), beside):
        report.fail(f"{where}: {_why_gone(root, claim, index)}")
    else:
        (image,) = match.images
        source = Source(image, claim.path, claim.read, claim.is_one_of_many, claim.is_exact)
        known = found.get(image)
        join = joined_with_beside if known is not None and known.path == beside.get(image) else joined
        found[image] = source if known is None else join(known, source)
        return [source] if found[image] is known else []
    return []


def _why_gone(root: Path, claim: _Claim, index: ImageIndex) -> str:
    if unread := index.unread(claim.named):
        return f"is {root / unread}, of a kind that is not read; save it as JPEG or PNG"
    alike = "" if claim.match.images else index.in_other_capitals(claim.named)
    rename = f", or rename {root / alike}, which differs in capitals" if alike else ""
    return f"is neither at {claim.path.parent / claim.named} nor elsewhere below {root}; put the image there{rename}"


def _is_anothers(claim: _Claim, known: Source | None, beside: Container[str]) -> bool:
    """Whether a claim is of an image that is gone, as the one that it may mean is named by another file, or another
    name in it. What is beside the image may come of this very file, converted."""
    if known is None or not known.exact:
        return False
    return not claim.match.exact or (claim.match.other_suffix and known.image not in beside)


def not_in_place(sources: Sequence[Source], root: Path) -> list[Source]:
    """Those to convert into files of LabelMe beside the images: without those of LabelMe that are there already, and
    without pre-labels that nobody has changed; all where none is left.

    Raises:
        AnnotationError: a file cannot be read.
    """
    own_files = OwnFiles(root)
    left = [source for source in sources if not own_files.is_untouched(source.path) and not is_of_labelme(source)]
    return left or list(sources)


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
    """Supervisely: <data set>/datasets/<data set>/img/<image>, with the annotation in ann. YOLO: images, with labels,
    before or after the folder of the split."""
    parts = PurePosixPath(source.image).parts
    if source.path == root / label_path(source.image) and IMAGES in parts[:-1]:
        at = len(parts) - 1 - parts[::-1].index(IMAGES, 1)
        return "/".join((*parts[:at], *parts[at + 1 :]))
    if len(parts) < 2 or parts[-2] != "img" or source.path.parent != (root / source.image).parent.parent / "ann":
        return source.image
    return "/".join([*(part for part in parts[:-2] if part != "datasets"), parts[-1]])
