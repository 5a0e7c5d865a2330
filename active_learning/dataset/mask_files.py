"""Which files below an image folder are masks, and so no images: those of CVAT's LabelMe 3.0 annotations, those that
tools export in folders of their own, and those that are called after an image."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path, PurePosixPath

from active_learning.annotations.cvat_masks import MASKS
from active_learning.annotations.yolo_layout import SUFFIX, label_path
from active_learning.dataset.image_names import is_image, named_by_number
from active_learning.system.names import normalised

_NAME_OF_TOOLS = re.compile(r"_mask_\d+(_\d+)?\.png", re.IGNORECASE)
# CVAT and LabelMe (of Pascal VOC), and Supervisely
_FOLDER_OF_TOOLS = re.compile(r"Segmentation(Class|Object)\w*|masks_(human|machine|instances)")
_OF_LABELME = frozenset(["img.png", "label.png", "label_viz.png"])  # in <stem>_json, with label_names.txt
# Roboflow: a.jpg, a_mask.png; PixelAnnotationTool: a_watershed_mask.png; Cellpose: a_cp_masks.png; the leaf
# segmentation challenge (CVPPP): a_rgb.png, a_label.png
_NAME_OF_MASK, _NAME_OF_CVPPP = re.compile(r"(.+)_masks?"), re.compile(r"(.+)_(?:label|fg|centers)")
# People call so folders of masks, and of images as well; of the latter few have one channel, as masks have.
_FOLDERS_OF_PEOPLE = frozenset(["mask", "label", "labels", "gt", "ground_truth", "annotations", "seg", "segmentation"])
_TYPE_OF_PNG, _GREYS, _PALETTE = 25, 0, 3  # where a PNG file has its colour type, and those of one channel
_NAME_OF_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-.+")
_NAMED_IN_XML = re.compile(rb"<mask>\s*([^<]+?)\s*</mask>")


def mask_files(folder: Path, files: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], list[str]]:
    """The masks by their paths relative to the folder: PNG files below a folder Masks that have a name as the tools
    give it, or that an xml file around that folder names; those of exports; those that are called after an image. A
    person may keep images in a folder of that name: one that an annotation lies beside is an image.

    Args:
        files: from each sub-folder, "" for the folder itself, to the names of its files.

    Returns:
        The masks, and those of them that are masks by nothing but their names, or those of their folders.
    """
    masks: set[str] = set()
    others: dict[str, list[str]] = defaultdict(list)  # from the folder around Masks
    by_name: dict[str, list[str]] = defaultdict(list)  # the same, of those that have a name of tools
    for parent, names in files.items():
        parts = parent.split("/")
        if MASKS not in parts:
            continue
        annotated = _annotated(names)
        for name in names:
            if name.lower().endswith(".png") and annotated.isdisjoint((normalised(name), _stem(name))):
                kind = by_name if _NAME_OF_TOOLS.search(name) else others
                kind["/".join(parts[: parts.index(MASKS)])].append(f"{parent}/{name}")
    for home, paths in others.items():
        named = _masks_named_in(folder / one / name for one in _around(home, files) for name in files[one])
        masks.update(path for path in paths if path.rpartition("/")[2] in named)
    exported = [path for parent, names in files.items() for path in _exported(parent, names)]
    doubtful = [path for home, paths in by_name.items() if not _has_xml(home, files) for path in paths]
    certain = masks.union(*by_name.values())
    others_called = (path for path in _called_after_images(folder, files) if path not in certain)
    doubtful = list(dict.fromkeys([*doubtful, *exported, *others_called]))
    return frozenset(certain.union(doubtful)), doubtful


def _exported(parent: str, names: Sequence[str]) -> list[str]:
    """The files of a folder that a tool's export has made of images and annotations."""
    if any(map(_FOLDER_OF_TOOLS.fullmatch, parent.split("/"))):
        found = [name for name in names if name.lower().endswith((".png", ".jpg"))]
    elif parent.endswith("_json") and "label_names.txt" in names:
        found = [name for name in names if name in _OF_LABELME]
    else:
        return []
    return _without_annotation(parent, found, names)


def _called_after_images(folder: Path, files: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """PNG files that have the name of an image with `_mask` and the like beside it; all of a folder of masks where each
    has the name of an image elsewhere; and those of Label Studio, which name no image.

    Not where CVAT's numbered xml files lie, which may be of any of them.
    """
    of_masks = {parent for parent in files if _is_below([MASKS.lower()], parent)}
    of_people = {parent for parent in files if _is_below(_FOLDERS_OF_PEOPLE, parent)} - of_masks
    stems = {parent: {_stem(name) for name in names if is_image(name)} for parent, names in files.items()}
    outside: set[str] = set().union(*(found for parent, found in stems.items() if parent not in of_masks))
    elsewhere: set[str] = set().union(*(stems[parent] for parent in files.keys() - of_masks - of_people))
    for parent, names in files.items():
        pictures = [name for name in names if name.lower().endswith(".png")]
        found = [name for name in pictures if _is_called_after(stems[parent], _stem(name))]
        is_named = parent in of_masks or parent in of_people
        images, own = outside if parent in of_masks else elsewhere, map(_stem, pictures)
        if is_named and all(stem in images or _is_called_after(images, stem) for stem in own):
            one_channel = (_has_one_channel(folder / parent / name) for name in pictures)
            found = pictures if parent in of_masks or all(one_channel) else found
        if found and not any(map(named_by_number, names)):
            labelled = {_stem(name) for name in _label_texts(parent, names, files)}
            yield from _without_annotation(parent, [name for name in found if _stem(name) not in labelled], names)


def _is_below(folders: Collection[str], parent: str) -> bool:
    return any(part in folders for part in parent.lower().split("/"))


def _has_one_channel(path: Path) -> bool:
    """Whether a PNG file has greys, or numbers of colours."""
    with suppress(OSError):  # reported where it is read as an image
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_TYPE_OF_PNG + 1)[_TYPE_OF_PNG:] in (bytes([_GREYS]), bytes([_PALETTE]))
    return False


def _label_texts(parent: str, names: Sequence[str], files: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Texts beside the files of a folder, and those where label files of YOLO would be."""
    labels = PurePosixPath(label_path(f"{parent}/a.png" if parent else "a.png")).parent.as_posix()
    for folder in (names, files.get("" if labels == "." else labels, ())):
        yield from (name for name in folder if name.lower().endswith(SUFFIX))


def _is_called_after(images: Set[str], stem: str) -> bool:
    """By their stems; of Label Studio's masks this cannot be told."""
    if match := _NAME_OF_MASK.fullmatch(stem):
        words = match[1].split("_")  # tools put a word of their own between the two
        return any("_".join(words[:count]) in images for count in range(len(words), 0, -1))
    leaves = _NAME_OF_CVPPP.fullmatch(stem)
    return (leaves is not None and f"{leaves[1]}_rgb" in images) or _NAME_OF_LABEL_STUDIO.fullmatch(stem) is not None


def _without_annotation(parent: str, found: Sequence[str], names: Iterable[str]) -> list[str]:
    """The paths of those files of a folder that no annotation lies beside."""
    annotated = _annotated(names) if found else set()
    left = (name for name in found if annotated.isdisjoint((normalised(name), _stem(name))))
    return [f"{parent}/{name}" if parent else name for name in left]


def _stem(name: str) -> str:
    return normalised(name.rpartition(".")[0])


def _annotated(names: Iterable[str]) -> set[str]:
    """What the annotation files of a folder are named after."""
    return {_stem(name) for name in names if name.lower().endswith((".json", ".xml"))}


def _around(home: str, folders: Iterable[str]) -> list[str]:
    return [one for one in folders if not home or f"{one}/".startswith(f"{home}/")]


def _has_xml(home: str, files: Mapping[str, Sequence[str]]) -> bool:
    return any(name.lower().endswith(".xml") for one in _around(home, files) for name in files[one])


def _masks_named_in(paths: Iterable[Path]) -> set[str]:
    """The names of masks, without folders, in those of the files that are xml; each is read, not parsed."""
    found: set[str] = set()
    for path in paths:
        if path.suffix.lower() == ".xml":
            with suppress(OSError):  # reported where it is read as an annotation
                names = (name.decode(errors="replace") for name in _NAMED_IN_XML.findall(path.read_bytes()))
                found.update(html.unescape(name).replace("\\", "/").rpartition("/")[2] for name in names)
    return found
