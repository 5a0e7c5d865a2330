"""Kind 8: a resume point whose values cannot be is not used, and nothing of it stays."""

from __future__ import annotations

import json
import math
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from active_learning.network import resume_point, training_hooks
from active_learning.network.network_config import network_config, training_config
from active_learning.network.training import MaskALTrainer, register_dataset, train
from tests.active_learning.network.conftest import CLASSES


class StoppedByTestError(Exception):
    pass


WRONG: list[tuple[tuple[str, ...], Any]] = [
    (("trainer", "iteration"), 7),
    (("trainer", "iteration"), -1),
    (("trainer", "iteration"), 1.0),
    (("trainer", "iteration"), None),
    (("trainer", "hooks", "KeepBest", "best_ap"), math.nan),
    (("trainer", "hooks", "KeepBest", "best_ap"), 1e9),
    (("trainer", "hooks", "KeepBest", "best_ap"), "good"),
    (("trainer", "hooks", "ResumePoint", "seconds"), math.nan),
    (("trainer", "hooks", "ResumePoint", "seconds"), -1.0),
    (("trainer", "hooks", "ResumePoint", "seconds"), "long"),
    (("trainer", "hooks"), {}),
    (("trainer", "hooks", "LRScheduler"), 5),
    (("trainer", "_trainer"), {}),
    (("trainer", "_trainer", "optimizer"), {"state": {}, "param_groups": []}),
    (("trainer", "_trainer", "processes"), [{"random": {}, "data_loader": {}}]),
    (("trainer", "_trainer", "processes"), 5),
    (("trainer",), {}),
    (("trainer",), None),
    (("model",), {}),
    (("model", "backbone.bottom_up.stem.conv1.weight"), torch.tensor(math.nan)),
]


@pytest.fixture
def make_training(make_settings, dataset, tmp_path):
    settings = make_settings(train_iterations_base=6)
    experiment = settings.experiments()[0]
    names = {"train_dataset": dataset, "val_dataset": dataset}
    cfg = training_config(
        network_config(settings, experiment),
        settings,
        image_count=7,
        class_images={},
        weights="",
        output_dir=tmp_path / "out",
        **names,
    )
    return cfg, {"best_model": tmp_path / "best.pth", "best_ap": 0.0, "final_model": tmp_path / "final.pth"}


def weights_at_step(number: int, cfg, arguments) -> dict[str, torch.Tensor]:
    """Of a training that is stopped before its step of this number, from 0."""
    step, found = MaskALTrainer.run_step, dict[str, torch.Tensor]()

    def stopping_step(self) -> None:
        if self.iter == number:
            found.update((name, value.clone()) for name, value in self.model.state_dict().items())
            raise StoppedByTestError
        step(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoppedByTestError):
        patch.setattr(MaskALTrainer, "run_step", stopping_step)
        train(cfg, **arguments)
    return found


def test_a_wrong_value_of_a_resume_point(make_training, tmp_path: Path, caplog) -> None:
    """What goes on is a training begun anew: its second step finds the same weights."""
    cfg, arguments = make_training
    anew = weights_at_step(1, cfg, arguments)
    assert not list((tmp_path / "out" / "resume").glob("*.pth"))
    weights_at_step(2, cfg, arguments)
    (point,) = (tmp_path / "out" / "resume").glob("*.pth")
    good = point.read_bytes()
    for place, value in WRONG:
        content = torch.load(point, weights_only=True)
        holder = content
        for name in place[:-1]:
            holder = holder[name]
        holder[place[-1]] = value
        torch.save(content, point)
        for other in set((tmp_path / "out" / "resume").glob("*.pth")) - {point}:
            other.unlink()
        caplog.clear()
        weights = weights_at_step(1, cfg, arguments)
        assert f"{point}: this checkpoint is damaged (" in caplog.text, place
        assert "no checkpoint of this training is whole; it begins anew" in caplog.text
        assert all(torch.equal(weights[name], anew[name]) for name in anew), place
        for left in (tmp_path / "out" / "resume").glob("*.pth"):
            left.unlink()
        point.write_bytes(good)


def test_the_seconds_of_a_stopped_training_count_without_the_pause(make_training, tmp_path: Path, monkeypatch) -> None:
    """An hour a step, a day of pause: the clock is one of the test."""
    clock = [0.0]
    monkeypatch.setattr(resume_point, "LONGEST", math.inf)
    monkeypatch.setattr(resume_point, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(training_hooks, "run_inference", lambda *_: {"segm": {"AP": 1.0}})
    cfg, arguments = make_training
    cfg.TEST.EVAL_PERIOD = 2
    step, stop_at = MaskALTrainer.run_step, [2, 5, -1]

    def stopping_step(self) -> None:
        if self.iter == stop_at[0]:
            raise StoppedByTestError
        step(self)
        clock[0] += 3600

    monkeypatch.setattr(MaskALTrainer, "run_step", stopping_step)
    for hours in (0, 2, 4):
        with nullcontext() if stop_at[0] < 0 else pytest.raises(StoppedByTestError):
            train(cfg, **arguments)
        assert resume_point.seconds_before(tmp_path / "out") == hours * 3600  # up to the checkpoint it goes on from
        stop_at.pop(0)
        clock[0] += 24 * 3600
    cfg.SOLVER.GAMMA = 0.5  # another training: what was given up does not count
    stop_at.append(-1)
    train(cfg, **arguments)
    assert resume_point.seconds_before(tmp_path / "out") == 0


def test_a_training_whose_folder_was_renamed_begins_anew_and_says_so(
    make_training, tmp_path: Path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(training_hooks, "run_inference", lambda *_: {"segm": {"AP": 1.0}})
    cfg, arguments = make_training
    weights_at_step(3, cfg, arguments)
    (tmp_path / "out").rename(tmp_path / "renamed")
    cfg.OUTPUT_DIR = str(tmp_path / "renamed")
    train(cfg, **arguments)
    assert "in another folder; it begins anew" in caplog.text


@pytest.mark.parametrize("change", ["", "annotations", "images", "an image's file", "of an earlier version"])
def test_a_training_that_goes_on_with_other_annotations_says_so(
    make_training, image_folder, tmp_path: Path, monkeypatch, caplog, change: str
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(training_hooks, "run_inference", lambda *_: {"segm": {"AP": 1.0}})
    cfg, arguments = make_training
    content = json.loads((image_folder / "dataset.json").read_text(encoding="utf-8"))
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    register_dataset("may_change", file, shutil.copytree(image_folder, tmp_path / "images"), CLASSES)
    cfg.DATASETS.TRAIN = ("may_change",)
    weights_at_step(3, cfg, arguments)
    if change == "of an earlier version":
        (point,) = (tmp_path / "out" / "resume").glob("*.pth")
        state = torch.load(point, weights_only=True)
        for key in ("content", "start"):
            del state["trainer"]["hooks"]["ResumePoint"][key]
        torch.save(state, point)
    elif change == "an image's file":
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / content["images"][0]["file_name"])
    elif change:
        content[change].pop()
        left = {one["id"] for one in content["images"]}
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] in left]
        file.write_text(json.dumps(content), encoding="utf-8")
    train(cfg, **arguments)
    assert "Going on with the interrupted training at iteration 2" in caplog.text
    said = f"other images or annotations, and goes on with what is there now; .* delete {tmp_path / 'out' / 'resume'} "
    assert bool(re.search(said, caplog.text)) == (change in ("annotations", "images", "an image's file"))
