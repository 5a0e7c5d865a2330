from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.run.state import LoopScores, RunState


def test_a_state_comes_back_as_it_was(tmp_path: Path):
    scores = LoopScores(6, 41.5, {"a": math.nan, "b": 41.5}, 43.0, {"a": math.nan, "b": 43.0}, 2.5)
    state = RunState(
        ["a", "b"], 1, "train", ["x.png", "y ü.png"], {"y ü.png": 0.25, "x.png": math.nan}, 40.0, 1.0, 2, [scores]
    )
    state.settings = {"classes": ["a", "b"]}
    state.save(tmp_path / "run_state.json")
    json.loads((tmp_path / "run_state.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    loaded = RunState.load(tmp_path / "run_state.json")
    assert repr(loaded) == repr(state)


def test_images_are_spelled_as_on_the_disk():
    composed, decomposed = (unicodedata.normalize(form, "rübe.png") for form in ("NFC", "NFD"))
    names = ["x.png", decomposed, composed]  # both by an earlier version, which chose it again
    state = RunState(["a"], 1, "train", names, {decomposed: 0.5}, ahead={f"é/{decomposed}": 0.25})
    state.spell_as(["x.png", composed, f"é/{composed}", "other ü.png"])
    assert state.train_images == ["x.png", composed]
    assert state.chosen == {composed: 0.5} and state.ahead == {f"é/{composed}": 0.25}
    state.spell_as([])  # nothing is there: they keep their names
    assert state.train_images == ["x.png", composed]


def test_a_state_that_an_editor_on_windows_saved_and_one_without_settings_are_read(tmp_path: Path):
    path = tmp_path / "run_state.json"
    RunState(["a", "ü"]).save(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert RunState.load(path).settings == {"classes": ["a", "ü"]}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 99}', '{"version": 1}', '{"version": 1, "history": [], "chosen": {}, "no_field": 1}'],
    ids=["empty", "half", "list", "version", "fields missing", "unknown field"],
)
def test_an_unreadable_state_is_named_with_the_remedy(tmp_path: Path, text: str):
    path = tmp_path / "run_state.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MaskALError, match=r"run_state\.json.*--fresh"):
        RunState.load(path)


AHEAD = {"ahead": {"z.png": 0.5}, "history": [LoopScores(6, 41.5, {}, 43.0, {}, 2.5)]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ahead": {"x.png": 0.5}}, "ahead: 'x.png' is in train_images, too"),
        ({"loop": 0, "history": []}, "ahead: holds images, though no network has chosen any in loop 0"),
        ({"chosen_ahead": True}, "chosen_ahead: is true in loop 1"),
    ],
    ids=["trained on already", "in loop 0", "chosen ahead too early"],
)
def test_what_was_chosen_ahead_is_checked(tmp_path: Path, changes: dict, field: str):
    path = tmp_path / "run_state.json"
    state = RunState(["a", "b"], 1, "train", ["x.png", "y.png"], **AHEAD)
    state.save(path)
    RunState.load(path).check_going_on(path)
    replace(state, **changes).save(path)
    with pytest.raises(MaskALError, match=f"run_state.json: {field}"):
        RunState.load(path).check_going_on(path)


def test_what_was_chosen_ahead_is_that_of_the_next_loop():
    state = RunState(["a"], 1, "choose", ["x.png"], {"x.png": 0.1})
    state.times.handed_in = 60.0
    state.choose_ahead({"z.png": 0.5}, 4.0)
    state.times_ahead.note_put(90.0)
    state.begin_next_loop(state.ahead, state.expected_ahead, ahead=True)
    assert (state.loop, state.train_images, state.chosen) == (2, ["x.png", "z.png"], {"z.png": 0.5})
    assert (state.chosen_ahead, state.ahead, state.times.put) == (True, {}, 90.0)
    assert (state.expected_objects, state.expected_ahead, state.times.person_minutes) == (4.0, 0.0, 0.5)
    state.begin_next_loop({"u.png": 0.2}, 0.0)
    assert (state.chosen_ahead, state.times.put, state.times.before) == (False, 0.0, 0.0)
