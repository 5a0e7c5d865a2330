"""Requests annotations: images go into the annotate folder, with pre-labels if wanted, and what a person made is
collected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.corrections import Corrections
from active_learning.annotating.pre_labels import PreLabelFolder, export_format
from active_learning.annotating.supervisely_project import add_to_project
from active_learning.annotating.tool import KeptTool
from active_learning.annotating.waiting import log_request_ahead, refuse_to_wait, wait_for_annotations
from active_learning.annotations import Annotation
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_names import stem_groups
from active_learning.settings import Settings
from active_learning.system.file_moves import give_back_all
from active_learning.system.log import logger
from active_learning.system.wording import and_more

if TYPE_CHECKING:
    from active_learning.network.image_batches import UnreadableImage

PROJECT = "supervisely_project"
SECONDS_TO_SAVE = 0.1  # one that was saved while it was collected is read again then

# A network's predictions for the images of a folder, made as they are gone through.
Predict: TypeAlias = "Callable[[Path, Sequence[str]], Iterable[Annotation | UnreadableImage]]"


def request_annotations(
    folder: AnnotateFolder,
    images: Sequence[str],
    settings: Settings,
    *,
    wait: bool,
    predict: Predict | None = None,
    tool: KeptTool | None = None,
    before_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Returns when each image has an annotation beside it.

    Args:
        predict: makes pre-labels for images without annotation; a person then confirms that they are corrected, as with
            those that an earlier start has left.
        tool: one that `request_ahead` may have opened.
        before_waiting: called where images are awaited, once they lie in the annotate folder.

    Raises:
        AnnotationsAwaited: some have none, or pre-labels are not confirmed, and `wait` is off.
    """
    pre_labelled = _put(folder, images, settings, predict)
    tool = tool or KeptTool(logger.info)
    reported = set[str]()
    if folder.awaited:
        before_waiting()
        _warn_of_unused(folder.find_corrections(), reported)  # before a person annotates on
    while True:
        if folder.awaited and wait:
            wait_for_annotations(folder, settings, tool, pre_labelled=pre_labelled)
        elif folder.awaited:
            refuse_to_wait(folder, settings, pre_labelled=pre_labelled)
        folder.collect()
        folder.await_rest()
        if not folder.awaited:
            break
        time.sleep(SECONDS_TO_SAVE)
    _take_corrections(folder, reported)


def request_ahead(
    folder: AnnotateFolder,
    images: Sequence[str],
    settings: Settings,
    tool: KeptTool | None,
    *,
    predict: Predict | None = None,
) -> None:
    """Puts images into the annotate folder that are to be annotated meanwhile, and returns.

    Args:
        tool: is opened for them, and stays open; None: none is.
        predict: as above.
    """
    pre_labelled = _put(folder, images, settings, predict)
    if is_handed_in(folder, pre_labelled=pre_labelled):
        return
    has_tool = tool is not None and bool(settings.annotator.strip())
    log_request_ahead(folder, settings, pre_labelled=pre_labelled, has_tool=has_tool)
    if tool is not None:
        tool.open(settings.annotator, folder.path, settings.classes)


def is_handed_in(folder: AnnotateFolder, *, pre_labelled: bool) -> bool:
    """Whether nobody has to be waited for: all is annotated, and confirmed where it was pre-labelled."""
    is_confirmed = folder.confirmation.file_is_there or not (pre_labelled or folder.has_pre_labels)
    return folder.progress().complete and is_confirmed


def collect_last(annotations: AnnotationCache, images: Sequence[str], ahead: Sequence[str]) -> int:
    """What is not needed any more: the images `ahead`, of which those are collected that a person has annotated, and
    annotated images that were offered for correction, of which those are that a person has changed.

    Returns:
        How many of the images `ahead` were collected.
    """
    folder = AnnotateFolder(annotations)
    give_back_all(folder.path)
    folder.await_annotations(ahead)
    collected = folder.collect_touched()
    offered = AnnotateFolder(annotations, ahead)
    offered.await_annotations(images)
    offered.await_annotations([name for name in images if name not in set(offered.awaited)])
    offered.collect()
    _take_corrections(offered, set())
    return len(collected)


def _put(folder: AnnotateFolder, images: Sequence[str], settings: Settings, predict: Predict | None) -> bool:
    """Whether they are pre-labelled."""
    folder.fill(images)
    if folder.awaited and predict is not None:
        write_pre_labels(folder, settings, predict)
    if namesakes := stem_groups(folder.awaited):
        _warn_of_namesakes(folder, namesakes)
    return predict is not None or folder.has_pre_labels


def _warn_of_namesakes(folder: AnnotateFolder, groups: Sequence[Sequence[str]]) -> None:
    """LabelMe saves a.json for a.jpg, and opens that for a.png as well."""
    names = and_more([" and ".join(group) for group in groups], 3)
    remedy = "before you open them move all but one of such images into a folder of its own there"
    rest = "a file <image name>.json, such as a.png.json, goes with its image, as a.json"
    logger.warning("%s: %s share a name: LabelMe has one file for both; %s (%s)", folder.path, names, remedy, rest)


def _take_corrections(folder: AnnotateFolder, reported: set[str]) -> None:
    """With a line for each, and for what is not used, if that is not among the `reported`."""
    corrections = folder.take_corrections()
    for name, path in corrections.files.items():
        logger.info("%s was annotated anew in %s: that is used now, the former is kept as .orig", name, path)
    _warn_of_unused(corrections, reported)


def _warn_of_unused(corrections: Corrections, reported: set[str]) -> None:
    for reason in corrections.unused:
        if reason not in reported:
            logger.warning("%s", reason)
    reported.update(corrections.unused)


def write_pre_labels(folder: AnnotateFolder, settings: Settings, predict: Predict) -> None:
    """Pre-labels what is missing in the annotate folder; what a person, or an earlier start, put there stays.

    Raises:
        MaskALError: the meta.json does not fit, or a file cannot be written.
    """
    export = export_format(settings, settings.classes)
    files, missing = PreLabelFolder(folder.path, export), folder.progress().missing
    if missing:
        _write_missing(folder, files, missing, predict)
    if export.meta is not None:
        _make_project(folder, files, export.meta.path)


def _write_missing(folder: AnnotateFolder, files: PreLabelFolder, missing: Sequence[str], predict: Predict) -> None:
    done = folder.confirmation
    if done.clear():
        logger.info("%s was there before the pre-labels: make it again when they are corrected", done.file)

    def note(image: str, draft: Path) -> None:
        folder.own_files.add(files.path_of(image), image, draft)

    files.write_all(predict(folder.folder, missing), len(missing), _warn_of_unreadable, note)
    logger.info("Pre-labelled: %s", files.count)


def _warn_of_unreadable(image: UnreadableImage) -> None:
    logger.warning("%s; it gets no pre-label", image.fault)


def _make_project(folder: AnnotateFolder, files: PreLabelFolder, meta_json: Path) -> None:
    """The pre-labels that nobody has changed, with their images, as Supervisely imports them."""
    project = folder.path / PROJECT

    def note(path: Path, draft: Path) -> None:
        folder.own_files.add(path, "" if path.parent == project else image, draft)

    for image in folder.awaited:
        annotation = files.path_of(image)
        if folder.own_files.is_untouched(annotation):
            add_to_project(project, meta_json, folder.folder, image, annotation, note)
    if project.is_dir():
        logger.info("To import in Supervisely: the folder %s", project)
