"""What strategies save against random, in tables: for the log, the report and other programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from active_learning.report.comparison import Comparison, compare, in_a_sentence
from active_learning.report.curves import Interval
from active_learning.report.runs import read_runs
from active_learning.run.output_files import COMPARISON, REPORT
from active_learning.system.files import csv_text
from active_learning.system.log import logger

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
    logger.info("Comparison: %s\nReport: %s", folder / COMPARISON, folder / REPORT)
