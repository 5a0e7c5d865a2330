"""Several experiments of one settings file: they start alike, and are compared in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from active_learning.run.output_files import output_files, read_train_files
from active_learning.run.state import RunState
from active_learning.settings import Experiment, Settings
from active_learning.system.log import logger


def shared_initial_model(settings: Settings, experiment: Experiment, images: Sequence[str]) -> Path | None:
    """best_model_000.pth of an experiment before this one that begins as it does; None where there is none.

    What is trained first depends on the seed, the dropout and the images; all else that may differ concerns choosing.
    """
    for other in settings.experiments():
        if other == experiment:
            return None
        files = output_files(settings, other)
        alike = (other.seed, other.dropout_probability) == (experiment.seed, experiment.dropout_probability)
        if not (alike and files.state.exists() and files.best_model(0).exists()):
            continue
        scored = RunState.load(files.state).history
        if scored and sorted(read_train_files(files.train_files(0))) == sorted(images):
            return files.best_model(0)
    return None


def tell_comparison(settings: Settings) -> None:
    """What each strategy saves against random, on the terminal and in the log of the last experiment."""
    from active_learning.report.comparison import HEADERS, compare, table_rows
    from active_learning.report.runs import read_runs

    folder = settings.resultsroot / settings.experiment_name
    rows = compare(read_runs(folder))
    if not rows:
        return
    table = tabulate(table_rows(rows), headers=HEADERS, disable_numparse=True, stralign="right")
    logger.info("Compared with random, 95 %% intervals over seeds in brackets:\n\n%s\n", table)
    logger.info("Comparison: %s\nReport: %s", folder / "comparison.csv", folder / "report.html")
