"""The study of savings in small form: its runs are made up in milliseconds, all else is real."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from active_learning.errors import MaskALError
from active_learning.run.state import LoopScores, RunState
from benchmarks import savings, savings_runs
from benchmarks.gains import RANDOM_SAMPLES, read_rows
from benchmarks.savings_data import Data, annotated_objects, complete_weights, start_images
from benchmarks.savings_probe import probe
from benchmarks.savings_report import networks_kept, whole_runs, write_report
from benchmarks.savings_runs import OTHERS, PRIMARY, Results, Run, Study, run_one, runs_of_seed, study_runs
from tests.benchmarks.annotated import annotated_image

CLASSES = ("common", "rare")
COLUMNS = ["strategy", "seed", "sample", "loop", "images", *savings.SCORE_COLUMNS, *CLASSES, "seconds", "status"]
STRATEGIES = ("random", "balanced_uncertainty")
SEEDS = 3
GAIN = 5.0  # of balanced_uncertainty at each budget after the first


class Program:
    """Stands in for maskAL.py: writes what a run of these settings writes. `codes` are those of its first calls."""

    def __init__(self, codes: tuple[int, ...] = ()) -> None:
        self.codes, self.runs = list(codes), list[str]()

    def __call__(self, config: Path) -> int:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        self.runs.append(settings["experiment_name"])
        if code := self.codes.pop(0) if self.codes else 0:
            return code
        run = Path(settings["experiment_name"]) / settings["strategy"]
        results, weights = Path(settings["resultsroot"]) / run, Path(settings["weightsroot"]) / run
        (weights / "training000").mkdir(parents=True, exist_ok=True)
        (weights / "model_final.pth").write_text("weights")
        losses = [{"total_loss": 8 / (1 + step), "loss_cls": 4 / (1 + step)} for step in range(8)]
        (weights / "training000" / "metrics.json").write_text("\n".join(map(json.dumps, losses)))
        results.mkdir(parents=True, exist_ok=True)
        (results / "trainfiles_iteration000.txt").write_text("0.jpg, NaN\n")
        sizes = np.cumsum([settings["initial_datasize"], *settings["pool_size"][: sum(settings["loops"])]])
        history = [scores(settings, loop, int(size)) for loop, size in enumerate(sizes)]
        RunState(classes=list(CLASSES), phase="finished", history=history).save(results / "run_state.json")
        return 0


def scores(settings: dict[str, Any], loop: int, size: int) -> LoopScores:
    value = 2.0 * size + random.Random(f"{settings['seed']} {loop}").random()
    value += GAIN if settings["strategy"] == "balanced_uncertainty" and loop else 0
    per_class = {"common": value + 5, "rare": value - 5}
    return LoopScores(size, value, per_class, value, per_class, minutes=0.5, objects={"common": 2 * size, "rare": 1})


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Program]:
    def use(*codes: int) -> Program:
        program = Program(codes)
        monkeypatch.setattr(savings_runs, "run_program", program)
        return program

    return use


@pytest.fixture
def study(tmp_path: Path) -> Study:
    data = Data("made_up", tmp_path / "out" / "datasets", CLASSES)
    for split in ("train", "val", "test"):
        annotated_image(data.folder / split / "0.jpg", "common", "common", "rare")
    return Study(data, tmp_path / "out", 4, (2, 3), {"train_iterations_base": 1, "image_max_size": 32})


def results_of(study: Study) -> Results:
    return Results(study.out.parent / "savings_made_up.csv", COLUMNS)


@pytest.mark.parametrize("samples", [RANDOM_SAMPLES, 1])
def test_a_study_that_is_done_has_a_line_a_run_and_loop_and_a_table(
    study: Study, use: Callable[..., Program], samples: int
) -> None:
    study = replace(study, random_samples=samples)
    program, results = use(), results_of(study)
    study_runs(study, STRATEGIES, SEEDS, results, jobs=2)
    rows = read_rows(results.path)
    assert len(program.runs) == len(set(program.runs)) == SEEDS * (1 + samples + 1)
    assert len(rows) == SEEDS * (samples + 1) * len(study.budgets)
    assert {row["status"] for row in rows} == {"done"}
    assert Counter(row["images"] for row in rows) == {str(size): SEEDS * (samples + 1) for size in study.budgets}

    text = write_report(study, results.path)
    (line,) = [line for line in text.splitlines() if line.startswith("| balanced_uncertainty |    ")]
    assert "Rarest: rare and common" in text
    assert line.split("|")[2].strip() == str(SEEDS)
    assert float(line.split("|")[3].split()[0]) == pytest.approx(GAIN, abs=0.6)
    figure = results.path.with_suffix(".svg").read_text(encoding="utf-8")
    assert figure.startswith("<svg xmlns")
    assert "var(" not in figure  # drawing programs would leave it out


def test_samples_of_random_differ_in_their_seed_and_start_from_the_same_images(
    study: Study, use: Callable[..., Program]
) -> None:
    use()
    study_runs(study, STRATEGIES, 1, results_of(study), jobs=1)
    written = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (study.out / "settings").glob("*_0_*.yaml")]
    written += [yaml.safe_load(path.read_text()) for path in (study.out / "settings").glob("*_seed0_*.yaml")]
    assert sorted(one["seed"] for one in written if one["strategy"] == "random") == [0, 1000, 2000]
    assert {one["seed"] for one in written if one["strategy"] != "random"} == {0}
    (images,) = {one["initial_train_file"] for one in written}
    assert Path(images).exists()
    assert all(one["duplicate_initial_model_and_data"] for one in written)
    kept = sorted(path.name for path in (study.out / "weights").rglob("*") if path.is_file())
    assert kept == ["best_model_000.pth"], "weights of runs that are done take gigabytes"


def test_a_study_that_was_stopped_goes_on_where_it_was(study: Study, use: Callable[..., Program]) -> None:
    stopped, results = use(0, 0, 130), results_of(study)
    with pytest.raises(SystemExit):
        study_runs(study, STRATEGIES, SEEDS, results, jobs=1)
    assert len(read_rows(results.path)) == len(study.budgets), "of the run that ended before"
    went_on = use()
    study_runs(study, STRATEGIES, SEEDS, results, jobs=1)
    assert went_on.runs[0] == stopped.runs[2] == "random_seed0_1"
    assert stopped.runs[:2] == ["initial_seed0", "random_seed0_0"]
    assert not set(went_on.runs) & set(stopped.runs[:2])
    study_runs(study, STRATEGIES, SEEDS, results, jobs=1)
    assert len(went_on.runs) == SEEDS * 5 - 2, "a study that is done does nothing"


def test_a_run_that_failed_has_a_line_and_is_tried_again(study: Study, use: Callable[..., Program]) -> None:
    use(0, 0, 0, 0, 1), (results := results_of(study))
    study_runs(study, STRATEGIES, 2, results, jobs=1)
    failed = [row for row in read_rows(results.path) if row["status"] != "done"]
    assert [(row["strategy"], row["seed"], row["status"]) for row in failed] == [
        ("balanced_uncertainty", "0", "failed: exit code 1")
    ]
    assert "balanced_uncertainty, seed 0, sample 0: failed: exit code 1." in write_report(study, results.path)
    again = use()
    study_runs(study, STRATEGIES, 2, results, jobs=1)
    assert again.runs == ["balanced_uncertainty_seed0_0"]
    assert len(whole_runs(read_rows(results.path), study.budgets)[0]) == 2 * 4 * len(study.budgets)


def test_without_its_initial_model_a_seed_is_left_out(study: Study, use: Callable[..., Program]) -> None:
    program, results = use(1), results_of(study)
    study_runs(study, STRATEGIES, 2, results, jobs=1)
    assert program.runs[:2] == ["initial_seed0", "initial_seed1"]
    first, *others = read_rows(results.path)
    assert (first["strategy"], first["status"]) == ("initial", "failed: no initial model")
    assert {row["seed"] for row in others} == {"1"}
    assert write_report(study, results.path)


def test_a_run_that_ended_early_is_named_and_left_out(study: Study, use: Callable[..., Program]) -> None:
    use()
    rows = [
        {name: str(value) for name, value in row.items()}
        for row in run_one(study, Run("random", 0), Path("images.txt"))
    ]
    whole, notes = whole_runs(rows[:-1], study.budgets)
    assert (whole, notes) == ([], ["random, seed 0, sample 0: left out, has not every budget."])
    failed = {**rows[0], "status": "failed: exit code 1"}
    note = "random, seed 0, sample 0: failed: exit code 1"
    assert whole_runs([failed], study.budgets) == ([], [f"{note}."])
    assert whole_runs([failed, *rows], study.budgets) == (rows, [f"{note}; tried again."])


def test_further_strategies_have_fewer_seeds() -> None:
    strategies = ("random", *PRIMARY, *OTHERS)
    assert len(runs_of_seed(4, strategies)) == RANDOM_SAMPLES + len(PRIMARY) + len(OTHERS)
    assert {run.strategy for run in runs_of_seed(5, strategies)} == {"random", *PRIMARY}


def test_a_csv_of_other_columns_is_not_added_to(study: Study) -> None:
    results_of(study)
    with pytest.raises(MaskALError, match="has other columns than "):
        Results(study.out.parent / "savings_made_up.csv", [*COLUMNS[:-2], "status", "seconds"])


def test_seconds_are_those_of_all_starts(study: Study, use: Callable[..., Program], monkeypatch) -> None:
    clock = iter([0.0, 100.0, 200.0, 250.0])
    monkeypatch.setattr(savings_runs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    use(130)
    with pytest.raises(SystemExit):
        run_one(study, Run("random", 0), Path("images.txt"))
    use()
    assert run_one(study, Run("random", 0), Path("images.txt"))[-1]["seconds"] == "150.0"
    assert not list((study.out / "settings").glob("*.seconds"))


def test_the_probe_has_a_line_a_training_and_goes_on(study: Study, use: Callable[..., Program], tmp_path: Path) -> None:
    use(0, 1, 0, 130)
    path = tmp_path / "savings_probe.csv"
    with pytest.raises(SystemExit):
        probe(study, path, [4, 9], [1, 2], range(1), {})
    assert [row["status"] for row in read_rows(path)] == ["done", "failed: exit code 1", "done"]
    went_on = use()
    probe(study, path, [4, 9], [1, 2], range(1), {})
    assert went_on.runs[0].startswith("probe_4_") and len(went_on.runs) == 2
    done = (row for row in read_rows(path) if row["status"] == "done")
    rows = sorted(done, key=lambda row: (row["images"], row["iterations"]))
    assert [(row["images"], row["iterations"]) for row in rows] == [("4", "1"), ("4", "2"), ("9", "1"), ("9", "2")]
    assert float(rows[0]["loss_third_quarter"]) > float(rows[0]["loss_last_quarter"])
    assert all("random" in str(path) for path in (study.out / "results").glob("*/*"))
    larger = replace(study, settings={**study.settings, "image_max_size": 64})
    probe(larger, path, [4], [1], range(1), {})
    probe(study, path, [4], [1], range(1), {"learning_rate": 0.05, "train_batch_size": 2})
    assert [row["image_size"] for row in read_rows(path)] == ["32"] * 5 + ["64", "32"]
    assert [row["settings"] for row in read_rows(path)] == [""] * 6 + ["learning_rate=0.05 train_batch_size=2"]


@pytest.mark.parametrize(
    ("pool", "budgets"),
    [
        (129, [7, 11, 15, 20, 26, 32]),
        (900, [49, 76, 104, 140, 180, 225]),
        (10, [1, 2, 3, 4, 5, 6]),
        (6, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_budgets_are_shares_of_the_photographs(tmp_path: Path, pool: int, budgets: list[int]) -> None:
    (tmp_path / "train").mkdir()
    for number in range(pool):
        (tmp_path / "train" / f"{number}.jpg").touch()
    assert savings.photograph_budgets(Data("photos", tmp_path, CLASSES)) == budgets


def test_too_few_photographs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.jpg").touch()
    with pytest.raises(MaskALError, match="1 images; the study needs 6"):
        savings.photograph_budgets(Data("photos", tmp_path, CLASSES))


@pytest.mark.parametrize(("small", "budgets"), [(False, [30, 45, 70, 110, 170, 250]), (True, [30, 110, 250])])
def test_the_small_form_trains_at_some_of_the_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool, budgets: list[int]
) -> None:
    monkeypatch.setattr(savings, "drawn", lambda *_: Data("demo_mild", tmp_path, CLASSES))
    monkeypatch.setattr(savings, "_write_start", lambda *_: None)
    study = savings.prepare("demo_mild", tmp_path, None, "cpu", small=small)
    assert [*study.budgets] == budgets and study.random_samples == (1 if small else 3)


def test_the_network_to_start_from_knows_one_class(tmp_path: Path) -> None:
    data = start_images(tmp_path, {"train": 3, "val": 1, "test": 1})
    assert set(annotated_objects(data, "train")) == {"head"}


def test_weights_of_a_backbone_are_completed(study: Study) -> None:
    name, network = "backbone.bottom_up.stem.conv1.weight", Path(savings.NETWORKS) / "savings_network_resnet18.yaml"
    given = study.out / "backbone.pth"
    torch.save({"model": {name: torch.full((64, 3, 7, 7), 0.5)}}, given)
    config = savings_runs.write_settings(study, "start", network_config=str(network), strategy="random")
    whole = [torch.load(complete_weights(given, config, study.out / f"{copy}.pth"))["model"] for copy in range(2)]
    assert (whole[0][name] == 0.5).all()
    assert len(whole[0]) > 100
    assert all(torch.equal(value, whole[1][key]) for key, value in whole[0].items())


def test_scores_of_an_earlier_loops_network_are_counted(study: Study, use: Callable[..., Program]) -> None:
    use()
    results = results_of(study)
    study_runs(study, STRATEGIES, 2, results, jobs=1)
    rows = [dict(row) for row in whole_runs(read_rows(results.path), study.budgets)[0]]
    assert "random 0 of 6" in networks_kept(rows, study)
    last = next(index for index, row in enumerate(rows) if int(row["images"]) == study.budgets[-1])
    for name in ("mAP", "mAP_at_0.5", *CLASSES):
        rows[last][name] = rows[last - 1][name]
    text = networks_kept(rows, study)
    assert f"{rows[last]['strategy']} 1 of" in text and str(study.budgets[-1]) in text
