"""Judges strategies: runs of active learning on kept features, paired by seed, a line of csv a run and loop.

A strategy is one of active_learning/sampling/strategies.py, chosen from by `choose_images` as in the program, or
BOUND, which knows the ground truth.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.sampling.pool import Pool
from active_learning.sampling.pool_record import PoolRecord
from active_learning.sampling.strategies import STRATEGIES, choose_images
from active_learning.system.files import write_atomically
from active_learning.system.progress import progress
from benchmarks.gains import RANDOM, Run, read_rows
from benchmarks.strategy_lab.average_precision import average_precisions
from benchmarks.strategy_lab.features import Features, load
from benchmarks.strategy_lab.learner import (
    Training,
    forward_passes,
    originals,
    pool_records,
    predict,
    train,
    true_records,
)

BOUND = "bound_rarest"  # class_balanced given the true classes: what rarity alone could gain
CONFIDENCE_THRESHOLD = 0.5  # of detections, for strategies without a sampling threshold of their own
MODE = "mean"


@dataclass(frozen=True)
class Study:
    """What all runs share: `features` is the file of kept features; numbers of images and loops; how many of the rarest
    classes no initial image holds."""

    features: Path
    initial: int
    pool_size: int
    loops: int
    training: Training = field(default_factory=Training)
    absent: int = 0


def judge(study: Study, runs: Sequence[Run], results: Path, jobs: int = 1) -> None:
    """Adds the lines of all runs to `results`, but for those that stand there; each run whole or not at all."""
    header, rows = columns(load(study.features)), read_rows(results)
    done = {(row["strategy"], row["seed"], row["sample"]) for row in rows}
    left = [run for run in runs if (run.strategy, str(run.seed), str(run.sample)) not in done]
    for found in progress(_finished(study, left, jobs), what="judging", unit="run", total=len(left)):
        rows += found
        text = io.StringIO()
        writer = csv.DictWriter(text, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(results, text.getvalue())


def columns(features: Features) -> list[str]:
    """Of the csv."""
    return ["strategy", "seed", "sample", "images", "objects", "seconds", "mAP", *features.classes.tolist()]


Rows = list[dict[str, str]]


def _finished(study: Study, runs: Sequence[Run], jobs: int) -> Iterator[Rows]:
    if jobs == 1:
        yield from (run_one(study, run) for run in runs)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run_one, study, run) for run in runs]):
            yield future.result()


def run_one(study: Study, run: Run) -> Rows:
    """A row a loop; the first is of the initial images alone."""
    torch.set_num_threads(1)
    features, rows = _features(study.features), []
    taken = initial_images(features, study, run.seed)
    for loop in range(study.loops + 1):
        start = time.perf_counter()
        model = _initial_model(study, run.seed) if loop == 0 else train(features, taken, study.training, run.seed)
        rows.append(_row(features, run, model, taken))
        if loop < study.loops:
            taken = [*taken, *_choose(features, study, run, loop, model, taken)]
        rows[-1]["seconds"] = f"{time.perf_counter() - start:.2f}"
    return rows


@lru_cache(maxsize=1)
def _features(path: Path) -> Features:
    return load(path)


@lru_cache(maxsize=2)
def _initial_model(study: Study, seed: int) -> nn.Module:
    """All runs of a seed start from the same images, and so from the same classifier."""
    features = _features(study.features)
    return train(features, initial_images(features, study, seed), study.training, seed)


def initial_images(features: Features, study: Study, seed: int) -> list[int]:
    """Pictures of the pool, at random, without the study's absent classes.

    Raises:
        MaskALError: there are not so many.
    """
    absent = features.rarest[: study.absent]
    without = [picture for picture in features.pool if not features.counts[picture, absent].any()]
    if len(without) < study.initial:
        names = ", ".join(features.classes[absent].tolist())
        raise MaskALError(f"--initial {study.initial}: {len(without)} images of the pool are without {names}; lower it")
    return random.Random(seed).sample(without, study.initial)


def _row(features: Features, run: Run, model: nn.Module, taken: Sequence[int]) -> dict[str, str]:
    rows = originals(features, range(len(features.pool), len(features.names)))
    found = average_precisions(predict(model, features, rows), features.label[rows], features.object[rows])
    scores = {"mAP": np.nanmean(found), **dict(zip(features.classes.tolist(), found, strict=True))}
    return {
        "strategy": run.strategy,
        "seed": str(run.seed),
        "sample": str(run.sample),
        "images": str(len(taken)),
        "objects": str(features.counts[list(taken)].sum()),
        **{name: f"{score:.2f}" for name, score in scores.items()},
    }


def _choose(features: Features, study: Study, run: Run, loop: int, model: nn.Module, taken: Sequence[int]) -> list[int]:
    """The strategy's, and at random what it leaves out because nothing was detected in it."""
    left = sorted(set(features.pool) - set(taken))
    number = {str(features.names[index]): index for index in left}
    strategy = "class_balanced" if run.strategy == BOUND else run.strategy
    records = _records(features, study, run, loop, model, left)
    pool = Pool(
        names=sorted(number),
        records=records,
        mode=MODE,
        count=study.pool_size,
        rng=random.Random(f"{run.seed} {loop} {run.sample}"),
        training_features=features.image_features[list(taken)],
        class_counts=features.counts[list(taken)].sum(axis=0).tolist(),
        loop=loop,
        loops=study.loops,
    )
    chosen = choose_images(strategy, pool).names
    rest = replace(pool, names=sorted(set(number) - set(chosen)), count=study.pool_size - len(chosen))
    return [number[name] for name in (*chosen, *choose_images(RANDOM, rest).names)]


def _records(
    features: Features, study: Study, run: Run, loop: int, model: nn.Module, left: Sequence[int]
) -> Mapping[str, PoolRecord]:
    if run.strategy == BOUND:
        return true_records(features, left)
    strategy = STRATEGIES[run.strategy]
    if not strategy.needs_forward_passes:
        return {}
    threshold = CONFIDENCE_THRESHOLD if strategy.sampling_threshold is None else strategy.sampling_threshold
    found = forward_passes(model, features, originals(features, left), study.training.passes, 1000 * run.seed + loop)
    return pool_records(features, left, found, threshold, MODE)
