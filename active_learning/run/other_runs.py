"""Runs beside those that are started, which a person may have in mind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from active_learning.errors import MaskALError
from active_learning.run.findings import Finding, Kind
from active_learning.run.output_files import STATE
from active_learning.run.project import Project
from active_learning.run.state import RunState
from active_learning.run.weights import network_edits
from active_learning.settings.changes import list_changes, training_changes


def unfinished_runs_left(project: Project) -> Iterator[Finding]:
    """Those of the experiment_name that the settings ask for no more, as where a list took the place of one value."""
    settings = project.settings
    folder, asked = settings.resultsroot / settings.experiment_name, {one.name for one in settings.experiments()}
    states = [] if project.fresh else sorted(folder.glob(f"*/{STATE}"))
    for path in (path for path in states if path.parent.name not in asked):
        with suppress(MaskALError):  # what cannot be read would not go on, either
            state = RunState.load(path)
            if state.phase != "finished":
                edits = "; ".join(map(str, list_changes(state.settings, settings)))
                why = f"the settings do not ask for it{f' ({edits})' if edits else ''}"
                where = f"this run is not finished (loop {state.loop}, phase {state.phase})"
                text = f"{path.parent}: {where}, and {why}: it is left as it is. With its former settings it goes on"
                yield Finding(text, Kind.NOTE)


def initial_model_trained_otherwise(project: Project) -> Iterator[Finding]:
    """The run whose initial model is taken, where the later loops would be trained otherwise. A model that cannot be
    used is refused (run/weights.py)."""
    settings, images = project.settings, project.settings.initial_train_file
    if not settings.duplicate_initial_model_and_data or images is None:
        return
    with suppress(MaskALError):  # which others report
        states = [project.state(one) for one in settings.experiments()]
        if all(state and state.history for state in states):  # they have taken it
            return
        earlier = RunState.load(images.with_name(STATE))
        if edits := training_changes(earlier.settings, settings, network_edits(earlier, settings)):
            text = f"that run trains with other settings than this one: {'; '.join(map(str, edits))}"
            yield Finding(f"initial_train_file: {text}; compare strategies where all else is equal", Kind.WARNING)
