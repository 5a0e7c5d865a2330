"""`--check`: what a run with these settings would do, and all that would stop it. Changes nothing."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from active_learning.network.network_config import pretrained_weights, training_iterations
from active_learning.run.checks import find_all, local_weights
from active_learning.run.data import MEASURED
from active_learning.run.findings import Kind, refuse, shown_warnings, texts
from active_learning.run.project import Project
from active_learning.run.start import Start, find_start
from active_learning.settings import Experiment, Settings
from active_learning.system.wording import counted


def describe_run(
    settings: Settings, *, fresh: bool = False, deep: bool = False, settings_file: Path | None = None
) -> str:
    """The plan in words, and what is warned of.

    Args:
        fresh: plans from the start where a run has begun.
        deep: also builds the network, loads the weights that it starts from (published ones are fetched), and decodes
            every image.
        settings_file: where the settings stand.

    Raises:
        MaskALError: an image folder is empty, annotations are faulty, or the run could not begin or go on with these
            settings; one message names all faults. A SettingsError where one is of the settings.
    """
    project = Project(settings, fresh, settings_file, deep)
    findings = find_all(project)
    refuse(findings)
    mean = project.data.mean_objects() if settings.budget == "objects" else 1.0
    plans = [_plan(settings, one, find_start(project, one), mean) for one in settings.experiments()]
    notes, verdict = "\n".join(texts(findings, Kind.NOTE)), _verdict(texts(findings, Kind.WARNING))
    depth = _depth(project) if deep else ""
    return "\n\n".join(filter(None, [_table(project), notes, *plans, _network(project), depth, verdict]))


def _depth(project: Project) -> str:
    """What was done because of --deep; all of it went well."""
    images = counted(sum(len(snapshot.images) for snapshot in project.snapshots.values()), "image")
    return f"Looked at in depth: {images} decoded, the network built, its start weights loaded."


def _network(project: Project) -> str:
    settings = project.settings
    if "pretrained_weights" in project.done_with:
        return f"Network: {settings.network_config}\nStart weights: the run's own, from now on"
    weights = pretrained_weights(settings)
    later = (
        " (not on this machine yet: the start of a run fetches them)" if weights and not local_weights(weights) else ""
    )
    return f"Network: {settings.network_config}\nStart weights: {settings.pretrained_weights or 'none'}{later}"


def _table(project: Project) -> str:
    rows = [
        [split.rstrip("_"), str(project.snapshots[split].folder), one.images, one.annotated, len(one.bare)]
        for split, one in project.readings.items()
    ]
    table = tabulate(rows, headers=["images", "folder", "number", "annotated", "without annotation"])
    asked = sum(len(project.readings[split].bare) for split in MEASURED if split in project.readings)
    if asked:
        table += f"\nThe run asks for annotations of {counted(asked, 'validation or test image')} before it trains."
    return table


def _verdict(warnings: list[str]) -> str:
    if not warnings:
        return "Settings, folders and annotations are in order. Nothing was changed."
    verdict = f"Settings and folders are in order, but for {counted(len(warnings), 'warning')}. Nothing was changed."
    return "\n".join([*shown_warnings(warnings), verdict])


def _plan(settings: Settings, experiment: Experiment, start: Start, mean: float) -> str:
    """Train size and iterations of each loop that is left.

    Args:
        mean: of what the budget counts, in an image; 0 where that is not known yet.
    """
    size, rows = start.size, []
    if start.phase in ("", "annotate", "train") and not start.ends:
        rows.append([start.loop, size, training_iterations(size, settings)])
    left = [] if start.ends else experiment.pool_sizes[start.loop :]
    for loop, pool_size in enumerate(left, start=start.loop + 1):
        if size == start.images:
            break
        chosen = start.ahead if loop == start.loop + 1 else 0
        size = min(size + (chosen or max(round(pool_size / (mean or 1)), 1)), start.images)
        rows.append([loop, size, training_iterations(size, settings)])
    title = (
        f"Experiment {settings.experiment_name}/{experiment.name}: strategy {experiment.strategy}, "
        f"mode {experiment.mode}, dropout {experiment.dropout_probability:g}, {experiment.mcd_iterations} passes"
    )
    if start.phase:
        title += f"\nIt has begun: loop {start.loop} of {len(experiment.pool_sizes)}, phase {start.phase}"
    if settings.budget == "objects":
        title += f"\nThe budget counts objects; train sizes {_estimate(mean)}"
    if settings.tile_size:
        title += "\nIterations are those of so many images; a training counts tiles, so that it may have more"
    if not rows:
        return f"{title}\nNo training left" + (f": {start.ends}" if start.ends else "")
    return title + "\n" + tabulate(rows, headers=["loop", "train size", "iterations"])


def _estimate(mean: float) -> str:
    if not mean:
        return "are not known before images are annotated: these are the largest"
    return f"are estimates by the images that are annotated, which hold {mean:.1f} objects on average"
