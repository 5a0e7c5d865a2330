"""Learning curves over seeds, and what one curve saves against another.

S seeds, N sizes of the training set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from active_learning.report.runs import RunResult

Values = npt.NDArray[np.float64]
RESAMPLES = 2000  # of a bootstrap
CONFIDENCE = 0.95
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2  # quantiles that bound it


@dataclass(frozen=True, eq=False)
class Curve:
    """A strategy's score against the number of annotated images.

    Attributes:
        sizes: (N,) of the loops that every seed has a score of, mean over the seeds.
        values: (S, N) percent.
        seeds: (S,)
    """

    label: str
    sizes: Values
    values: Values
    seeds: tuple[int, ...]

    @property
    def mean(self) -> Values:
        """(N,) over the seeds."""
        return np.asarray(self.values.mean(axis=0))


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds it with CONFIDENCE; low and high are NaN where there is one seed only."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return not math.isnan(self.low)


def map_curve(runs: Sequence[RunResult]) -> Curve:
    """Mask AP of the runs of one strategy."""
    return _curve(runs, lambda scores: scores.mask_ap)


def class_curve(runs: Sequence[RunResult], name: str) -> Curve:
    """Mask AP of one class; NaN where the test images hold none of it."""
    return _curve(runs, lambda scores: scores.per_class.get(name, math.nan))


def by_objects(curve: Curve, objects: Curve) -> Curve:
    """The curve against annotated objects, mean over the seeds; without a point where they were not counted."""
    counts = objects.mean
    if len(counts) != len(curve.sizes) or np.isnan(counts).any():
        return replace(curve, sizes=curve.sizes[:0], values=curve.values[:, :0])
    return replace(curve, sizes=counts)


def object_curve(runs: Sequence[RunResult]) -> Curve:
    """Annotated objects in the training set; NaN where a run did not count them."""
    return _curve(runs, lambda scores: sum(scores.objects.values()) if scores.objects else math.nan)


def _curve(runs: Sequence[RunResult], score: Callable[..., float]) -> Curve:
    """Of the finished runs; while there is none, of those that have a score. So a seed that begins cuts no curve.

    Seeds are joined loop by loop, as one may have other numbers of images than the others: sizes are their means.
    """
    runs = [run for run in runs if run.phase == "finished"] or [run for run in runs if run.scores] or runs
    loops = min(len(run.scores) for run in runs)
    sizes = np.array([[row.train_size for row in run.scores[:loops]] for run in runs], dtype=np.float64)
    values = np.array([[score(row) for row in run.scores[:loops]] for run in runs], dtype=np.float64)
    return Curve(runs[0].label, sizes.mean(axis=0), values, tuple(run.seed for run in runs))


def images_needed(sizes: Values, values: Values, target: float) -> float:
    """At how many images a curve reaches the target, between its points by a straight line; infinity where never, NaN
    where a size is NaN."""
    if np.isnan(sizes).any():
        return math.nan
    reached = np.flatnonzero(values >= target)
    if not len(reached):
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(sizes[0])
    before, after = values[first - 1], values[first]
    return float(sizes[first - 1] + (target - before) / (after - before) * (sizes[first] - sizes[first - 1]))


def band(curve: Curve) -> tuple[Values, Values] | None:
    """(N,) bounds of the mean's interval by bootstrap over seeds; None for a single seed."""
    if len(curve.seeds) < 2:
        return None
    means = curve.values[resampled_seeds([curve])[0]].mean(axis=1)
    low, high = np.quantile(means, TAILS, axis=0)
    return low, high


def resampled_seeds(curves: Sequence[Curve]) -> list[npt.NDArray[np.int64]]:
    """(RESAMPLES, S) rows of each curve, sampled with replacement (Efron 1979); curves of the same seeds have the same,
    as their runs start from the same images and the same network."""
    rng = np.random.default_rng(0)
    rows: dict[tuple[int | None, ...], npt.NDArray[np.int64]] = {}
    for curve in curves:
        if curve.seeds not in rows:
            count = len(curve.seeds)
            rows[curve.seeds] = rng.integers(0, count, (RESAMPLES, count))
    return [rows[curve.seeds] for curve in curves]


def interval(statistic: Callable[..., float], *curves: Curve) -> Interval:
    """A statistic of mean curves (N,) with its bootstrap interval; it may be infinite in some resamples."""
    value = statistic(*(curve.mean for curve in curves))
    if min(len(curve.seeds) for curve in curves) < 2:
        return Interval(value)
    means = [curve.values[rows].mean(axis=1) for curve, rows in zip(curves, resampled_seeds(curves), strict=True)]
    values = [statistic(*row) for row in zip(*means, strict=True)]
    low, high = np.quantile(values, TAILS, method="inverted_cdf")  # takes no means, which infinity has none of
    return Interval(value, float(low), float(high))
