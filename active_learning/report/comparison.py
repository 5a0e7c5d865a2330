"""How many annotations a strategy saves against sampling images at random."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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

NOTHING_SAVED = "No strategy reached with fewer images what random images reached in the end."
RAREST = 2  # so many classes are looked at by themselves


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


@dataclass(frozen=True)
class Comparison:
    """A strategy against random.

    Attributes:
        images, objects: of the strategy's last loop.
        mask_ap: mean over the seeds there, percent.
        gain: mask AP above random's, averaged over the loops after the initial training.
        gains: the same with each number of images that the strategy has had.
        rarest_gain: as `gain`, for the rarest classes.
        random_needs, random_needs_objects: images and objects that random needs to reach mask_ap; infinity where it
            never does.
        needs, needs_objects: images and objects that the strategy needs to reach what random has in the end; infinity
            where it never does.
        random_images, random_objects: of random's last loop.
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

    @property
    def saved(self) -> Interval:
        """Percent of random's images that the strategy does not need; minus infinity where it needs more."""
        return _saved(self.needs, self.random_images)

    @property
    def saved_objects(self) -> Interval:
        """The same of annotated objects; NaN where they were not counted."""
        return _saved(self.needs_objects, self.random_objects)

    @property
    def sentence(self) -> str:
        """What the strategy saves, for readers who know no statistics; empty where it saves nothing."""
        if not self.needs.value < self.random_images:
            return ""
        saved = self.saved
        bounds = f" (95 % interval {saved.low:.0f} to {saved.high:.0f} %)" if math.isfinite(saved.low) else ""
        found = (
            f"{self.needs.value:.0f} images chosen by {self.label} were as good as {self.random_images} by chance: "
            f"{saved.value:.0f} % fewer annotations{bounds}.{self._sentence_of_objects}"
        )
        if not self.gain.known:
            return f"{found} With one seed this may be luck."
        return found if self.gain.low > 0 else f"{found} With these {self.seeds} seeds this may be luck."

    @property
    def _sentence_of_objects(self) -> str:
        """Empty where they were not counted."""
        if math.isnan(self.needs_objects.value):
            return ""
        share = self.saved_objects.value
        fewer = f"{share:.0f} % fewer" if share > 0 else f"{-share:.0f} % more"
        return f" Counted in objects: {self.needs_objects.value:.0f} instead of {self.random_objects:.0f}, {fewer}."


def compare(runs: Sequence[RunResult]) -> list[Comparison]:
    """Each strategy against random, those that save most first; empty without random or anything to compare."""
    rarest = rarest_classes(runs)
    learned = [_learned(same, rarest) for same in by_label(runs).values()]
    random_labels = {run.label for run in runs if run.is_random}
    usable = [one for one in learned if len(one.mean_ap.sizes) > 1 and not np.isnan(one.mean_ap.values).any()]
    baseline = next((one for one in usable if one.mean_ap.label in random_labels), None)
    if baseline is None:
        return []
    rows = [compare_with(baseline, one) for one in usable if one.mean_ap.label not in random_labels]
    return sorted(rows, key=lambda row: (row.needs.value, -row.gain.value))


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


def compare_with(baseline: Learned, strategy: Learned) -> Comparison:
    """Differences are paired by seed where both have the same seeds."""
    ours, others = strategy.mean_ap, baseline.mean_ap
    rarest = Interval(math.nan)
    if strategy.rarest_ap is not None and baseline.rarest_ap is not None:
        rarest = _gain(strategy.rarest_ap, baseline.rarest_ap, range(1, len(ours.sizes)))
    return Comparison(
        label=ours.label,
        seeds=len(ours.seeds),
        images=int(ours.sizes[-1]),
        objects=float(strategy.objects[-1]),
        mask_ap=interval(lambda mine: float(mine[-1]), ours),
        gain=_gain(ours, others, range(1, len(ours.sizes))),
        gains={int(size): _gain(ours, others, [index]) for index, size in enumerate(ours.sizes)},
        rarest_gain=rarest,
        random_needs=_random_needs(others.sizes, ours, others),
        random_needs_objects=_random_needs(baseline.objects, ours, others),
        needs_objects=_needs(strategy.objects, ours, others),
        needs=_needs(ours.sizes, ours, others),
        random_images=int(others.sizes[-1]),
        random_objects=float(baseline.objects[-1]),
    )


def _gain(ours: Curve, others: Curve, places: Sequence[int]) -> Interval:
    """Mean difference at some of the strategy's sizes."""
    chosen = list(places)

    def gain(mine: Values, random: Values) -> float:
        return float(np.mean((mine - np.interp(ours.sizes, others.sizes, random))[chosen]))

    return interval(gain, ours, others)


def _random_needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """`costs` (N,): images or objects that random has at its sizes; how many it needs for the strategy's last value."""
    if np.isnan(costs).any():
        return Interval(math.nan)
    return interval(lambda mine, random: images_needed(costs, random, mine[-1]), ours, others)


def _needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """The same of the strategy, for random's last value."""
    if np.isnan(costs).any() or len(costs) != len(ours.sizes):
        return Interval(math.nan)
    return interval(lambda mine, random: images_needed(costs, mine, random[-1]), ours, others)


def _saved(needs: Interval, of: float) -> Interval:
    value, low, high = (100 * (1 - needed / of) for needed in (needs.value, needs.high, needs.low))
    return Interval(value, low, high)


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

    After the summary: the same for the rarest classes and for objects, the gain with each number of images, and what is
    saved in objects.
    """
    sizes = sorted({size for row in rows for size in row.gains})
    measured = ["mAP", "mAP_above_random", "random_needs", "needs_for_random_mAP", "saved_percent"]
    further = ["rarest_above_random", "random_needs_objects", *(f"mAP_above_random_at_{size}" for size in sizes)]
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
    logger.info("%s", rows[0].sentence or NOTHING_SAVED)
    table = tabulate(table_rows(rows), headers=HEADERS, disable_numparse=True, stralign="right")
    logger.info("Compared with random, 95 %% intervals over seeds in brackets:\n\n%s\n", table)
    logger.info("Comparison: %s\nReport: %s", folder / "comparison.csv", folder / "report.html")
