"""`--check`: what a run with these settings would do, and every annotation that would stop it. Changes nothing."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from active_learning.annotations import check_labels, read_annotation
from active_learning.dataset.image_folder import find_images, image_size, pair_annotations
from active_learning.errors import MaskALError
from active_learning.network.network_config import training_iterations
from active_learning.progress import progress
from active_learning.settings import Experiment, Settings


def describe_run(settings: Settings) -> str:
    """The plan in words.

    Raises:
        MaskALError: an image folder is empty, or annotations are faulty; one message names them all.
    """
    rows: list[list[object]] = []
    faults: list[str] = []
    train_images = 0
    for split, folder in (("train", settings.traindir), ("val", settings.valdir), ("test", settings.testdir)):
        images = find_images(folder)
        if not images:
            faults.append(f"{folder}: holds no image; put the images of {split}dir there")
        train_images = train_images or len(images)
        annotated, found = _read_annotations(settings, folder, images)
        faults += found
        rows.append([split, str(folder), len(images), annotated, len(images) - annotated - len(found)])
    if faults:
        raise MaskALError("\n".join(faults))
    parts = [
        tabulate(rows, headers=["images", "folder", "number", "annotated", "without annotation"]),
        *(_plan(settings, experiment, train_images) for experiment in settings.experiments()),
        f"Network: {settings.network_config}\nStart weights: {settings.pretrained_weights or 'none'}",
        "Settings, folders and annotations are in order. Nothing was changed.",
    ]
    return "\n\n".join(parts)


def _read_annotations(settings: Settings, folder: Path, images: list[str]) -> tuple[int, list[str]]:
    """How many images have a good annotation, and the faults of the others."""
    good, faults = 0, []
    pairs = pair_annotations(folder, images)
    for name, path in progress(pairs.items(), what=f"reading {folder}", unit="file"):
        try:
            annotation = read_annotation(path, image=name, size=image_size(folder / name), within=folder)
            check_labels(annotation, settings.classes, settings.unknown_labels, path)
            good += 1
        except MaskALError as error:
            faults.append(str(error))
    return good, faults


def _plan(settings: Settings, experiment: Experiment, images: int) -> str:
    """Train size and iterations of each loop."""
    size = min(settings.initial_datasize, images)
    rows = [[0, size, training_iterations(size, settings)]]
    for loop, pool_size in enumerate(experiment.pool_sizes, start=1):
        if size == images:
            break
        size = min(size + pool_size, images)
        rows.append([loop, size, training_iterations(size, settings)])
    title = (
        f"Experiment {settings.experiment_name}/{experiment.name}: strategy {experiment.strategy}, "
        f"mode {experiment.mode}, dropout {experiment.dropout_probability:g}, {experiment.mcd_iterations} passes"
    )
    return title + "\n" + tabulate(rows, headers=["loop", "train size", "iterations"])
