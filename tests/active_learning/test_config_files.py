"""The settings files that are there to be copied: right, and commented line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from active_learning.network.network_config import network_config
from active_learning.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "active_learning" / "config"
FILES = sorted(FOLDER.glob("*.yaml"))


def load(name: str) -> Settings:
    return load_settings(FOLDER / f"{name}.yaml")


def test_the_files_are_found():
    assert {"comparison", "cpu", "one_class", "small_gpu"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", [*FILES, ROOT / "demo" / "demo.yaml"], ids=lambda file: file.stem)
def test_each_file_is_a_network_that_can_be_built(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    settings = load_settings(file)
    for experiment in settings.experiments():
        cfg = network_config(settings, experiment)
        assert len(settings.classes) == cfg.MODEL.ROI_HEADS.NUM_CLASSES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_says_what_it_is_for_and_what_each_line_does(file: Path):
    head, *_ = file.read_text(encoding="utf-8").split("\n\n")
    assert f"python maskAL.py --config active_learning/config/{file.name}" in head
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if re.match(r"\w", line)]
    assert [line for line in lines if not re.search(r"  # \w", line)] == []
    assert {re.match(r"\w+", line)[0] for line in lines if "# EDIT THIS" in line} == {
        "classes", "traindir", "valdir", "testdir",
    }  # fmt: skip


def test_comparison_runs_strategies_and_seeds():
    names = [experiment.name for experiment in load("comparison").experiments()]
    assert names == [f"{strategy}_seed{seed}" for seed in (0, 1, 2) for strategy in ("uncertainty", "random")]


def test_one_class_has_one():
    assert len(load("one_class").classes) == 1


def test_small_gpu_has_smaller_images_than_the_network_would():
    small, plain = load("small_gpu"), Settings(classes=["a"], network_config=load("small_gpu").network_config)
    (experiment,) = small.experiments()
    assert network_config(small, experiment).INPUT.MAX_SIZE_TEST < network_config(plain, experiment).INPUT.MAX_SIZE_TEST
    assert small.precision == "amp"


def test_cpu_needs_no_gpu():
    (experiment,) = load("cpu").experiments()
    assert network_config(load("cpu"), experiment).MODEL.DEVICE == "cpu"
