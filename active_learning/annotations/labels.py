"""Class names of annotations against those of the settings."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from active_learning.annotations.annotation import Annotation, Instance
from active_learning.errors import AnnotationError
from active_learning.system.wording import did_you_mean


def check_labels(
    annotation: Annotation, classes: Sequence[str], unknown_labels: Literal["error", "skip"] | str, path: Path
) -> Annotation:
    """The annotation with the objects whose labels are in `classes`, spelled as there.

    Args:
        unknown_labels: "skip" leaves the other objects out with a warning each.

    Raises:
        AnnotationError: with "error", one line for each object of an unknown label, with the nearest class.
    """
    known, unknown = split_by_label(annotation, classes)
    faults = [f"{path}: {instance.origin}: {unknown_label(instance.label, classes)}" for instance in unknown]
    if faults and unknown_labels != "skip":
        raise AnnotationError("\n".join(faults))
    warnings = tuple(f"{fault}: left out" for fault in faults)
    return replace(known, warnings=annotation.warnings + warnings) if warnings else known


def split_by_label(annotation: Annotation, classes: Sequence[str]) -> tuple[Annotation, list[Instance]]:
    """The annotation with the objects whose labels are in `classes`, spelled as there, and the other objects."""
    if all(instance.label in classes for instance in annotation.instances):
        return annotation, []
    spelling = {unicodedata.normalize("NFC", name): name for name in classes}
    known, unknown = [], []
    for instance in annotation.instances:
        name = spelling.get(unicodedata.normalize("NFC", instance.label))
        if name is None:
            unknown.append(instance)
        else:
            known.append(replace(instance, label=name))
    return replace(annotation, instances=tuple(known)), unknown


def unknown_label(label: str, classes: Sequence[str]) -> str:
    """The message that a label is not in `classes`, with the nearest one."""
    hint = did_you_mean(label, classes) or f" ({', '.join(classes)})"
    return f"label {label!r} is not in classes{hint}"
