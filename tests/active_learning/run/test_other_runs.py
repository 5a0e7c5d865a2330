"""Runs beside those that are started."""

from __future__ import annotations

import logging

import pytest

from active_learning.run.check import describe_run
from active_learning.run.checks import check_start
from active_learning.run.other_runs import unfinished_runs_left
from active_learning.run.output_files import output_files
from active_learning.run.own_folders import claim
from active_learning.run.project import Project
from active_learning.run.state import RunState
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
