"""What the files of an explanation give back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from active_learning.acquisition.explanation import ExplainedObject, Explanation, read_explanations, write_explanations
from active_learning.errors import MaskALError

OBJECT = ExplainedObject(0.9, 1.0, 0.8, 0.5, 0.36, ((5.0, 5.0, 25.0, 25.0),), {"Blüte <b>": 1}, (0,))
EXPLANATION = Explanation("a/b ü.png", 0.36, "mean", 2, 40, 60, (OBJECT,))
PICTURE, SPREAD = np.full((40, 60, 3), 100, dtype=np.uint8), np.zeros((900, 1350, 4), dtype=np.uint8)


def test_files_give_back_what_was_explained(tmp_path: Path):
    folder = tmp_path / "ä" / "why_chosen000"
    write_explanations(folder, [(EXPLANATION, PICTURE, SPREAD)] * 2)
    first, second = read_explanations(folder)
    assert (first.objects, first.image, first.certainty) == (EXPLANATION.objects, "a/b ü.png", 0.36)
    assert (second.picture, second.spread) == ("01.jpg", "01_spread.png")
    assert all((folder / name).is_file() for name in (first.picture, first.spread, second.picture, second.spread))


def test_fields_stay_as_they_are(tmp_path: Path):
    """A run that was begun with an earlier version has such files."""
    write_explanations(tmp_path, [(EXPLANATION, PICTURE, SPREAD)])
    (document,) = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert list(document) == [
        *("image", "certainty", "mode", "passes", "height", "width", "objects", "picture", "spread", "tile"),
        "lowest",
    ]
    assert list(document["objects"][0]) == [
        *("semantic", "mask", "box", "occurrence", "certainty", "boxes", "votes", "passes"),
    ]
    del document["tile"], document["lowest"]  # an earlier version knew none
    (tmp_path / "why.json").write_text(json.dumps([document]), encoding="utf-8")
    assert [one.tile for one in read_explanations(tmp_path)] == [None]


def test_the_place_of_a_tile_is_kept(tmp_path: Path):
    write_explanations(tmp_path, [(replace(EXPLANATION, tile=(30, 0)), PICTURE, SPREAD)])
    assert [one.tile for one in read_explanations(tmp_path)] == [(30, 0)]


def test_a_folder_that_is_not_complete_is_passed_over(tmp_path: Path):
    def stopped():
        yield EXPLANATION, PICTURE, SPREAD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_explanations(tmp_path, stopped())
    assert (tmp_path / "00.jpg").is_file()
    assert read_explanations(tmp_path) == []


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "why.json").write_text('[{"image": "a"}]', encoding="utf-8")
    with pytest.raises(MaskALError, match=r"why\.json"):
        read_explanations(tmp_path)


@pytest.mark.parametrize(("mode", "part"), [("min", "mask"), ("max", "box"), ("mean", "mask")])
def test_the_lowest_part_is_that_of_the_objects_that_count(mode: str, part: str):
    low = ExplainedObject(1.0, 0.1, 0.9, 1.0, 0.09, (), {}, (0,))
    high = ExplainedObject(1.0, 0.9, 0.8, 1.0, 0.72, (), {}, (0,))
    assert Explanation("a", 0.1, mode, 1, 4, 4, (high, low)).lowest_part == part
