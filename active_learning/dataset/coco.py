"""The COCO json file that the network trains on, and the lists of images."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations.coco import CocoImage, CocoWriter
from active_learning.annotations.labels import unknown_label
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import FolderSnapshot, find_annotations, pair_annotations
from active_learning.dataset.image_names import check_image_name
from active_learning.dataset.near_duplicates import FILE as NEAR_DUPLICATES
from active_learning.errors import MaskALError
from active_learning.system.files import add_content
from active_learning.system.image_files import image_file
from active_learning.system.wording import and_more, counted
from active_learning.system.written_files import write_own

DATA_FILES = (
    "initial_train.txt",
    NEAR_DUPLICATES,
    *(f"{split}.{suffix}" for split in ("train", "val", "test") for suffix in ("txt", "json")),
)


@dataclass(frozen=True)
class DatasetSummary:
    """What a COCO json file holds: images, those without objects, objects and images of each class.

    `bitmaps` is the number of objects written as run lengths: training on them needs INPUT.MASK_FORMAT "bitmask".
    """

    images: int
    negatives: int
    objects: dict[str, int]
    images_with: dict[str, int]
    warnings: tuple[str, ...]
    bitmaps: int = 0

    def require_objects(self, folder: Path) -> None:
        """Raises MaskALError where there is none: training would only teach that all is background."""
        if not any(self.objects.values()):
            raise MaskALError(nothing_to_train_on(folder, self.images, self.objects))


def nothing_to_train_on(folder: Path, images: int, classes: Iterable[str]) -> str:
    return (
        f"{folder}: the {counted(images, 'training image')} hold no object of the classes {', '.join(classes)}; "
        "there is nothing to train on: annotate objects in them, or start with other images (initial_datasize, seed; "
        "--fresh)"
    )


def never_shown(objects: Mapping[str, int]) -> str:
    """What to know of training images that hold no object of some classes; "" where they hold all, or none."""
    absent = [name for name, count in objects.items() if not count]
    if not absent or len(absent) == len(objects):
        return ""
    return (
        f"no training image holds {and_more(absent, 10, 'classes')}: what the network was never shown it takes for "
        "something else, and most strategies do not look for it; class_stratified does. Where you can, begin with "
        "images of every class (use_initial_train_dir)"
    )


def write_coco_json(
    annotations: AnnotationCache, images: Sequence[str], output: Path, snapshot: FolderSnapshot | None = None
) -> DatasetSummary:
    """Writes the annotations of images, which stand beside them, as one COCO json file, if it is another than before.

    Category ids count from 1 in the order of the classes, image and annotation ids from 1. An object is polygons, or
    run lengths where it has holes or is a bitmap. Images without objects are kept. No image is decoded.

    Args:
        snapshot: what the image folder holds; without it the folders of the images are listed.

    Raises:
        MaskALError: names every image that has no annotation or a faulty one; then nothing is written.
    """
    entries = list(read_all(annotations, images, snapshot))
    writer = CocoWriter(annotations.classes)
    for entry in entries:
        writer.add_image(entry)
    write_own(output, writer.text())
    return summary_of(entries, annotations.classes)


def content_digest(file: Path, folder: Path) -> str:
    """Of a file of `write_coco_json`, and of the image files in `folder` that it names: changes with any byte of them.

    Raises:
        UnreadableImageError: an image cannot be opened.
    """
    content = file.read_bytes()
    digest = hashlib.blake2b(content, digest_size=20)
    for image in json.loads(content)["images"]:
        with image_file(folder / image["file_name"]) as stream:
            add_content(digest, stream)
    return digest.hexdigest()


def good_annotations(
    annotations: AnnotationCache, images: Sequence[str], snapshot: FolderSnapshot
) -> dict[str, CocoImage]:
    """What is annotated in these images, less those without a good annotation."""
    pairs, _ = find_annotations(annotations.folder, images, annotations, snapshot)
    found = {}
    for name, path in pairs.items():
        with suppress(MaskALError):  # reported where it is needed
            found[name] = annotations.read(path, name)
    return found


def read_all(
    annotations: AnnotationCache, images: Sequence[str], snapshot: FolderSnapshot | None
) -> Iterator[CocoImage]:
    """Raises one MaskALError for all faulty files, after the last."""
    pairs = pair_annotations(annotations.folder, images, annotations, snapshot)
    faults: list[str] = []
    for name in images:
        if name not in pairs:
            image = annotations.folder / name
            faults.append(f"{image}: there is no annotation beside it; annotate it or take it off the list")
            continue
        try:
            yield annotations.read(pairs[name], name)
        except MaskALError as error:
            faults.append(str(error))
    if faults:
        raise MaskALError("\n".join(faults))


def warnings_of(entries: Sequence[CocoImage], classes: Sequence[str]) -> Iterator[str]:
    """Those of the files, a line for each label whose objects were left out on purpose, with the images, and one for
    images without objects that nobody may have opened."""
    images: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        yield from entry.warnings
        for label in entry.skipped:
            images[label].append(entry.name)
    for label, names in sorted(images.items()):
        where = and_more(list(dict.fromkeys(names)), what="images")
        yield f"{unknown_label(label, classes)}: {counted(len(names), 'object')} left out, in {where}"
    if unopened := [entry.name for entry in entries if entry.may_be_unopened]:
        files = f"{counted(len(unopened), 'file')} of an annotation tool without objects ({and_more(unopened, 3)})"
        yield f"{files}: taken for images that hold none; where nobody has opened them yet, annotate them"


def summary_of(entries: Sequence[CocoImage], classes: Sequence[str]) -> DatasetSummary:
    objects, images_with = Counter(dict.fromkeys(classes, 0)), Counter(dict.fromkeys(classes, 0))
    for entry in entries:
        objects.update(entry.labels)
        images_with.update(set(entry.labels))
    negatives = sum(not entry.labels for entry in entries)
    bitmaps = sum(entry.bitmaps for entry in entries)
    return DatasetSummary(
        len(entries), negatives, dict(objects), dict(images_with), tuple(warnings_of(entries, classes)), bitmaps
    )


def write_image_list(path: Path, names: Iterable[str]) -> None:
    """One relative name a line.

    Raises:
        MaskALError: a name holds a line break or leads out of its folder.
    """
    names = [check_image_name(name) for name in names]
    for name in names:
        if "\n" in name or "\r" in name:
            raise MaskALError(f"image name {name!r}: holds a line break; rename the image")
    write_own(path, "".join(f"{name}\n" for name in names))
