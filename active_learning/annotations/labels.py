"""Class names of annotations against those of the settings."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from active_learning.annotations.annotation import Annotation, Instance
from active_learning.errors import AnnotationError


def check_labels(
    annotation: Annotation, classes: Sequence[str], unknown_labels: Literal["error", "skip"] | str, path: Path
) -> Annotation:
    """The annotation with the objects whose labels are in `classes`, spelled as there.

    Args:
        unknown_labels: "skip" leaves the other objects out with a warning each.

    Raises:
        AnnotationError: with "error", one line for each object of an unknown label, with the nearest class.
    """
    if all(instance.label in classes for instance in annotation.instances):
        return annotation
    spelling = {unicodedata.normalize("NFC", name): name for name in classes}
    known, faults = [], []
    for instance in annotation.instances:
        name = spelling.get(unicodedata.normalize("NFC", instance.label))
        if name is None:
            faults.append(_fault(instance, classes, path))
        else:
            known.append(replace(instance, label=name))
    if faults and unknown_labels != "skip":
        raise AnnotationError("\n".join(faults))
    warnings = tuple(f"{fault}: left out" for fault in faults)
    return replace(annotation, instances=tuple(known), warnings=annotation.warnings + warnings)


def _fault(instance: Instance, classes: Sequence[str], path: Path) -> str:
    folded = {name.casefold(): name for name in classes}
    nearest = difflib.get_close_matches(instance.label.strip().casefold(), list(folded), n=1)
    hint = f" (did you mean {folded[nearest[0]]!r}?)" if nearest else f" ({', '.join(classes)})"
    return f"{path}: {instance.origin}: label {instance.label!r} is not in classes{hint}"
