"""What the runs show: each strategy against random, with intervals over seeds.

S: seeds. N: budgets, the sizes of the training set, in images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from active_learning.report.comparison import with_interval
from active_learning.report.curves import Curve, Interval, Values, images_needed, interval
from benchmarks.strategy_lab.judge import BOUND, RANDOM, RANDOM_SAMPLES

MOST_SIGN_FLIPS = 2**14  # so many are sampled where all would be more
Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Results:
    """A strategy's curves over the same seeds: mAP, AP of the rarest classes, and objects in the training set (N,)."""

    mean_ap: Curve
    rarest_ap: Curve
    objects: Values
    minutes: float  # a seed


def read_results(rows: Rows, rarest: Sequence[str]) -> dict[str, Results]:
    """By strategy, random first; of random the mean of its samples. Seeds that not all strategies have are left out.

    Raises:
        ValueError: there is no seed that random has all samples of, and every strategy.
    """
    samples: dict[str, dict[int, list[Rows]]] = {}
    for (name, seed, _), group in itertools.groupby(
        rows, lambda row: (row["strategy"], int(row["seed"]), row["sample"])
    ):
        samples.setdefault(name, {}).setdefault(seed, []).append(list(group))
    whole = {seed for seed, found in samples.get(RANDOM, {}).items() if len(found) == RANDOM_SAMPLES}
    seeds = sorted(whole.intersection(*samples.values()))
    if not seeds:
        raise ValueError("no seed is finished by random and by every strategy")
    names = sorted(samples, key=lambda name: name != RANDOM)
    return {name: _results(name, [samples[name][seed] for seed in seeds], seeds, rarest) for name in names}


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
    "mAP above random, mean of budgets",
    "p (Holm)",
    "two rarest classes",
    "images for random's last mAP",
    "images random needs for the last mAP",
    "objects random needs for it",
    "minutes a seed",
)


def table(results: Mapping[str, Results]) -> str:
    """Markdown: a line a strategy, the largest gain first, then the differences at each budget."""
    baseline = results[RANDOM]
    others = {name: one for name, one in results.items() if name != RANDOM}
    gains = {name: interval(_mean_gain, one.mean_ap, baseline.mean_ap) for name, one in others.items()}
    order = sorted(others, key=lambda name: -gains[name].value)
    judged = holm({name: sign_flip_p(others[name].mean_ap, baseline.mean_ap) for name in order if name != BOUND})
    summary = [_summary(name, gains[name], judged.get(name, math.nan), others[name], baseline) for name in order]
    sizes = [f"{size:.0f}" for size in baseline.mean_ap.sizes]
    budgets = [[name, *_at_each_budget(others[name], baseline)] for name in order]
    curve = [RANDOM + ", mAP", *(f"{value:.1f}" for value in baseline.mean_ap.mean)]
    parts = ((summary, HEADERS), ([curve, *budgets], ("at images", *sizes)))
    return (
        "\n\n".join(tabulate(*part, tablefmt="pipe", disable_numparse=True, stralign="right") for part in parts) + "\n"
    )


def _mean_gain(ours: Values, others: Values) -> float:
    """Over the budgets that were chosen, so without the initial images."""
    return float(np.mean(ours[1:] - others[1:]))


def _summary(name: str, gain: Interval, p: float, ours: Results, baseline: Results) -> list[str]:
    curve, others = ours.mean_ap, baseline.mean_ap
    last, most = int(curve.sizes[-1]), int(baseline.objects[-1])
    needs = interval(lambda mine, random: images_needed(curve.sizes, mine, random[-1]), curve, others)
    random_needs = interval(lambda mine, random: images_needed(others.sizes, random, mine[-1]), curve, others)
    objects = interval(lambda mine, random: images_needed(baseline.objects, random, mine[-1]), curve, others)
    return [
        name,
        with_interval(gain, "{:+.1f}"),
        "" if math.isnan(p) else f"{p:.3f}",
        with_interval(interval(_mean_gain, ours.rarest_ap, baseline.rarest_ap), "{:+.1f}"),
        with_interval(needs, "{:.0f}", most=last),
        with_interval(random_needs, "{:.0f}", most=last),
        f"{with_interval(objects, '{:.0f}', most=most)} (has {ours.objects[-1]:.0f})",
        f"{ours.minutes:.1f}",
    ]


def _at_each_budget(ours: Results, baseline: Results) -> list[str]:
    def gain_at(index: int) -> Interval:
        return interval(lambda mine, random: float(mine[index] - random[index]), ours.mean_ap, baseline.mean_ap)

    return [with_interval(gain_at(index), "{:+.1f}") for index in range(len(baseline.mean_ap.sizes))]


def sign_flip_p(ours: Curve, baseline: Curve) -> float:
    """Two-sided p of the mean gain over paired seeds (Fisher 1935): how often random signs make it as large; NaN for a
    single seed. With S seeds it is at least 2 / 2^S."""
    gains = (ours.values - baseline.values)[:, 1:].mean(axis=1)
    count = len(gains)
    if count < 2:
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
