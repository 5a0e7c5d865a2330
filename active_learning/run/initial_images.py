"""Which way a run comes to its initial images, by its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from active_learning.dataset.image_names import spelled_as
from active_learning.dataset.initial_images import (
    Choose,
    InitialImages,
    check_size,
    choose_initial_images,
    copy_initial_train_dir,
    sample_initial_images,
)
from active_learning.errors import MaskALError
from active_learning.run.data import RunData
from active_learning.run.near_duplicates import find_near_duplicates, near_duplicates_file
from active_learning.run.output_files import read_train_files
from active_learning.settings import Settings
from active_learning.system.log import logger
from active_learning.system.wording import counted


def initial_images(data: RunData, seed: int, choose: Choose | None = None) -> list[str]:
    """Those of initial_train_dir, of an earlier run, or sampled at random.

    Args:
        choose: takes the place of chance.
    """
    settings = data.settings
    if settings.use_initial_train_dir:
        data.refresh("train")
        return copy_initial_train_dir(settings.initial_train_dir, settings.traindir, logger.warning)
    images = data.images("train")
    if earlier := _earlier_run(settings):
        return _images_of_earlier_run(earlier, images, settings.traindir)
    size = initial_size(data)
    groups = find_near_duplicates(settings, images) if size < len(images) else []
    if choose is None:
        found = sample_initial_images(images, size, seed, groups)
    else:
        found = choose_initial_images(images, size, choose, groups)
    _log(found, size, near_duplicates_file(settings))
    return found.names


def initial_size(data: RunData) -> int:
    """Number of the images that `initial_images` gives; with a budget of objects, of so many objects on average.

    Raises:
        MaskALError: there are not so many, or nothing is annotated that would show how many objects an image holds.
    """
    images, settings = data.images("train"), data.settings
    size = settings.initial_datasize
    if earlier := _earlier_run(settings):
        return len(_images_of_earlier_run(earlier, images, settings.traindir))
    if settings.budget == "images":
        check_size(images, size)
        return size
    mean = data.mean_objects()
    if not mean:
        raise MaskALError(
            "A budget of objects needs to know how many objects an image holds, and no image is annotated yet that "
            "holds one; annotate the validation and test images first, or set budget to images"
        )
    number = max(round(size / mean), 1)
    check_size(images, number, f"{size} objects, {number} images of {mean:.1f}")
    return number


def _earlier_run(settings: Settings) -> Path | None:
    """The list of the images of the run that this one starts as."""
    return settings.initial_train_file if settings.duplicate_initial_model_and_data else None


def _images_of_earlier_run(source: Path, images: Sequence[str], traindir: Path) -> list[str]:
    names = list(spelled_as(read_train_files(source), images).values())
    absent = sorted(set(names) - set(images))
    if absent:
        raise MaskALError(
            f"{source}: {len(absent)} of its images are not in {traindir}, "
            f"such as {absent[0]}; set traindir to the folder of that run"
        )
    return names


def _log(found: InitialImages, size: int, file: Path) -> None:
    if found.held_back:
        text = "%s held back from the initial images as near-duplicates of another (%s lists them), such as %s"
        logger.info(text, counted(len(found.held_back), "image"), file, found.held_back[0])
    if found.scenes < size:
        text = "traindir shows %s, initial_datasize is %d: near-duplicates are among the initial images (%s)"
        logger.warning(text, counted(found.scenes, "scene"), size, file)
