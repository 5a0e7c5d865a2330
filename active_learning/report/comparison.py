"""How many annotations a strategy saves against sampling images at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from active_learning.report.curves import Curve, Interval, Values, images_needed, interval, map_curve
from active_learning.report.runs import RunResult, by_label, read_runs
from active_learning.system.files import csv_text
from active_learning.system.log import logger


@dataclass(frozen=True)
class Comparison:
    """A strategy against random.

    Attributes:
        images: of the strategy's last loop.
        mask_ap: mean over the seeds there, percent.
        gain: mask AP above random's, averaged over the loops after the initial training.
        random_needs: images that random needs to reach mask_ap; infinity where it never does.
        needs: images that the strategy needs to reach what random has in the end; infinity where it never does.
        random_images: of random's last loop.
    """

    label: str
    seeds: int
    images: int
    mask_ap: Interval
    gain: Interval
    random_needs: Interval
    needs: Interval
    random_images: int

    @property
    def saved(self) -> Interval:
        """Percent of random's annotations that the strategy does not need; minus infinity where it needs more."""
        low, high = (_saved(count, self.random_images) for count in (self.needs.high, self.needs.low))
        return Interval(_saved(self.needs.value, self.random_images), low, high)


def compare(runs: Sequence[RunResult]) -> list[Comparison]:
    """Each strategy against random, those that save most first; empty without random or anything to compare."""
    curves = [map_curve(same) for same in by_label(runs).values()]
    random_labels = {run.label for run in runs if run.is_random}
    usable = [curve for curve in curves if len(curve.sizes) > 1 and not np.isnan(curve.values).any()]
    baseline = next((curve for curve in usable if curve.label in random_labels), None)
    if baseline is None:
        return []
    rows = [_compare(curve, baseline) for curve in usable if curve.label not in random_labels]
    return sorted(rows, key=lambda row: (row.needs.value, -row.gain.value))


def _compare(curve: Curve, baseline: Curve) -> Comparison:
    def gain(ours: Values, others: Values) -> float:
        return float(np.mean(ours[1:] - np.interp(curve.sizes[1:], baseline.sizes, others)))

    return Comparison(
        label=curve.label,
        seeds=len(curve.seeds),
        images=int(curve.sizes[-1]),
        mask_ap=interval(lambda ours: float(ours[-1]), curve),
        gain=interval(gain, curve, baseline),
        random_needs=interval(lambda ours, others: images_needed(baseline.sizes, others, ours[-1]), curve, baseline),
        needs=interval(lambda ours, others: images_needed(curve.sizes, ours, others[-1]), curve, baseline),
        random_images=int(baseline.sizes[-1]),
    )


def _saved(needed: float, of: int) -> float:
    return 100 * (1 - needed / of)


HEADERS = (
    "strategy",
    "seeds",
    "images",
    "mAP",
    "mAP above random",
    "random needs for that",
    "images for random's last mAP",
    "saved (%)",
)


def table_rows(rows: Sequence[Comparison]) -> list[list[str]]:
    """A line of text a strategy, under HEADERS; intervals in brackets."""
    return [
        [
            row.label,
            str(row.seeds),
            str(row.images),
            with_interval(row.mask_ap, "{:.1f}"),
            with_interval(row.gain, "{:+.1f}"),
            with_interval(row.random_needs, "{:.0f}", most=row.random_images),
            with_interval(row.needs, "{:.0f}", most=row.images),
            with_interval(row.saved, "{:.0f}"),
        ]
        for row in rows
    ]


def with_interval(found: Interval, form: str, *, most: int = 0) -> str:
    """`35.2 [34.1, 36.0]`; infinite numbers of images are `> most`, an infinite loss is a dash."""

    def text(value: float) -> str:
        if math.isinf(value):
            return f"> {most}" if value > 0 else "–"
        return form.format(value)

    return f"{text(found.value)} [{text(found.low)}, {text(found.high)}]" if found.known else text(found.value)


def as_csv(rows: Sequence[Comparison]) -> str:
    """All numbers; `inf` where a curve never gets there, empty bounds where there is one seed only."""
    measured = ("mAP", "mAP_above_random", "random_needs", "needs_for_random_mAP", "saved_percent")
    bounds = [f"{name}{end}" for name in measured for end in ("", "_low", "_high")]
    lines: list[list[object]] = [["strategy", "seeds", "images", "random_images", *bounds]]
    for row in rows:
        found = (row.mask_ap, row.gain, row.random_needs, row.needs, row.saved)
        numbers = [_number(value) for one in found for value in (one.value, one.low, one.high)]
        lines.append([row.label, row.seeds, row.images, row.random_images, *numbers])
    return csv_text(lines)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def log_comparison(folder: Path) -> None:
    """What each strategy of an experiment's folder saves against random, in the log of its last run."""
    rows = compare(read_runs(folder))
    if not rows:
        return
    table = tabulate(table_rows(rows), headers=HEADERS, disable_numparse=True, stralign="right")
    logger.info("Compared with random, 95 %% intervals over seeds in brackets:\n\n%s\n", table)
    logger.info("Comparison: %s\nReport: %s", folder / "comparison.csv", folder / "report.html")
