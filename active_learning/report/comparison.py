"""How many annotations a strategy saves against sampling images at random."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from tabulate import tabulate

from active_learning.report.curves import (
    Curve,
    Interval,
    Values,
    class_curve,
    images_needed,
    interval,
    map_curve,
    object_curve,
)
from active_learning.report.runs import RunResult, by_label, class_names, read_runs
from active_learning.system.files import csv_text
from active_learning.system.log import logger

RAREST = 2  # so many classes are looked at by themselves
Cost = Literal["images", "objects"]  # what annotations are counted in


@dataclass(frozen=True, eq=False)
class Learned:
    """What the runs of one strategy learned, over the same seeds and sizes of the training set.

    Attributes:
        rarest_ap: mean AP of the rarest classes; None where it is unknown which are.
        objects: annotated objects in the training set, mean over the seeds; NaN where they were not counted.
    """

    mean_ap: Curve
    rarest_ap: Curve | None
    objects: Values

    @property
    def is_usable(self) -> bool:
        return len(self.mean_ap.sizes) > 1 and not np.isnan(self.mean_ap.values).any()


LEAST_SEEDS = 6  # random signs of five give as much in 1 of 16 cases, and the interval of so few is too narrow


@dataclass(frozen=True)
class Comparison:
    """A strategy against random.

    Attributes:
        images, objects: of the strategy's last loop.
        mask_ap: mean over the seeds there, percent.
        gain: mask AP above random's for the same cost, averaged over the loops after the initial training.
        gains: the same with each number of images that the strategy has had, or of objects that random has had.
        rarest_gain: as `gain`, for the rarest classes.
        random_needs, random_needs_objects: images and objects that random needs to reach mask_ap; infinity where it
            never does.
        needs, needs_objects: images and objects that the strategy needs to reach what random has in the end; infinity
            where it never does.
        random_images, random_objects: of random's last loop.
        random_own, random_own_objects: those at which random first had what it has in the end.
        saved, saved_objects: percent of these that the strategy does not need; minus infinity where it never has that.
        cost: in which the runs' budgets are, so that gains are at equal numbers of it.
    """

    label: str
    seeds: int
    images: int
    objects: float
    mask_ap: Interval
    gain: Interval
    gains: dict[int, Interval]
    rarest_gain: Interval
    random_needs: Interval
    random_needs_objects: Interval
    needs: Interval
    random_images: int
    random_objects: float
    needs_objects: Interval
    random_own: float
    random_own_objects: float
    saved: Interval
    saved_objects: Interval
    cost: Cost = "images"

    @property
    def needed(self) -> dict[Cost, tuple[Interval, float, Interval]]:
        """The strategy's need for random's last value, random's own, percent saved; that of `cost` first."""
        images = (self.needs, self.random_own, self.saved)
        objects = (self.needs_objects, self.random_own_objects, self.saved_objects)
        return (
            {"objects": objects, "images": images} if self.cost == "objects" else {"images": images, "objects": objects}
        )

    @property
    def sentence(self) -> str:
        """What the strategy saves, for readers who know no statistics; empty where it saves nothing."""
        needs, of, saved = self.needed[self.cost]
        if not needs.value < of or needs.value <= min(self.gains, default=0):  # nobody chose the initial images
            return ""
        least = f"{saved.low:.0f}" if math.isfinite(saved.low) else "none"
        bounds = f" (95 % interval {least} to {saved.high:.0f} %)" if saved.known else ""
        what = "objects in images" if self.cost == "objects" else "images"
        found = (
            f"{needs.value:.0f} {what} chosen by {self.label} were as good as {of:.0f} by chance: "
            f"{saved.value:.0f} % fewer annotations{bounds}.{self._in_the_other_cost}{self._lost_again}"
        )
        if self.seeds >= LEAST_SEEDS and self.gain.low > 0:
            return found
        return f"{found} With {'one seed' if self.seeds == 1 else f'these {self.seeds} seeds'} this may be luck."

    @property
    def _lost_again(self) -> str:
        """Of a strategy that is below random where both have most; else empty."""
        last = self.gains[max(self.gains)].value
        return f" But in the end it had {last:+.1f} mAP against chance." if last < -0.05 else ""

    @property
    def _in_the_other_cost(self) -> str:
        """Empty where objects were not counted."""
        other, (needs, of, saved) = list(self.needed.items())[1]
        if math.isnan(needs.value):
            return ""
        fewer = f"{saved.value:.0f} % fewer" if saved.value > 0 else f"{-saved.value:.0f} % more"
        return f" Counted in {other}: {needs.value:.0f} instead of {of:.0f}, {fewer}."


def in_a_sentence(rows: Sequence[Comparison]) -> str:
    """What choosing saves, of rows as `compare` gives them; "" for none."""
    if not rows:
        return ""
    if found := next(filter(None, (row.sentence for row in rows)), ""):
        return found
    first, best = rows[0], max(rows, key=lambda row: row.gain.value)
    if first.needed[first.cost][1] <= min(first.gains, default=0):
        nothing = "Random images taught nothing beyond the initial ones, so there is nothing to save against"
        return f"{nothing}; {best.label} had {best.gain.value:+.1f} mAP against them, mean of the loops."
    return f"No strategy reached with fewer {first.cost} what random images reached in the end."


def compare(runs: Sequence[RunResult]) -> list[Comparison]:
    """Each strategy against random, those that save most first; empty without random or anything to compare."""
    rarest = rarest_classes(runs)
    runs_of = by_label(runs)
    random_labels = {run.label for run in runs if run.is_random}
    usable = [one for same in runs_of.values() if (one := _learned(same, rarest)).is_usable]
    baseline = next((one for one in usable if one.mean_ap.label in random_labels), None)
    if baseline is None:
        return []
    ours = [one for one in usable if one.mean_ap.label not in random_labels]
    at = _shared_objects(baseline, ours) if any(run.budget == "objects" for run in runs) else None
    pairs = [_of_shared_seeds(runs_of, baseline, one, rarest) for one in ours]
    rows = [compare_with(*pair, at) for pair in pairs]
    return sorted(rows, key=lambda row: (row.needed[row.cost][0].value, -row.gain.value))


def _of_shared_seeds(
    runs_of: Mapping[str, Sequence[RunResult]], baseline: Learned, strategy: Learned, rarest: Sequence[str]
) -> tuple[Learned, Learned]:
    """Both over the seeds that both have, so that a seed's luck is no gain; over all where they share none."""
    shared = set(baseline.mean_ap.seeds) & set(strategy.mean_ap.seeds)

    def of_shared(one: Learned) -> Learned:
        if not shared or shared.issuperset(one.mean_ap.seeds):
            return one
        return _learned([run for run in runs_of[one.mean_ap.label] if run.seed in shared], rarest)

    return of_shared(baseline), of_shared(strategy)


def _shared_objects(baseline: Learned, ours: Sequence[Learned]) -> Values | None:
    """Numbers of objects at which strategies are compared: random's, as far as all go that have as many loops; None
    where they were not counted."""
    counts = [one.objects for one in (baseline, *ours)]
    if any(np.isnan(one).any() for one in counts) or any(len(one.objects) != len(one.mean_ap.sizes) for one in ours):
        return None
    end = min(one[-1] for one in counts if len(one) >= len(baseline.objects))
    return np.unique(np.minimum(baseline.objects, end))


def rarest_classes(runs: Sequence[RunResult]) -> list[str]:
    """The RAREST classes of which random's last training sets held fewest objects, as such a sample is fair.

    Never all classes; none where the runs did not count objects.
    """
    found: Counter[str] = Counter()
    for run in runs:
        if run.is_random and run.scores:
            found.update(run.scores[-1].objects)
    names = class_names(runs)
    return sorted(names, key=lambda name: found[name])[: min(RAREST, len(names) - 1)] if found.total() else []


def _learned(runs: Sequence[RunResult], rarest: Sequence[str]) -> Learned:
    curves = [class_curve(runs, name) for name in rarest]
    mean = replace(curves[0], values=np.mean([curve.values for curve in curves], axis=0)) if curves else None
    return Learned(map_curve(runs), mean, object_curve(runs).mean)


def compare_with(baseline: Learned, strategy: Learned, objects: Values | None = None) -> Comparison:
    """Differences are paired by seed where both have the same seeds.

    Args:
        objects: (n,) where mask AP is compared; None: at the strategy's numbers of images, as far as random goes.
    """
    ours, others = strategy.mean_ap, baseline.mean_ap
    at = _shared_images(ours, others) if objects is None else objects[objects <= strategy.objects[-1]]
    gain = functools.partial(_gain, baseline, strategy, in_objects=objects is not None)
    return Comparison(
        label=ours.label,
        seeds=len(ours.seeds),
        images=round(ours.sizes[-1]),
        objects=float(strategy.objects[-1]),
        mask_ap=interval(lambda mine: float(mine[-1]), ours),
        gain=gain(at[1:]),
        gains={round(one): gain(at[[index]]) for index, one in enumerate(at.tolist())},
        rarest_gain=gain(at[1:], rarest=True),
        random_needs=_random_needs(others.sizes, ours, others),
        random_needs_objects=_random_needs(baseline.objects, ours, others),
        needs_objects=_needs(strategy.objects, ours, others),
        needs=_needs(ours.sizes, ours, others),
        random_images=round(others.sizes[-1]),
        random_objects=float(baseline.objects[-1]),
        random_own=_own_need(others.sizes, others),
        random_own_objects=_own_need(baseline.objects, others),
        saved=_saved(ours.sizes, others.sizes, ours, others),
        saved_objects=_saved(strategy.objects, baseline.objects, ours, others),
        cost="images" if objects is None else "objects",
    )


def _shared_images(ours: Curve, others: Curve) -> Values:
    """The strategy's sizes as far as random goes; part of an image, as means over seeds have, is no difference."""
    end = others.sizes[-1]
    return np.asarray(np.minimum(ours.sizes[ours.sizes < end + 1], end))


def _gain(baseline: Learned, strategy: Learned, at: Values, *, in_objects: bool, rarest: bool = False) -> Interval:
    """Mean difference at some costs (n,), between the points of a curve by a straight line; NaN for none."""
    ours, others = ((one.rarest_ap if rarest else one.mean_ap) for one in (strategy, baseline))
    if ours is None or others is None or not len(at):
        return Interval(math.nan)
    costs = [(one.objects if in_objects else one.mean_ap.sizes) for one in (strategy, baseline)]
    mine, randoms = (np.maximum.accumulate(one) for one in costs)  # images may have been taken away

    def gain(values: Values, random: Values) -> float:
        return float(np.mean(np.interp(at, mine, values) - np.interp(at, randoms, random)))

    return interval(gain, ours, others)


def _random_needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """`costs` (N,): images or objects that random has at its sizes; how many it needs for the strategy's last value."""
    return interval(lambda mine, random: images_needed(costs, random, mine[-1]), ours, others)


def _needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """The same of the strategy, for random's last value."""
    return interval(lambda mine, random: images_needed(costs, mine, random[-1]), ours, others)


def _own_need(costs: Values, others: Curve) -> float:
    """What random needs for its own last value, which it may have had before."""
    return images_needed(costs, others.mean, others.mean[-1])


def _saved(costs: Values, random_costs: Values, ours: Curve, others: Curve) -> Interval:
    """Percent of `_own_need` that the strategy does not need for the same."""

    def saved(mine: Values, random: Values) -> float:
        own = images_needed(random_costs, random, random[-1])
        return 100 * (1 - images_needed(costs, mine, random[-1]) / own) if own else 0.0

    return interval(saved, ours, others)


HEADERS = (
    "strategy",
    "seeds",
    "images saved (%)",
    "objects saved (%)",
    "images for random's last mAP",
    "objects for that",
    "images",
    "mAP",
    "mAP above random",
    "random needs for that",
    "objects; random needs",
)


def table_rows(rows: Sequence[Comparison]) -> list[list[str]]:
    """A line of text a strategy, under HEADERS; intervals in brackets."""
    return [
        [
            row.label,
            str(row.seeds),
            with_interval(row.saved, "{:.0f}"),
            with_interval(row.saved_objects, "{:.0f}"),
            with_interval(row.needs, "{:.0f}", most=row.images),
            with_interval(row.needs_objects, "{:.0f}", most=round(np.nan_to_num(row.objects))),
            str(row.images),
            with_interval(row.mask_ap, "{:.1f}"),
            with_interval(row.gain, "{:+.1f}"),
            with_interval(row.random_needs, "{:.0f}", most=row.random_images),
            objects_needed(row),
        ]
        for row in rows
    ]


def objects_needed(row: Comparison) -> str:
    """The strategy's annotated objects in its last loop, and those that random needs for the same."""
    if math.isnan(row.random_needs_objects.value):
        return MISSING
    return f"{row.objects:.0f}; {with_interval(row.random_needs_objects, '{:.0f}', most=round(row.random_objects))}"


def gain_table(rows: Sequence[Comparison], rarest: Sequence[str]) -> list[list[str]]:
    """Headers, then a line a strategy: mAP above random with each number of images, and of the rarest classes."""
    sizes = sorted({size for row in rows for size in row.gains})
    headers = ["strategy", *(f"at {size}" for size in sizes), *([f"only {' and '.join(rarest)}"] if rarest else [])]
    missing = Interval(math.nan)
    lines = []
    for row in rows:
        found = [*(row.gains.get(size, missing) for size in sizes), *([row.rarest_gain] if rarest else [])]
        lines.append([row.label, *(with_interval(one, "{:+.1f}") for one in found)])
    return [headers, *lines]


MISSING = "–"


def with_interval(found: Interval, form: str, *, most: int = 0) -> str:
    """`35.2 [34.1, 36.0]`; infinite numbers of images are `> most`, an infinite loss and an unknown value a dash."""

    def text(value: float) -> str:
        if not math.isfinite(value):
            return f"> {most}" if value > 0 else MISSING
        return form.format(value)

    return f"{text(found.value)} [{text(found.low)}, {text(found.high)}]" if found.known else text(found.value)


def as_csv(rows: Sequence[Comparison], rarest: Sequence[str]) -> str:
    """All numbers; `inf` where a curve never gets there, empty bounds where there is one seed only.

    After the summary: the same for the rarest classes and for objects, the gain with each number of images (of objects,
    where the budget counts those), and what is saved in objects.
    """
    sizes = sorted({size for row in rows for size in row.gains})
    unit = "_objects" if any(row.cost == "objects" for row in rows) else ""
    measured = ["mAP", "mAP_above_random", "random_needs", "needs_for_random_mAP", "saved_percent"]
    further = ["rarest_above_random", "random_needs_objects", *(f"mAP_above_random_at_{size}{unit}" for size in sizes)]
    in_objects = ["needs_objects_for_random_mAP", "saved_objects_percent"]
    headers = ["strategy", "seeds", "images", "random_images", *_with_bounds(measured)]
    lines: list[list[object]] = [
        [*headers, "rarest", "objects", "random_objects", *_with_bounds([*further, *in_objects])]
    ]
    for row in rows:
        found = (row.mask_ap, row.gain, row.random_needs, row.needs, row.saved)
        at_sizes = (row.gains.get(size, Interval(math.nan)) for size in sizes)
        more = (row.rarest_gain, row.random_needs_objects, *at_sizes, row.needs_objects, row.saved_objects)
        summary = [row.label, row.seeds, row.images, row.random_images, *_numbers(found)]
        objects = [_number(row.objects), _number(row.random_objects)]
        lines.append([*summary, " ".join(rarest), *objects, *_numbers(more)])
    return csv_text(lines)


def _with_bounds(names: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _numbers(intervals: Iterable[Interval]) -> list[str]:
    return [_number(value) for one in intervals for value in (one.value, one.low, one.high)]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def log_comparison(folder: Path) -> None:
    """What each strategy of an experiment's folder saves against random, in the log of its last run."""
    rows = compare(read_runs(folder))
    if not rows:
        return
    logger.info("%s", in_a_sentence(rows))
    table = tabulate(table_rows(rows), headers=HEADERS, disable_numparse=True, stralign="right")
    text = "Compared with random at equal numbers of %s, 95 %% intervals over seeds in brackets:\n\n%s\n"
    logger.info(text, rows[0].cost, table)
    logger.info("Comparison: %s\nReport: %s", folder / "comparison.csv", folder / "report.html")
