"""What runs of strategies show: each against random on the same seeds, with intervals over seeds.

The runs come as a csv, a line a run and loop: strategy, seed, sample, images, objects, seconds, mAP, and the AP of each
class. S: seeds. N: budgets, the sizes of the training set, in images.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from active_learning.report.comparison import Comparison, Learned, compare_with
from active_learning.report.comparison_tables import objects_needed, with_interval
from active_learning.report.curves import Curve, Values

RANDOM = "random"
RANDOM_SAMPLES = 3  # of random a seed, unless told; their mean is what others are compared with
MOST_SIGN_FLIPS = 2**14  # so many are sampled where all would be more
Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Run:
    """A strategy with a seed; `sample` tells runs of random with one seed apart."""

    strategy: str
    seed: int
    sample: int = 0


def runs_of(strategies: Sequence[str], seeds: Iterable[int], random_samples: int = RANDOM_SAMPLES) -> list[Run]:
    """All of one seed, then all of the next: so what is there after a while is paired."""
    samples = {name: random_samples if name == RANDOM else 1 for name in (RANDOM, *strategies)}
    return [Run(name, seed, sample) for seed in seeds for name, count in samples.items() for sample in range(count)]


def read_rows(results: Path) -> list[dict[str, str]]:
    if not results.exists():
        return []
    with results.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@dataclass(frozen=True, eq=False)
class Results(Learned):
    """A strategy's; `minutes` are of a seed."""

    minutes: float


@dataclass(frozen=True, eq=False)
class Pair:
    """A strategy, and random on the same seeds."""

    ours: Results
    baseline: Results


def read_pairs(rows: Rows, rarest: Sequence[str], random_samples: int = RANDOM_SAMPLES) -> dict[str, Pair]:
    """By strategy, on the seeds that it has and that random has all samples of; of random the mean of its samples.

    A strategy without such a seed is left out.
    """
    samples: dict[str, dict[int, list[Rows]]] = {}
    for (name, seed, _), group in itertools.groupby(
        rows, lambda row: (row["strategy"], int(row["seed"]), row["sample"])
    ):
        samples.setdefault(name, {}).setdefault(seed, []).append(list(group))
    whole = {seed: runs for seed, runs in samples.pop(RANDOM, {}).items() if len(runs) == random_samples}
    pairs = {}
    for name, runs in samples.items():
        if seeds := sorted(set(runs) & set(whole)):
            ours, others = ([of[seed] for seed in seeds] for of in (runs, whole))
            pairs[name] = Pair(_results(name, ours, seeds, rarest), _results(RANDOM, others, seeds, rarest))
    return pairs


def _results(name: str, samples: Sequence[Sequence[Rows]], seeds: Sequence[int], rarest: Sequence[str]) -> Results:
    def mean(*columns: str) -> Values:
        """(S, N) over the columns and the samples of a seed."""
        cells = [[[np.mean([float(row[one]) for one in columns]) for row in run] for run in runs] for runs in samples]
        return np.array([np.mean(of_seed, axis=0) for of_seed in cells])

    def curve(*columns: str) -> Curve:
        return Curve(name, mean("images")[0], mean(*columns), tuple(seeds))

    return Results(
        curve("mAP"), curve(*rarest), mean("objects").mean(axis=0), float(mean("seconds").sum(axis=1).mean() / 60)
    )


HEADERS = (
    "strategy",
    "seeds",
    "mAP above random, mean of budgets",
    "p (Holm)",
    "two rarest classes",
    "images for random's last mAP",
    "images random needs for the last mAP",
    "objects; random needs for it",
    "minutes a seed",
)


def table(pairs: Mapping[str, Pair], unjudged: Sequence[str] = ()) -> str:
    """Markdown: a line a strategy, the largest gain first, then the differences at each budget.

    Args:
        unjudged: strategies without a p, such as bounds that know the ground truth.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise ValueError("no seed is finished by random and by a strategy")
    found = {name: compare_with(one.baseline, one.ours) for name, one in pairs.items()}
    order = sorted(pairs, key=lambda name: -found[name].gain.value)
    found_p = {name: sign_flip_p(pairs[name].ours.mean_ap, pairs[name].baseline.mean_ap) for name in order}
    judged = holm({name: p for name, p in found_p.items() if name not in unjudged and not math.isnan(p)})
    summary = [_summary(found[name], judged.get(name, math.nan), pairs[name].ours.minutes) for name in order]
    baseline = most_seeds(pairs)
    sizes = [f"{size:.0f}" for size in baseline.mean_ap.sizes]
    budgets = [[name, *(with_interval(one, "{:+.1f}") for one in found[name].gains.values())] for name in order]
    curve = [RANDOM + ", mAP", *(f"{value:.1f}" for value in baseline.mean_ap.mean)]
    parts = ((summary, HEADERS), ([curve, *budgets], ("at images", *sizes)))
    return (
        "\n\n".join(tabulate(*part, tablefmt="pipe", disable_numparse=True, stralign="right") for part in parts) + "\n"
    )


def most_seeds(pairs: Mapping[str, Pair]) -> Results:
    """Random on the seeds of the strategy that has most of them."""
    return max((one.baseline for one in pairs.values()), key=lambda one: len(one.mean_ap.seeds))


def _summary(found: Comparison, p: float, minutes: float) -> list[str]:
    return [
        found.label,
        str(found.seeds),
        with_interval(found.gain, "{:+.1f}"),
        "" if math.isnan(p) else f"{p:.3f}",
        with_interval(found.rarest_gain, "{:+.1f}"),
        with_interval(found.needs, "{:.0f}", most=found.images),
        with_interval(found.random_needs, "{:.0f}", most=found.random_images),
        objects_needed(found),
        f"{minutes:.1f}",
    ]


def sign_flip_p(ours: Curve, baseline: Curve) -> float:
    """Two-sided p of the mean gain over paired seeds (Fisher 1935): how often random signs make it as large; NaN for a
    single seed, or where a gain is. With S seeds it is at least 2 / 2^S."""
    gains = (ours.values - baseline.values)[:, 1:].mean(axis=1)
    count = len(gains)
    if count < 2 or np.isnan(gains).any():
        return math.nan
    if 2**count <= MOST_SIGN_FLIPS:
        signs = np.array(list(itertools.product((-1, 1), repeat=count)))
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(MOST_SIGN_FLIPS, count))
        signs[0] = 1  # as it was
    return float(np.mean(np.abs(signs @ gains) >= abs(gains.sum()) - 1e-9))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p adjusted for the number of strategies (Holm 1979)."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = largest
    return adjusted
