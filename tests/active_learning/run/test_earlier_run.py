"""A run that was begun before active_learning/ was cut into packages goes on; a fake plays the network.

data/earlier_run holds what that program had written when it awaited the annotations of its first chosen images.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

import maskAL
from active_learning.acquisition.record_files import read_records
from active_learning.loop import ActiveLearningLoop
from active_learning.run.state import RunState
from active_learning.sampling.pool import Pool
from active_learning.sampling.strategies import STRATEGIES, choose_images
from active_learning.settings import Settings
from tests.active_learning.conftest import annotated_image
from tests.active_learning.test_loop import FakeNetwork

EARLIER = Path(__file__).parent / "data" / "earlier_run"


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Its settings, with all files where it had them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text("MODEL: {MASK_ON: true}\n", encoding="utf-8")
    state = json.loads((EARLIER / "run_state.json").read_text(encoding="utf-8"))
    shutil.copytree(EARLIER, tmp_path / "results" / "exp1" / "uncertainty_seed1")
    weights = tmp_path / "weights" / "exp1" / "uncertainty_seed1" / "best_model_000.pth"
    weights.parent.mkdir(parents=True)
    weights.write_text("0", encoding="utf-8")
    pool = list(read_records(EARLIER / "pool_records000.jsonl"))
    splits = {"train": [*state["train_images"], *pool], "val": ["val00.png"], "test": ["test00.png"]}
    for split, names in splits.items():
        for name in names:
            path = tmp_path / "data" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            annotated_image(path)
            annotation = path.with_suffix(".json")
            annotation.write_text(annotation.read_text(encoding="utf-8").replace('"a"', '"disc"'), encoding="utf-8")
    return Settings(**{key: value for key, value in state["settings"].items() if value is not None})


class DiscNetwork(FakeNetwork):
    """Of the classes of the earlier run."""

    def evaluate(self, *arguments, **options):
        return [
            type(one)(one.mask_ap, {"disc": one.mask_ap, "square": one.mask_ap})
            for one in super().evaluate(*arguments, **options)
        ]


@pytest.fixture
def network(make_record, monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    fake = DiscNetwork(make_record)
    fake.install(monkeypatch)
    return fake


def test_it_goes_on_where_it_was(earlier: Settings, network: FakeNetwork):
    before = RunState.load(EARLIER / "run_state.json")
    (experiment,) = [one for one in earlier.experiments() if one.strategy == "uncertainty"]
    loop = ActiveLearningLoop(earlier, experiment, wait=False)
    maskAL.run_experiment(loop)
    after = RunState.load(loop.run.files.state)
    assert after.phase == "finished"
    assert after.train_images[: len(before.train_images)] == before.train_images
    assert [row.train_size for row in after.history] == [6, 9, 12]
    assert after.history[0] == before.history[0]
    assert network.started_from == ["best_model_000.pth", "best_model_001.pth"]
    assert after.experiment["strategy"] == "uncertainty" and after.experiment["seed"] == 1
    chosen = (loop.run.files.train_files(1)).read_text(encoding="utf-8")
    assert all(f"{name}, {value:.6f}" in chosen for name, value in before.chosen.items())


def test_uncertainty_chooses_what_it_chose():
    """On the records that the earlier program had made, and with their values."""
    state = RunState.load(EARLIER / "run_state.json")
    records = read_records(EARLIER / "pool_records000.jsonl")
    pool = Pool(
        sorted(records), records, mode="mean", count=len(state.chosen), rng=random.Random(0), class_counts=[0, 0]
    )
    chosen = choose_images("uncertainty", pool).names
    assert {name: records[name].value for name in chosen} == state.chosen
    assert chosen == list(state.chosen)
    assert STRATEGIES["uncertainty"].sampling_threshold is None
