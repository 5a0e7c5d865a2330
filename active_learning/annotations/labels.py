"""Class names of annotations against those of the settings, and images that lose all their objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from active_learning.annotations.annotation import Annotation, Instance, LostObject
from active_learning.annotations.documents import brief
from active_learning.errors import AnnotationError
from active_learning.system.names import normalised
from active_learning.system.wording import did_you_mean

_FAULTS_SHOWN = 3
_REMEDY = "correct it, or save the image without shapes if it holds no object"


def check_labels(
    annotation: Annotation, classes: Sequence[str], unknown_labels: Literal["error", "skip"] | str, path: Path
) -> Annotation:
    """The annotation with the objects whose labels are in `classes`, spelled as there.

    Args:
        unknown_labels: "skip" leaves the other objects out, and keeps their labels (`skipped`). An image of others
            alone is then one without objects, as its user wishes.

    Raises:
        AnnotationError: with "error", one line for each object of an unknown label, readable or not, with the nearest
            class; or no object is left, and one that could not be read may be of the classes.
    """
    known, unknown = split_by_label(annotation, classes)
    lost, lost_unknown = _split_lost(annotation.lost, classes)
    if unknown_labels != "skip" and (unknown or lost_unknown):
        faults = [
            *_unknown(unknown, classes, path),
            *(f"{one.fault}; {unknown_label(one.label, classes)}" for one in lost_unknown),
        ]
        raise AnnotationError("\n".join(faults))
    refuse_loss_of_all(replace(known, lost=lost), path)
    return replace(known, skipped=tuple(instance.label for instance in unknown)) if unknown else known


def leave_out_unknown(annotation: Annotation, classes: Sequence[str], path: Path) -> Annotation:
    """As `check_labels` with "skip", for classes that may be misspelt.

    Raises:
        AnnotationError: no object is left of an image that has some.
    """
    known, unknown = split_by_label(annotation, classes)
    faults = zip(unknown, _unknown(unknown, classes, path), strict=True)
    lost = tuple(LostObject(instance.label, fault) for instance, fault in faults)
    remedy = "correct the file or the classes, or leave such objects out (--unknown-labels skip)" if lost else _REMEDY
    return refuse_loss_of_all(replace(known, lost=(*annotation.lost, *lost)), path, remedy)


def refuse_loss_of_all(annotation: Annotation, path: Path, remedy: str = _REMEDY) -> Annotation:
    """The annotation: an image without objects is what a person saved as empty, not one of which nothing was readable.

    Raises:
        AnnotationError: no object is left, and some were lost; names the first of them.
    """
    if annotation.instances or not annotation.lost:
        return annotation
    more = len(annotation.lost) - _FAULTS_SHOWN
    faults = [*(one.fault for one in annotation.lost[:_FAULTS_SHOWN]), *([f"{path}: {more} more"] if more > 0 else [])]
    raise AnnotationError("\n".join(faults) + f"; no object is left of {annotation.image}: {remedy}")


def split_by_label(annotation: Annotation, classes: Sequence[str]) -> tuple[Annotation, list[Instance]]:
    """The annotation with the objects whose labels are in `classes`, spelled as there, and the other objects."""
    if all(instance.label in classes for instance in annotation.instances):
        return annotation, []
    spelling = _spelling(classes)
    known, unknown = [], []
    for instance in annotation.instances:
        name = spelling.get(normalised(instance.label))
        if name is None:
            unknown.append(instance)
        else:
            known.append(replace(instance, label=name))
    return replace(annotation, instances=tuple(known)), unknown


def _split_lost(
    lost: Iterable[LostObject], classes: Sequence[str]
) -> tuple[tuple[LostObject, ...], tuple[LostObject, ...]]:
    """Those of the classes or without a label, and those of other labels."""
    spelling = _spelling(classes)
    of_others = [bool(one.label) and normalised(one.label) not in spelling for one in lost]
    pairs = list(zip(lost, of_others, strict=True))
    return tuple(one for one, other in pairs if not other), tuple(one for one, other in pairs if other)


def _spelling(classes: Sequence[str]) -> dict[str, str]:
    return {normalised(name): name for name in classes}


def _unknown(instances: Iterable[Instance], classes: Sequence[str], path: Path) -> list[str]:
    return [f"{path}: {instance.origin}: {unknown_label(instance.label, classes)}" for instance in instances]


def unknown_label(label: str, classes: Sequence[str]) -> str:
    """The message that a label is not in `classes`, with the nearest one."""
    hint = did_you_mean(label, classes) or f" ({', '.join(classes)})"
    return f"label {brief(label)} is not in classes{hint}"
