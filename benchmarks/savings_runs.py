"""The runs of the study of savings: settings, the program that does them, and the csv that they are written to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from active_learning.errors import MaskALError
from active_learning.run.state import LoopScores, RunState
from active_learning.system.files import copy_atomically, csv_text, write_atomically
from benchmarks.gains import RANDOM, RANDOM_SAMPLES, Run, read_rows, runs_of
from benchmarks.savings_data import ROOT, Data, keep_only

PRIMARY = ("uncertainty", "balanced_uncertainty")  # with random on SEEDS, the others on FEWER_SEEDS
OTHERS = ("random_stratified", "entropy", "class_balanced", "class_stratified")
SEEDS, FEWER_SEEDS = 10, 5
SAMPLE_SEEDS = 1000  # the seed of a further sample of random is that of the first, plus so much a sample
INITIAL = "initial"  # the run without a loop that trains the initial model of a seed
INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)
DONE = "done"

SETTINGS: dict[str, Any] = {
    "num_workers": 0,
    "precision": "fp32",
    "learning_rate": 0.02,
    "warmup_iterations": 20,
    "step_ratios": [0.8],
    "eval_period": 1_000_000,  # at the end of a training only
    "train_batch_size": 4,
    "transfer_learning_on_previous_models": False,
    "unknown_labels": "skip",
    "mode": "mean",
    "dropout_probability": 0.25,
    "mcd_iterations": 10,
    "confidence_threshold": 0.5,
    "equal_pool_size": False,
}


@dataclass(frozen=True)
class Study:
    """What all runs share: `pool_sizes` are the images that each loop adds to the `initial` ones."""

    data: Data
    out: Path
    initial: int
    pool_sizes: tuple[int, ...]
    settings: Mapping[str, Any]
    random_samples: int = RANDOM_SAMPLES

    @property
    def budgets(self) -> list[int]:
        """Images of each training."""
        return [self.initial + sum(self.pool_sizes[:loop]) for loop in range(len(self.pool_sizes) + 1)]


def write_settings(study: Study, name: str, **changes: object) -> Path:
    """Settings of one run. Each has its own dataroot, so that runs can go on side by side."""
    values = {
        **SETTINGS,
        **study.settings,
        "weightsroot": str(study.out / "weights"),
        "resultsroot": str(study.out / "results"),
        "dataroot": str(study.out / "lists" / name),
        **{f"{split}dir": str(study.data.folder / split) for split in ("train", "val", "test")},
        "classes": list(study.data.classes),
        "initial_datasize": study.initial,
        "experiment_name": name,
        **changes,
    }
    path = study.out / "settings" / f"{name}.yaml"
    write_atomically(path, yaml.safe_dump(values, sort_keys=False))
    return path


def run_program(config: Path) -> int:
    """Exit code of the run; what it prints goes into a file beside its settings."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with config.with_suffix(".log").open("a", encoding="utf-8") as log:
        call = [sys.executable, str(ROOT / "maskAL.py"), "--config", str(config)]
        return subprocess.run(call, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


def run_or_stop(config: Path) -> int:
    """As `run_program`; an interruption ends the study, which goes on with the same command."""
    if (code := run_program(config)) in INTERRUPTED:
        raise SystemExit(INTERRUPTED[0])
    return code


def initial_model(study: Study, seed: int) -> Path | None:
    """Trains what all runs of a seed start from, or finds it: the list of its images, beside which its model is found.

    None where that failed.
    """
    name = f"{INITIAL}_seed{seed}"
    images = study.out / "results" / name / RANDOM / "trainfiles_iteration000.txt"
    weights = study.out / "weights" / name / RANDOM
    best, final = weights / "best_model_000.pth", weights / "model_final.pth"
    if not (best.exists() and RunState.load(images.with_name("run_state.json")).phase == "finished"):
        if run_or_stop(write_settings(study, name, strategy=RANDOM, seed=seed, pool_size=[1], loops=[0])):
            return None
        if not best.exists():  # no validation image got an AP
            copy_atomically(final, best)
    keep_only(weights, best)
    return images


def run_one(study: Study, run: Run, images: Path) -> list[dict[str, object]]:
    """Lines of the csv: one a loop; where the run failed at least one, and all say so."""
    name = f"{run.strategy}_seed{run.seed}_{run.sample}"
    config = write_settings(
        study,
        name,
        strategy=run.strategy,
        seed=run.seed + SAMPLE_SEEDS * run.sample,
        pool_size=list(study.pool_sizes),
        loops=[1] * len(study.pool_sizes),
        duplicate_initial_model_and_data=True,
        initial_train_file=str(images),
    )
    code, seconds = _timed(config)
    state = study.out / "results" / name / run.strategy / "run_state.json"
    history = RunState.load(state).history if state.exists() else []
    rows = [{"loop": loop, "images": one.train_size, **score_columns(study, one)} for loop, one in enumerate(history)]
    if code:
        rows = [{**row, "status": f"failed: exit code {code}"} for row in rows or [{}]]
    else:
        keep_only(study.out / "weights" / name / run.strategy)
    rows[-1]["seconds"] = f"{seconds:.1f}"
    return [{**_run_columns(run), "seconds": 0, **row} for row in rows]


def _timed(config: Path) -> tuple[int, float]:
    """Exit code of the run, and its seconds, with those of its starts that were interrupted."""
    record = config.with_suffix(".seconds")
    start = time.monotonic() - (float(record.read_text(encoding="utf-8")) if record.exists() else 0.0)
    try:
        code = run_or_stop(config)
    except SystemExit:
        write_atomically(record, str(time.monotonic() - start))
        raise
    record.unlink(missing_ok=True)
    return code, time.monotonic() - start


def _run_columns(run: Run) -> dict[str, object]:
    return {"strategy": run.strategy, "seed": run.seed, "sample": run.sample}


def score_columns(study: Study, scores: LoopScores) -> dict[str, object]:
    """mAP and AP of each class at threshold 0.05, as COCO results are given; mAP at the settings' threshold."""
    return {
        "objects": sum(scores.objects.values()),
        "training_seconds": f"{60 * scores.minutes:.1f}",
        "mAP": f"{scores.standard_mask_ap:.2f}",
        "mAP_at_0.5": f"{scores.mask_ap:.2f}",
        **{name: f"{scores.standard_per_class[name]:.2f}" for name in study.data.classes},
        "status": DONE,
    }


SCORE_COLUMNS = ("objects", "training_seconds", "mAP", "mAP_at_0.5")


class Results:
    """A csv that grows by the lines of a run at a time."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns, self._lock = path, columns, threading.Lock()
        if not path.exists():
            write_atomically(path, csv_text([columns]))
        if path.read_text(encoding="utf-8").partition("\n")[0] != csv_text([columns]).strip():
            raise MaskALError(f"{path}: has other columns than {', '.join(columns)}; move it away")

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """In one piece: a run is in the file whole or not at all."""
        text = csv_text([row.get(name, "") for name in self.columns] for row in rows)
        with self._lock, self.path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(text)


def runs_of_seed(seed: int, strategies: Sequence[str], random_samples: int = RANDOM_SAMPLES) -> list[Run]:
    """Random's first; the further strategies on the first seeds only."""
    wanted = [name for name in strategies if seed < FEWER_SEEDS or name in (RANDOM, *PRIMARY)]
    return runs_of(wanted, [seed], random_samples)


def study_runs(study: Study, strategies: Sequence[str], seeds: int, results: Results, jobs: int) -> None:
    """All runs that are not in the results as done, seed after seed; one that failed is tried again.

    `jobs` of them go on side by side, those of one seed, too, so that few seeds are in pieces when a study is stopped.
    """
    rows = [row for row in read_rows(results.path) if row["status"] == DONE]
    done = {Run(row["strategy"], int(row["seed"]), int(row["sample"])) for row in rows}
    stopped = threading.Event()

    def unless_stopped(work: Callable[..., Path | None], *arguments: Any) -> Path | None:
        try:
            return None if stopped.is_set() else work(*arguments)
        except BaseException:
            stopped.set()
            raise

    def initial(seed: int) -> Path | None:
        images = initial_model(study, seed)
        if images is None:
            results.add([{**_run_columns(Run(INITIAL, seed)), "status": "failed: no initial model"}])
        return images

    def after(images: Future[Path | None], run: Run) -> None:
        if (found := images.result()) and not stopped.is_set():
            results.add(run_one(study, run, found))

    futures: list[Future[Path | None]] = []
    with ThreadPoolExecutor(jobs) as pool:
        for seed in range(seeds):
            if left := [run for run in runs_of_seed(seed, strategies, study.random_samples) if run not in done]:
                images = pool.submit(unless_stopped, initial, seed)  # begun before what waits for it: no deadlock
                futures += [images, *(pool.submit(unless_stopped, after, images, run) for run in left)]
    for future in futures:
        future.result()
