"""`--status`: where the runs of a settings file stand. Changes nothing."""

from __future__ import annotations

from tabulate import tabulate

from active_learning.dataset.image_folder import pair_annotations
from active_learning.output_files import output_files
from active_learning.run_state import RunState
from active_learning.settings import Experiment, Settings


def describe_status(settings: Settings) -> str:
    """A paragraph for each experiment.

    Raises:
        MaskALError: a run's state cannot be read.
    """
    return "\n\n".join(_describe(settings, experiment) for experiment in settings.experiments())


def _describe(settings: Settings, experiment: Experiment) -> str:
    title = f"Experiment {settings.experiment_name}/{experiment.name}"
    path = output_files(settings, experiment).state
    if not path.exists():
        return f"{title}: not started"
    state = RunState.load(path)
    total, annotated = len(state.train_images), len(pair_annotations(settings.traindir, state.train_images))
    lines = [
        f"{title}: loop {state.loop} of {len(experiment.pool_sizes)}, phase {state.phase}",
        f"{total} training images: {annotated} annotated, {total - annotated} missing",
    ]
    if state.why_finished:
        lines.append(f"Finished: {state.why_finished}.")
    if state.history:
        rows = [[loop, scores.train_size, scores.mask_ap] for loop, scores in enumerate(state.history)]
        lines += ["", tabulate(rows, headers=["loop", "train size", "mAP"], floatfmt=".1f")]
    return "\n".join(lines)
