"""`<results>/<experiment_name>/report.html`: one file that holds all it shows, for a browser on a computer or a phone.

It is made of what the runs have written (runs.py), so it can be made again at any time, without network or images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from active_learning.acquisition.explanation import Explanation, read_explanations
from active_learning.errors import MaskALError, first_line
from active_learning.report import comparison, comparison_tables, figures
from active_learning.report.addresses import picture_address
from active_learning.report.balance import ClassShare, class_balance
from active_learning.report.curves import Curve, by_objects, class_curve, map_curve, object_curve
from active_learning.report.figures import LoopCertainties, StrategyStyle
from active_learning.report.label_check import label_check_section
from active_learning.report.runs import RunResult, by_label, class_names, read_runs
from active_learning.report.svg import SERIES
from active_learning.report.waiting import waiting_in_words, waiting_of
from active_learning.run.output_files import (
    COMPARISON,
    REPORT,
    OutputFiles,
    added_images,
    files_by_loop,
    read_network,
    read_pool_scores,
)
from active_learning.system.log import logger
from active_learning.system.written_files import write_own


@dataclass(frozen=True)
class ExplainedChoice:
    """Images that one strategy chose in its newest loop; their pictures are addresses that hold their content."""

    label: str
    loop: int
    images: list[Explanation]


def write_report(folder: Path) -> Path:
    """Writes the report of an experiment's folder, the comparison as csv too where there is one, or was.

    Raises:
        MaskALError: a file of a run cannot be read.
    """
    runs = read_runs(folder)
    rows = comparison.compare(runs)
    path, table = folder / REPORT, folder / COMPARISON
    if rows or table.exists():  # an earlier one would be taken for this one
        write_own(table, comparison_tables.as_csv(rows, comparison.rarest_classes(runs)))
    write_own(path, render(folder.name, runs, rows, datetime.now(timezone.utc)))
    return path


def render(name: str, runs: Sequence[RunResult], rows: Sequence[comparison.Comparison], now: datetime) -> str:
    """The page as text."""
    loader = PackageLoader("active_learning.report", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    styles, rarest = strategy_styles(runs), comparison.rarest_classes(runs)
    waiting, (balance, unbalanced) = waiting_of(runs), _balance(runs)
    curves = [map_curve(same) for same in by_label(runs).values()]
    in_objects = [by_objects(map_curve(same), object_curve(same)) for same in by_label(runs).values()]
    return environment.get_template("report.html.jinja").render(
        name=name,
        written=f"{now:%Y-%m-%d %H:%M} UTC",
        colours={label: style.index for label, style in styles.items()},
        headline=headline(runs, rows),
        runs=map(_run_row, runs),
        learning=_learning(curves, styles, rows, "images"),
        learning_in_objects=_learning(in_objects, styles, rows, "objects"),
        comparison_headers=comparison_tables.HEADERS,
        comparison=comparison_tables.table_rows(rows),
        gains=comparison_tables.gain_table(rows, rarest) if rows else [],
        cost=rows[0].cost if rows else "images",
        classes=_class_panels(runs, styles),
        balance=balance,
        unbalanced=unbalanced,
        certainty=_histograms(runs, styles),
        choices=_choices(runs),
        labels=label_check_section(runs),
        waiting=waiting,
        waiting_words=waiting_in_words(waiting),
        scores=[(run, row) for run in runs for row in run.scores],
        class_names=class_names(runs),
    )


def strategy_styles(runs: Sequence[RunResult]) -> dict[str, StrategyStyle]:
    """A colour for each; random has its own, so that the others keep theirs when it is added."""
    numbers = count()
    last = len(SERIES) - 1
    return {
        label: StrategyStyle(last if same[0].is_random else next(numbers) % last, same[0].is_random)
        for label, same in by_label(runs).items()
    }


def headline(runs: Sequence[RunResult], rows: Sequence[comparison.Comparison]) -> str:
    """What came out, in a sentence."""
    if any(row.sentence for row in rows):
        return comparison.in_a_sentence(rows)
    curves = [(map_curve(same), object_curve(same)) for same in by_label(runs).values()]
    scored = [pair for pair in curves if len(pair[0].sizes) and not np.isnan(pair[0].mean[-1])]
    if not scored:
        return "No network has been scored on the test images yet."
    curve, counts = max(scored, key=lambda pair: (pair[0].mean[-1], pair[0].label))
    objects = counts.mean[-1]
    counted_objects = "" if np.isnan(objects) else f", {objects:.0f} objects"
    whose = f"{curve.label}, mean of {len(curve.seeds)} seeds" if len(curve.seeds) > 1 else curve.label
    result = f"mAP {curve.mean[-1]:.1f} % with {curve.sizes[-1]:.0f} annotated images{counted_objects} ({whose})"
    rise = curve.mean[-1] - curve.mean[0]
    result = f"{result}, {rise:+.1f} since the start." if len(curve.sizes) > 1 and not np.isnan(rise) else f"{result}."
    return f"{result} {comparison.in_a_sentence(rows)}".rstrip()


def _run_row(run: RunResult) -> list[str]:
    """Where a run stands: strategy, seed, state, images, objects, and the first, the last and the best mAP."""
    scores = [row.mask_ap for row in run.scores]
    best = max(scores, key=np.nan_to_num, default=0.0)  # NaN: the test images held no object then
    texts = [f"{value:.1f}" for value in (scores[0], scores[-1], best)] if scores else ["–"] * 3
    images = str(run.scores[-1].train_size) if run.scores else "–"
    state = "finished" if run.phase == "finished" else f"next: {run.phase}"
    objects = str(sum(run.scores[-1].objects.values())) if run.scores and run.scores[-1].objects else "–"
    return [run.label, str(run.seed), state, images, objects, *texts]


def _learning(
    curves: Sequence[Curve],
    styles: dict[str, StrategyStyle],
    rows: Sequence[comparison.Comparison],
    cost: comparison.Cost,
) -> str:
    """Against images or objects; empty before the first score."""
    if not any(len(curve.sizes) for curve in curves):
        return ""
    ends = [f"{c.label}: {c.mean[-1]:.1f} % with {c.sizes[-1]:.0f} {cost}" for c in curves if len(c.sizes)]
    description = f"Learning curves, test mAP against annotated {cost}. {'; '.join(ends)}."
    name, saving = f"learning-{cost}", figures.saving_of(rows, cost)
    return figures.learning_curves(curves, styles, name=name, description=description, cost=cost, saving=saving)


def _class_panels(runs: Sequence[RunResult], styles: dict[str, StrategyStyle]) -> dict[str, str]:
    """Class name -> figure."""
    panels = {}
    table = {name: [class_curve(same, name) for same in by_label(runs).values()] for name in class_names(runs)}
    top = figures.top_of([curve for curves in table.values() for curve in curves])
    for number, (name, curves) in enumerate(table.items()):
        shown = [curve for curve in curves if len(curve.sizes) and not np.isnan(curve.values).all()]
        if not shown:
            continue
        ends = "; ".join(f"{curve.label} {curve.mean[-1]:.1f} %" for curve in shown)
        description = f"Test AP of {name} against annotated images, at the end: {ends}."
        panels[name] = figures.class_panel(shown, styles, top, name=f"class{number}", description=description)
    return panels


def _balance(runs: Sequence[RunResult]) -> tuple[list[tuple[str, list[ClassShare]]], list[str]]:
    """Of each strategy that has chosen; and those left out, as corrections took more than choosing brought."""
    names = class_names(runs)
    found = [(label, class_balance(same, names)) for label, same in by_label(runs).items()]
    left_out = [label for label, shares in found if any(one.chosen < 0 for one in shares)]
    return [(label, shares) for label, shares in found if shares and label not in left_out], left_out


def _histograms(runs: Sequence[RunResult], styles: dict[str, StrategyStyle]) -> dict[str, str]:
    """Label of a strategy -> figure."""
    panels = {}
    for number, (label, same) in enumerate(by_label(runs).items()):
        loops = [one for one in certainties(same) if len(one.pool)]  # else nothing was detected in any image
        if not loops:
            continue
        medians = ", ".join(f"{np.median(one.pool):.2f}" for one in loops)
        description = f"Histograms of the certainty of pool images, a loop a row; medians {medians}."
        name = f"certainty{number}"
        panels[label] = figures.certainty_histograms(loops, styles[label], name=name, description=description)
    return panels


def certainties(runs: Sequence[RunResult]) -> list[LoopCertainties]:
    """Of each loop of one strategy, all seeds together; images in which nothing was detected are left out."""
    found: list[LoopCertainties] = []
    for loop in range(max(len(run.scores) for run in runs)):
        here = [run.files for run in runs if run.files.pool_scores(loop).exists()]
        if not here:  # as of the last loop, and where images chosen ahead were enough
            continue
        pool: list[float] = []
        chosen: list[float] = []
        for files in here:
            values = {k: v for k, v in read_pool_scores(files.pool_scores(loop)).items() if v == v}
            pool += values.values()
            taken = chosen_by_network(files, loop)
            chosen += [value for name, value in values.items() if name in taken]
        found.append(LoopCertainties(loop, pool, chosen))
    return found


def chosen_by_network(files: OutputFiles, loop: int) -> set[str]:
    """The images that the network of a loop chose: those that the next loop adds or, with work_ahead, the one after."""
    found: set[str] = set()
    for later in (loop + 1, loop + 2):
        path = files.train_files(later)
        if not path.exists():
            continue
        network = read_network(path)
        if (later - 1 if network is None else network) == loop:
            before = files.train_files(later - 1)
            found |= added_images(path, before)
    return found


def _choices(runs: Sequence[RunResult]) -> list[ExplainedChoice]:
    """Of each strategy the newest choice of its first seed that has one."""
    choices = []
    for label, same in by_label(runs).items():
        loops = next(filter(None, (files_by_loop(run.folder, "why_chosen*") for run in same)), {})
        if loops and (explanations := read_explanations(newest := loops[max(loops)])):
            choices.append(ExplainedChoice(label, max(loops), [_with_pictures(newest, one) for one in explanations]))
    return choices


def _with_pictures(folder: Path, explanation: Explanation) -> Explanation:
    picture, spread = (picture_address(folder / file) for file in (explanation.picture, explanation.spread))
    return replace(explanation, picture=picture, spread=spread)


def try_to_write_report(folder: Path) -> None:
    """For the loop: a report that cannot be written is no reason to stop a run of days."""
    try:
        write_report(folder)
    except (OSError, MaskALError) as error:
        logger.warning("The report could not be written: %s", error)
    except Exception as error:  # noqa: BLE001 (nor is a fault of ours)
        logger.warning("The report could not be written: %s: %s", type(error).__name__, first_line(error))
