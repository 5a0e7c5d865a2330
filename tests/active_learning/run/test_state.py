from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.run.state import LoopScores, RunState


def test_a_state_comes_back_as_it_was(tmp_path: Path):
    scores = LoopScores(6, 41.5, {"a": math.nan, "b": 41.5}, 43.0, {"a": math.nan, "b": 43.0}, 2.5)
    state = RunState(
        ["a", "b"], 1, "train", ["x.png", "y ü.png"], {"y ü.png": 0.25, "x.png": math.nan}, 40.0, 1.0, 2, [scores]
    )
    state.save(tmp_path / "run_state.json")
    json.loads((tmp_path / "run_state.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    loaded = RunState.load(tmp_path / "run_state.json")
    assert repr(loaded) == repr(state)


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
