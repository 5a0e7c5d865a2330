"""Labels against the classes of the settings."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from active_learning.annotations import Annotation, Instance, check_labels
from active_learning.errors import AnnotationError

CLASSES = ["healthy", "damaged", "Möhre"]


def annotation(*labels: str) -> Annotation:
    instances = tuple(Instance(label, origin=f"shapes[{index}]") for index, label in enumerate(labels))
    return Annotation("a.jpg", 10, 10, instances)


def test_known_labels_pass():
    known = annotation("healthy", "damaged")
    assert check_labels(known, CLASSES, "error", Path("a.json")) is known


def test_accents_compare_however_they_are_stored():
    decomposed = unicodedata.normalize("NFD", "Möhre")
    (instance,) = check_labels(annotation(decomposed), CLASSES, "error", Path("a.json")).instances
    assert instance.label == "Möhre"


def test_all_unknown_labels_are_named_with_place_and_nearest_class():
    with pytest.raises(AnnotationError) as caught:
        check_labels(annotation("helthy", "healthy", "Damaged", "tractor"), CLASSES, "error", Path("train/a.json"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "train/a.json: shapes[0]: label 'helthy' is not in classes (did you mean 'healthy'?)"
    assert lines[1] == "train/a.json: shapes[2]: label 'Damaged' is not in classes (did you mean 'damaged'?)"
    assert lines[2] == "train/a.json: shapes[3]: label 'tractor' is not in classes (healthy, damaged, Möhre)"
    assert len(lines) == 3


def test_skip_leaves_objects_out_and_keeps_their_labels():
    checked = check_labels(annotation("helthy", "healthy"), CLASSES, "skip", Path("a.json"))
    assert [instance.label for instance in checked.instances] == ["healthy"]
    assert (checked.skipped, checked.warnings) == (("helthy",), ())
