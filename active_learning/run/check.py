"""`--check`: what a run with these settings would do, and every annotation that would stop it. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from active_learning.annotating.request import PROJECT
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import (
    FolderSnapshot,
    foreign_files,
    pair_annotations,
    take_snapshot,
)
from active_learning.dataset.initial_images import annotated_images
from active_learning.errors import MaskALError
from active_learning.network.network_config import training_iterations
from active_learning.run.data import RunData
from active_learning.run.output_files import output_files
from active_learning.run.state import RunState
from active_learning.run.weights import duplicated_initial_model
from active_learning.settings import Experiment, Settings
from active_learning.settings.changes import apply_settings
from active_learning.system.progress import progress
from active_learning.system.wording import and_more, counted

_WARNINGS_SHOWN = 20


@dataclass(frozen=True)
class _Start:
    """Where an experiment begins or goes on: with `size` training images of `images`, in this loop and phase."""

    size: int
    images: int
    loop: int = 0
    phase: str = ""  # of a run that has begun


def describe_run(settings: Settings, *, fresh: bool = False) -> str:
    """The plan in words; `fresh` plans from the start where a run has begun.

    Raises:
        MaskALError: an image folder is empty, annotations are faulty, or the run could not begin or go on with these
            settings; one message names all faults.
    """
    rows: list[list[object]] = []
    faults: list[str] = []
    warnings: list[str] = []
    plans: list[str] = []
    notes: list[str] = []
    for split, folder in _folders(settings):
        try:
            snapshot = take_snapshot(folder)
        except MaskALError as error:
            faults.append(str(error))
            continue
        notes += snapshot.notes
        images = len(snapshot.images)
        if not images:
            faults.append(f"{folder}: holds no image; put the images of {split}dir there")
        annotated, found, doubts = _read_annotations(settings, snapshot)
        faults += found
        warnings += doubts
        rows.append([split.rstrip("_"), str(folder), images, annotated, images - annotated - len(found)])
    for experiment in settings.experiments():
        try:
            plans.append(_plan(settings, experiment, _start(settings, experiment, fresh)))
        except MaskALError as error:
            faults.append(str(error))
    if faults:
        raise MaskALError("\n".join(dict.fromkeys([*faults, *_shown(warnings)])))
    parts = [
        tabulate(rows, headers=["images", "folder", "number", "annotated", "without annotation"]),
        *notes,
        *plans,
        f"Network: {settings.network_config}\nStart weights: {settings.pretrained_weights or 'none'}",
        *(["Warnings:\n" + "\n".join(_shown(warnings))] if warnings else []),
        _verdict(warnings),
    ]
    return "\n\n".join(parts)


def _folders(settings: Settings) -> list[tuple[str, Path]]:
    """By the names of their settings, less `dir`."""
    folders = [("train", settings.traindir), ("val", settings.valdir), ("test", settings.testdir)]
    return [*folders, ("initial_train_", settings.initial_train_dir)] if settings.use_initial_train_dir else folders


def _start(settings: Settings, experiment: Experiment, fresh: bool) -> _Start:
    """Raises MaskALError where the run would refuse to begin or to go on."""
    data, path = RunData(settings), output_files(settings, experiment).state
    if path.exists() and not fresh:
        state = RunState.load(path)
        state.check_going_on(path)
        apply_settings({"classes": state.classes, **state.settings}, settings, experiment, running=False)
        size = len(data.present("train", state.train_images))
        return _Start(size, len(data.images("train")), state.loop, state.phase)
    if settings.use_initial_train_dir:
        initial = annotated_images(settings.initial_train_dir)
        return _Start(len(initial), len({*data.images("train"), *initial}))
    if settings.duplicate_initial_model_and_data:
        duplicated_initial_model(settings)
    return _Start(len(data.initial_images(experiment.seed)), len(data.images("train")))


def _shown(warnings: Sequence[str]) -> list[str]:
    more = len(warnings) - _WARNINGS_SHOWN
    return [*warnings[:_WARNINGS_SHOWN], *([f"{more} more warnings"] if more > 0 else [])]


def _verdict(warnings: Sequence[str]) -> str:
    if warnings:
        return f"Settings and folders are in order, but for {counted(len(warnings), 'warning')}. Nothing was changed."
    return "Settings, folders and annotations are in order. Nothing was changed."


def _read_annotations(settings: Settings, snapshot: FolderSnapshot) -> tuple[int, list[str], list[str]]:
    """How many images have a good annotation, the faults of the others, and warnings."""
    annotations = AnnotationCache(snapshot.folder, settings.classes, settings.unknown_labels, settings.most_pixels)
    pairs = pair_annotations(snapshot.folder, snapshot.images, annotations, snapshot)
    bar = progress(pairs.items(), what=f"reading {snapshot.folder}", unit="file")
    faults: list[str] = []
    warnings: list[str] = []
    for name, path in bar:
        fault = annotations.fault(path, name)
        faults += [fault] if fault else []
        warnings += annotations.warnings(path, name)
    if foreign := foreign_files(snapshot, annotations):
        warnings.append(f"{and_more(foreign, what='files')}: no annotation, though named as one; passed over")
    warnings += _persons_images_in_annotate(snapshot)
    return len(pairs) - len(faults), faults, warnings


def _persons_images_in_annotate(snapshot: FolderSnapshot) -> list[str]:
    """A warning where the folder of copies that are to be annotated holds images that are no copies."""
    folder, known = snapshot.folder / ANNOTATE, set(snapshot.images)
    images = take_snapshot(folder).images if folder.is_dir() else ()
    own = [name for name in images if name not in known and PROJECT not in name.split("/")]
    if not own:
        return []
    place = f"{folder / own[0]}: is not used, nor are {len(own) - 1} more images there"
    return [f"{place}: MaskAL keeps copies of images to annotate in that folder; move yours to another"]


def _plan(settings: Settings, experiment: Experiment, start: _Start) -> str:
    """Train size and iterations of each loop that is left."""
    size, rows = start.size, []
    if start.phase in ("", "annotate", "train"):
        rows.append([start.loop, size, training_iterations(size, settings)])
    for loop, pool_size in enumerate(experiment.pool_sizes[start.loop :], start=start.loop + 1):
        if size == start.images:
            break
        size = min(size + pool_size, start.images)
        rows.append([loop, size, training_iterations(size, settings)])
    title = (
        f"Experiment {settings.experiment_name}/{experiment.name}: strategy {experiment.strategy}, "
        f"mode {experiment.mode}, dropout {experiment.dropout_probability:g}, {experiment.mcd_iterations} passes"
    )
    if start.phase:
        title += f"\nIt has begun: loop {start.loop} of {len(experiment.pool_sizes)}, phase {start.phase}"
    return title + "\n" + (tabulate(rows, headers=["loop", "train size", "iterations"]) if rows else "No training left")
