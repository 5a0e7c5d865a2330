"""The COCO json file that the network trains on, and the lists of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import Annotation, check_labels, read_annotation
from active_learning.annotations.coco import CocoWriter
from active_learning.dataset.image_folder import AnnotatedImage, check_image_name, image_size, pair_annotations
from active_learning.errors import MaskALError
from active_learning.system.files import write_atomically


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


def write_coco_json(
    folder: Path, images: Sequence[str], classes: Sequence[str], output: Path, *, unknown_labels: str = "error"
) -> DatasetSummary:
    """Writes the annotations of images, which stand beside them, as one COCO json file.

    Category ids count from 1 in the order of `classes`, image and annotation ids from 1. An object is polygons, or run
    lengths where it has holes or is a bitmap. Images without objects are kept. No image is decoded.

    Raises:
        MaskALError: names every image that has no annotation or a faulty one; then nothing is written.
    """
    annotations = list(_read_all(folder, images, classes, unknown_labels))
    writer = CocoWriter(classes)
    for annotation in annotations:
        writer.add(annotation)
    write_atomically(output, writer.text())
    return _summary(annotations, classes, writer.bitmaps)


def _read_all(folder: Path, images: Sequence[str], classes: Sequence[str], unknown_labels: str) -> Iterator[Annotation]:
    """Raises one MaskALError for all faulty files, after the last."""
    pairs = pair_annotations(folder, images)
    faults: list[str] = []
    for name in images:
        if name not in pairs:
            faults.append(f"{folder / name}: there is no annotation beside it; annotate it or take it off the list")
            continue
        try:
            yield _read(folder, AnnotatedImage(name, pairs[name]), classes, unknown_labels)
        except MaskALError as error:
            faults.append(str(error))
    if faults:
        raise MaskALError("\n".join(faults))


def _read(folder: Path, image: AnnotatedImage, classes: Sequence[str], unknown_labels: str) -> Annotation:
    size = image_size(folder / image.name)
    annotation = read_annotation(image.annotation, image=image.name, size=size, within=folder)
    return check_labels(annotation, classes, unknown_labels, image.annotation)


def _summary(annotations: Sequence[Annotation], classes: Sequence[str], bitmaps: int) -> DatasetSummary:
    objects, images_with = Counter(dict.fromkeys(classes, 0)), Counter(dict.fromkeys(classes, 0))
    for annotation in annotations:
        labels = [instance.label for instance in annotation.instances]
        objects.update(labels)
        images_with.update(set(labels))
    negatives = sum(not annotation.instances for annotation in annotations)
    warnings = tuple(warning for annotation in annotations for warning in annotation.warnings)
    return DatasetSummary(len(annotations), negatives, dict(objects), dict(images_with), warnings, bitmaps)


def write_image_list(path: Path, names: Iterable[str]) -> None:
    """One relative name a line.

    Raises:
        MaskALError: a name holds a line break or leads out of its folder.
    """
    names = [check_image_name(name) for name in names]
    for name in names:
        if "\n" in name or "\r" in name:
            raise MaskALError(f"image name {name!r}: holds a line break; rename the image")
    write_atomically(path, "".join(f"{name}\n" for name in names))
