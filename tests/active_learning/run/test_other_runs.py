"""Runs beside those that are started."""

from __future__ import annotations

import logging
import math
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.network.network_file import network_values, read_network_file
from active_learning.run.check import describe_run
from active_learning.run.checks import check_start
from active_learning.run.other_runs import initial_model_trained_otherwise, unfinished_runs_left
from active_learning.run.output_files import output_files, write_train_files
from active_learning.run.own_folders import claim
from active_learning.run.project import Project
from active_learning.run.state import LoopScores, RunState
from active_learning.run.weights import duplicated_initial_model
from active_learning.settings import Settings
from active_learning.settings.changes import recorded


def changed(settings: Settings, changes: dict) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


def begin(settings: Settings, phase: str = "annotate") -> None:
    """The run of each experiment, before its first training."""
    for experiment in settings.experiments():
        files = output_files(settings, experiment)
        claim(files)
        images = [f"0{number}.png" for number in range(4)]
        state = RunState(["a", "b"], 0, phase, images, settings=recorded(settings), experiment=experiment.recorded())
        state.save(files.state)


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        ({}, {"strategy": ["random", "entropy"]}, {"uncertainty": "strategy: uncertainty -> [random, entropy]"}),
        ({}, {"strategy": "random"}, {"uncertainty": "strategy: uncertainty -> random"}),
        ({}, {"strategy": ["random", "uncertainty"]}, {}),
        ({}, {"seed": [0, 1]}, {"uncertainty": "seed: 0 -> [0, 1]"}),
        ({"seed": [0, 1]}, {"seed": [1, 2]}, {"uncertainty_seed0": "seed: [0, 1] -> [1, 2]"}),
        ({"seed": [3]}, {"seed": 3}, {"uncertainty_seed3": "seed: [3] -> 3"}),
        (
            {"strategy": ["random", "random"], "pool_size": [3, 4]},
            {"strategy": ["random", "random"], "pool_size": [3, 5]},
            {"random_mean_0.25_10_4": "pool_size: [3, 4] -> [3, 5]"},
        ),
        ({}, {"mode": "max"}, {}),  # the run goes on with it
        ({}, {"experiment_name": "other", "strategy": "random"}, {}),
    ],
)
def test_a_run_that_is_asked_for_no_more_is_named(settings: Settings, before: dict, now: dict, left: dict[str, str]):
    settings = changed(settings, before)
    begin(settings)
    found = {finding.text for finding in unfinished_runs_left(Project(changed(settings, now)))}
    runs = settings.resultsroot / "exp1"
    assert found == {
        f"{runs / name}: this run is not finished (loop 0, phase annotate), and the settings do not ask for it "
        f"({edit}): it is left as it is. With its former settings it goes on"
        for name, edit in left.items()
    }


@pytest.mark.parametrize(("phase", "fresh"), [("finished", False), ("annotate", True)])
def test_nothing_is_left_of_a_finished_run_or_by_a_fresh_start(settings: Settings, phase: str, fresh: bool):
    begin(settings, phase)
    assert not list(unfinished_runs_left(Project(changed(settings, {"strategy": "random"}), fresh)))


def test_another_run_whose_state_is_damaged_is_passed_over(settings: Settings):
    begin(settings)
    output_files(settings, settings.experiments()[0]).state.write_text("{", encoding="utf-8")
    assert not list(unfinished_runs_left(Project(changed(settings, {"strategy": "random"}))))


def test_the_start_and_the_check_say_so(settings: Settings, caplog: pytest.LogCaptureFixture):
    begin(settings)
    now = changed(settings, {"strategy": ["random", "entropy"]})
    words = "and the settings do not ask for it (strategy: uncertainty -> [random, entropy])"
    assert words in describe_run(now)
    with caplog.at_level(logging.WARNING):
        check_start(now)
    assert caplog.text.count(words) == 1


NETWORK = "MODEL: {MASK_ON: true, RESNETS: {DEPTH: 50}}\n"


@pytest.fixture
def duplicate(settings: Settings) -> Settings:
    """Of a run that takes the initial model of another one, which has trained it."""
    network = settings.traindir.parent / "network.yaml"
    network.write_text(NETWORK, encoding="utf-8")
    earlier = changed(settings, {"network_config": str(network)})
    files = output_files(earlier, earlier.experiments()[0])
    claim(files)
    scores = LoopScores(1, 1.0, {"a": 1.0, "b": math.nan}, 1.0, {"a": 1.0, "b": math.nan}, 1.0)
    state = RunState(["a", "b"], 0, "choose", ["00.png"], history=[scores], settings=recorded(earlier))
    state.network = network_values(read_network_file(str(network)))
    state.save(files.state)
    files.best_model(0).touch()
    write_train_files(files.train_files(0), ["00.png"], {}, None)
    start = {"duplicate_initial_model_and_data": True, "initial_train_file": files.train_files(0)}
    return changed(earlier, {**start, "experiment_name": "exp2"})


@pytest.mark.parametrize(
    ("changes", "network", "words"),
    [
        ({}, NETWORK, ""),
        ({"strategy": "random", "pool_size": 1, "confidence_threshold": 0.4}, NETWORK, ""),
        ({"classes": ["b", "a"]}, NETWORK, "refused: classes: [a, b] -> [b, a]"),
        ({"classes": ["a", "c"]}, NETWORK, "refused: classes: [a, b] -> [a, c]"),
        ({"network_config": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"}, NETWORK, "refused: network_conf"),
        ({}, NETWORK.replace("50", "101"), "refused: network_config: MODEL.RESNETS.DEPTH: its default -> 101"),
        ({"learning_rate": 0.5, "mode": "max"}, NETWORK, "warned: learning_rate: 0.01 -> 0.5;"),
        ({"dropout_probability": [0.25, 0.5], "strategy": ["random", "bald"]}, NETWORK, "warned: dropout_prob"),
        ({}, NETWORK + "TEST: {DETECTIONS_PER_IMAGE: 9}\n", ""),
        ({}, NETWORK + "SOLVER: {MOMENTUM: 0.8}\n", "warned: network_config: SOLVER.MOMENTUM: its default -> 0.8;"),
    ],
)
def test_an_initial_model_is_of_the_network_and_the_classes(duplicate, changes: dict, network: str, words: str):
    Path(duplicate.network_config).write_text(network, encoding="utf-8")
    settings = changed(duplicate, changes)
    warned = [
        f"warned: {one.text.partition('this one: ')[2]}" for one in initial_model_trained_otherwise(Project(settings))
    ]
    if words.startswith("refused"):
        with pytest.raises(MaskALError, match=re.escape(words.partition(": ")[2])):
            duplicated_initial_model(settings)
        assert not warned
        return
    assert duplicated_initial_model(settings).name == "best_model_000.pth"
    assert [text[: len(words)] for text in warned] == [words] * bool(words)


@pytest.mark.parametrize(
    ("edit", "words"), [("", ""), ("# copied\n", ""), ("INPUT: {FORMAT: RGB}\n", "network_config: ")]
)
def test_a_copy_of_the_network_file_is_the_same_network(duplicate: Settings, tmp_path: Path, edit: str, words: str):
    copy = tmp_path / "copy of network.yaml"
    copy.write_text(NETWORK + edit, encoding="utf-8")
    settings = changed(duplicate, {"network_config": str(copy)})
    with pytest.raises(MaskALError, match=words) if words else nullcontext():
        assert duplicated_initial_model(settings).name == "best_model_000.pth"


def test_settings_are_compared_until_the_initial_model_is_taken(duplicate: Settings):
    settings = changed(duplicate, {"learning_rate": 0.5})
    begin(settings)
    assert len(list(initial_model_trained_otherwise(Project(settings)))) == 1
    state = RunState.load(output_files(settings, settings.experiments()[0]).state)
    state.phase = "choose"
    state.history = RunState.load(duplicate.initial_train_file.with_name("run_state.json")).history
    state.save(output_files(settings, settings.experiments()[0]).state)
    assert not list(initial_model_trained_otherwise(Project(settings)))
