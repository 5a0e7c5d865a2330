"""Judge strategies in the laboratory: `python -m benchmarks.strategy_lab [--strategies NAME ...]`; see README.md."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from active_learning.errors import MaskALError
from active_learning.sampling.strategies import STRATEGIES
from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import write_atomically
from benchmarks.gains import RANDOM, read_pairs, read_rows, runs_of, table
from benchmarks.strategy_lab.features import Features, kept_features, load
from benchmarks.strategy_lab.judge import BOUND, Study, judge
from benchmarks.strategy_lab.learner import Training
from benchmarks.strategy_lab.pictures import DRAWN_SHARES, drawn, folder_of_images

NAMES = [*(name for name in STRATEGIES if name != RANDOM), BOUND]


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    study = _study(given)
    features, seeds = load(study.features), given.seeds or (20 if given.data else 10)
    results = given.out / f"runs_{_key(study)}.csv"
    judge(study, runs_of(given.strategies, range(seeds)), results, given.jobs)
    text = report(study, features, results, given.strategies, seeds)
    write_atomically(results.with_suffix(".md"), text)
    print(f"{text}\nWritten to {results} and {results.with_suffix('.md').name}")


def _study(given: argparse.Namespace) -> Study:
    if given.data:
        source, usual = folder_of_images(given.data, given.data_seed), 10
    else:
        source, usual = drawn(given.images, given.test, given.data_seed, given.class_shares), 40
    initial, pool_size = given.initial or usual, given.pool_size or usual
    if (wanted := initial + given.loops * pool_size) > len(source.pool):
        sizes = f"--initial {initial} and --loops {given.loops} of --pool-size {pool_size} take {wanted} images"
        raise MaskALError(f"{sizes}, and the pool has {len(source.pool)}; lower them, or give more images")
    if not 0 <= given.absent < len(source.classes):
        raise MaskALError(
            f"--absent {given.absent}: is not 0 to {len(source.classes) - 1}; one class is needed to begin"
        )
    return Study(
        features=kept_features(source, given.weights, given.out),
        initial=initial,
        pool_size=pool_size,
        loops=given.loops,
        training=Training(steps=given.steps),
        absent=given.absent,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategy_lab", description=__doc__)
    add = parser.add_argument
    add("--strategies", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="all where left out")
    add("--out", type=Path, default=Path("demo/run/strategy_lab"), help="for features, results and table")
    add("--data", type=Path, help="a folder of annotated images instead of drawn ones")
    add("--weights", type=Path, help="with ResNet-18 to res4 (backbone.bottom_up.*); else the network is untrained")
    add("--images", type=int, default=1200, help="drawn images of the pool")
    add("--test", type=int, default=400, help="drawn images of the test")
    add("--class-shares", type=int, nargs=len(DRAWN_SHARES), default=DRAWN_SHARES, metavar="PERCENT", help="drawn")
    add("--data-seed", type=int, default=0, help="another one draws other images, or splits the folder otherwise")
    add("--initial", type=int, help="images to begin with (drawn 40, folder 10)")
    add("--absent", type=int, default=0, help="so many of the rarest classes are in none of the images to begin with")
    add("--pool-size", type=int, help="images that a loop adds (drawn 40, folder 10)")
    add("--loops", type=int, default=5)
    add("--seeds", type=int, help="drawn 10, folder 20")
    add("--steps", type=int, default=Training.steps, help="of a training")
    add("--jobs", type=int, default=1, help="processes, each on one core")
    return parser.parse_args(arguments)


def _key(study: Study) -> str:
    return hashlib.sha256(repr(replace(study, features=Path(study.features.name))).encode()).hexdigest()[:12]


def report(study: Study, features: Features, results: Path, strategies: Sequence[str], seeds: int) -> str:
    """What was run, and the table of the seeds that random and all strategies have finished."""
    counts = features.counts[features.pool].sum(axis=0)
    rarest = features.classes[features.rarest[:2]].tolist()
    wanted = {RANDOM, *strategies}
    rows = [row for row in read_rows(results) if row["strategy"] in wanted and int(row["seed"]) < seeds]
    objects = ", ".join(f"{count} {name}" for name, count in zip(features.classes, counts, strict=True))
    found, test = read_pairs(rows, rarest), len(features.names) - len(features.pool)
    finished = max(len(pair.baseline.mean_ap.seeds) for pair in found.values())
    about = (
        f"Pool of {len(features.pool)} images ({objects}), {test} test images, {study.initial} + {study.loops} x "
        f"{study.pool_size} images, {finished} seeds. Rarest: {' and '.join(rarest)}.{_absent(study, features)} "
        "In brackets: 95 % intervals by paired bootstrap over seeds; p by sign flips."
    )
    return f"{about}\n\n{table(found, unjudged=[BOUND])}"


def _absent(study: Study, features: Features) -> str:
    names = features.classes[features.rarest[: study.absent]].tolist()
    return f" None of the images to begin with holds {' or '.join(names)}." if names else ""


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
