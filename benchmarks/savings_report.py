"""What the study of savings shows so far: a table in markdown, and the learning curves as a figure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from active_learning.report import figures
from active_learning.report.comparison import compare_with, most_saving_first
from active_learning.report.figures import StrategyStyle
from active_learning.report.svg import SERIES
from active_learning.system.files import write_atomically
from benchmarks.gains import RANDOM, Pair, most_seeds, read_pairs, read_rows, table
from benchmarks.savings_data import ROOT, annotated_objects
from benchmarks.savings_runs import DONE, OTHERS, Study

RUN = ("strategy", "seed", "sample", "status")
Rows = Sequence[Mapping[str, str]]


def write_report(study: Study, results: Path) -> str:
    """Writes the table, and the figure where there is something to compare, beside the csv; returns the table."""
    rows = read_rows(results)
    whole, notes = whole_runs(rows, study.budgets)
    counts = annotated_objects(study.data, "train")
    rarest = sorted(study.data.classes, key=lambda name: counts[name])[:2]
    pairs = read_pairs(whole, rarest, study.random_samples)
    about = (
        f"{study.data.name}: a pool with {', '.join(f'{counts[name]} {name}' for name in study.data.classes)}; "
        f"trainings on {', '.join(map(str, study.budgets))} images. "
        f"Rarest: {' and '.join(rarest)}. mAP at score threshold 0.05. In brackets: 95 % intervals by paired bootstrap "
        "over seeds; p by sign flips. What was planned: [savings_protocol.md](../savings_protocol.md)."
    )
    shown = table(pairs, unjudged=OTHERS) if pairs else "No seed is finished by random and by a strategy.\n"
    parts = [about, shown, *([networks_kept(whole, study)] if pairs else []), *notes]
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    write_atomically(results.with_suffix(".md"), text)
    if pairs:
        write_atomically(results.with_suffix(".svg"), learning_curves(pairs) + "\n")
    return text


def whole_runs(rows: Rows, budgets: Sequence[int]) -> tuple[list[Mapping[str, str]], list[str]]:
    """The lines of runs that have a score at every budget, and a sentence for each other run."""
    whole: list[Mapping[str, str]] = []
    notes = []
    done = {tuple(row[name] for name in RUN[:-1]) for row in rows if row["status"] == DONE}
    for (*run, status), group in itertools.groupby(rows, lambda row: [row[name] for name in RUN]):
        lines, name = list(group), f"{run[0]}, seed {run[1]}, sample {run[2]}"
        if status != DONE:
            notes.append(f"{name}: {status}{'; tried again' if tuple(run) in done else ''}.")
        elif [int(line["images"]) for line in lines] != list(budgets):
            notes.append(f"{name}: left out, has not every budget.")
        else:
            whole += lines
    return whole, notes


def networks_kept(rows: Rows, study: Study) -> str:
    """How many of the last scores are of an earlier loop's network, as the program keeps what did better in validation:
    the line of the csv then repeats the one before."""
    scores = ("mAP", "mAP_at_0.5", *study.data.classes)
    repeated: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for before, row in itertools.pairwise(rows):
        if int(row["images"]) == study.budgets[-1]:
            runs[row["strategy"]] += 1
            repeated[row["strategy"]] += all(row[name] == before[name] for name in scores)
    each = ", ".join(f"{name} {repeated[name]} of {count}" for name, count in sorted(runs.items()))
    return (
        "A loop's network replaces the one before only if it does better on the validation images. So at "
        f"{study.budgets[-1]} images some scores are those of a network of fewer: {each}."
    )


def learning_curves(pairs: Mapping[str, Pair]) -> str:
    """A line and a band for each strategy, in the colours of the report; a file of its own."""
    curves = [*(pair.ours.mean_ap for pair in pairs.values()), most_seeds(pairs).mean_ap]
    last = len(SERIES) - 1
    styles = {
        curve.label: StrategyStyle(last if curve.label == RANDOM else index % last, curve.label == RANDOM)
        for index, curve in enumerate(curves)
    }
    rows = most_saving_first(compare_with(pair.baseline, pair.ours) for pair in pairs.values())
    saving, about = figures.saving_of(rows, "images"), "mAP against images"
    svg = figures.learning_curves(curves, styles, name="savings", description=about, legend=True, saving=saving)
    css = (ROOT / "active_learning" / "report" / "report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"(--[\w-]+): (#\w+);", css[: css.index("@media")]))  # on white, as on paper
    svg = re.sub(r"var\((--[\w-]+)\)", lambda found: colours[found[1]], svg)  # drawing programs know no variables
    style = f"background: {colours['--page']}; font-family: sans-serif"
    return svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" style="{style}" ', 1)
