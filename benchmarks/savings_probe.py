"""How long must a training be, how large its images? Trainings on random images, of several budgets and lengths."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from active_learning.run.state import RunState
from benchmarks.gains import RANDOM, read_rows
from benchmarks.savings_data import keep_only
from benchmarks.savings_runs import DONE, SCORE_COLUMNS, Results, Study, run_or_stop, score_columns, write_settings

SEED = 9000  # and the next: no run of the study has them
LOSSES = ("loss_third_quarter", "loss_last_quarter", "class_loss_third_quarter", "class_loss_last_quarter")


def probe(
    study: Study,
    path: Path,
    images: Sequence[int],
    iterations: Sequence[int],
    seeds: Sequence[int],
    changes: Mapping[str, object],
) -> None:
    """Adds a line a training, but for those that stand there: of each number of images for each of iterations.

    `changes` are settings that differ from the study's.
    """
    columns = [
        "data",
        "images",
        "seed",
        "iterations",
        "image_size",
        "settings",
        *SCORE_COLUMNS,
        *study.data.classes,
        *LOSSES,
        "seconds",
        "status",
    ]
    results = Results(path, columns)
    done = {tuple(row[name] for name in columns[:6]) for row in read_rows(path) if row["status"] == DONE}
    study = replace(study, settings={**study.settings, **changes})
    settings = {"image_size": study.settings["image_max_size"], "settings": _words(changes)}
    for seed, budget, count in itertools.product(seeds, images, iterations):
        key = {"data": study.data.name, "images": budget, "seed": seed, "iterations": count, **settings}
        if tuple(map(str, key.values())) not in done:
            results.add([{**key, **_train(study, budget, seed, count, settings["settings"])}])


def _words(changes: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(changes.items()))


def _train(study: Study, images: int, seed: int, iterations: int, changes: str) -> dict[str, object]:
    size = study.settings["image_max_size"]
    name = "_".join(["probe", str(images), f"seed{SEED + seed}", str(iterations), str(size), *changes.split()])
    once = replace(study, initial=images, settings={**study.settings, "train_iterations_base": iterations})
    start = time.monotonic()
    code = run_or_stop(write_settings(once, name, strategy=RANDOM, seed=SEED + seed, pool_size=[1], loops=[0]))
    if code:
        return {"status": f"failed: exit code {code}"}
    seconds = {"seconds": f"{time.monotonic() - start:.1f}"}
    run = Path(name) / RANDOM
    (scores,) = RunState.load(study.out / "results" / run / "run_state.json").history
    losses = _losses(study.out / "weights" / run / "training000" / "metrics.json")
    keep_only(study.out / "weights" / run)
    return {**score_columns(study, scores), **losses, **seconds}


def _losses(metrics: Path) -> dict[str, object]:
    """Means of the loss, and of the part of the classes, in the third and the last quarter of a training; none where
    it was too short for that."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    found: list[str] = []
    for key in ("total_loss", "loss_cls"):
        losses = [line[key] for line in lines if key in line]
        quarter = max(1, len(losses) // 4)
        parts = (losses[-2 * quarter : -quarter], losses[-quarter:])
        found += [f"{np.mean(part):.4f}" if part else "" for part in parts]
    return dict(zip(LOSSES, found, strict=True))
