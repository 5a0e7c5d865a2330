from __future__ import annotations

from typing import Any

from active_learning.label_check.findings import COLUMNS, LabelFinding, csv_row, ranked


def finding(certainty: float, **given: Any) -> LabelFinding:
    values = {
        "place": "shapes[0]",
        "label": "a",
        "finding": "other class",
        "expected": "b",
        "box": (1.0, 2.0, 30.0, 40.0),
    }
    known = {"image": "a.png", "split": "train", "loop": 1, "digest": ""}
    return LabelFinding(**{**known, **values, **given}, certainty=certainty)


def test_an_object_is_listed_once_by_its_surest_finding():
    other_box = {"finding": "poor outline", "box": (1.0, 2.0, 31.0, 40.0)}
    found = [finding(0.5), finding(0.7, **other_box), finding(0.6, place="shapes[1]"), finding(0.9, image="b.png")]
    assert ranked(found) == [found[3], found[1], found[2]]


def test_missing_objects_are_told_apart_by_their_boxes_and_the_unsure_left_out():
    missing = [finding(0.8, place="", label="", box=(x, 0.0, x + 9, 9.0)) for x in (0.0, 50.0)]
    assert ranked([*missing, finding(0.19)]) == missing


def test_a_row_is_as_wide_as_the_columns():
    row = dict(zip(COLUMNS, csv_row(finding(0.5)), strict=True))
    assert (row["object"], row["class"], row["x1"], row["certainty"], row["loop"]) == (
        "shapes[0]",
        "a",
        "30",
        "0.500",
        1,
    )
