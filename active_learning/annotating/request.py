"""Having images annotated: pre-labels, the annotation tool, waiting, and collecting what a person made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tqdm import tqdm

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.confirmation import is_at_terminal
from active_learning.annotating.pre_labels import PreLabelFolder, export_format
from active_learning.annotating.supervisely_project import add_to_project
from active_learning.annotating.tool import AnnotatorTool, open_tool
from active_learning.annotations import Annotation
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.settings import Settings
from active_learning.system.log import logger

if TYPE_CHECKING:
    from active_learning.network.image_batches import UnreadableImage

POLL_SECONDS = 2.0
ANSWER_POLL_SECONDS = 0.5
QUIET_SECONDS = 30.0  # a shape is drawn in less
PROJECT = "supervisely_project"

# What a network sees in the images of a folder; costs time as it is gone through.
Draw: TypeAlias = "Callable[[Path, Sequence[str]], Iterable[Annotation | UnreadableImage]]"


def have_annotated(
    desk: AnnotateFolder, images: Sequence[str], settings: Settings, *, wait: bool, draw: Draw | None = None
) -> None:
    """Returns when each image has an annotation beside it.

    Args:
        draw: draws pre-labels for images without annotation; a person then confirms that they are corrected, as with
            those that an earlier start has left.

    Raises:
        AnnotationsAwaited: some have none, or pre-labels are not confirmed, and `wait` is off.
    """
    desk.fill(images)
    if desk.awaited:
        if draw is not None:
            write_pre_labels(desk, settings, draw)
        pre_labelled = draw is not None or desk.has_pre_labels
        if wait:
            _wait_for_a_person(desk, settings, pre_labelled=pre_labelled)
        else:
            _refuse_to_wait(desk, settings, pre_labelled=pre_labelled)
    desk.collect()


def write_pre_labels(desk: AnnotateFolder, settings: Settings, draw: Draw) -> None:
    """Draws what is missing in the annotate folder; what a person, or an earlier start, put there stays.

    Raises:
        MaskALError: the meta.json does not fit, or a file cannot be written.
    """
    export = export_format(
        settings.export_format,
        settings.classes,
        max_polygon_error=settings.max_polygon_error,
        meta_json=settings.supervisely_meta_json,
    )
    files, missing = PreLabelFolder(desk.path, export), desk.progress().missing
    if missing and desk.confirmation.clear():
        logger.info("%s was there before the pre-labels: make it again when they are corrected", desk.confirmation.file)
    drawn = draw(desk.folder, missing) if missing else ()
    for one in tqdm(drawn, total=len(missing), desc="Pre-labelling", unit="image", disable=None if missing else True):
        if isinstance(one, Annotation):
            path = files.write(one)
            if path is not None:
                desk.own_files.add(path, one.image)
        else:
            logger.warning("%s; it gets no pre-label", one.fault)
    if missing:
        logger.info("Pre-labelled: %s", files.count)
    if export.meta is not None:
        _make_project(desk, files, export.meta.path)


def _make_project(desk: AnnotateFolder, files: PreLabelFolder, meta_json: Path) -> None:
    """The pre-labels that nobody has changed, with their images, as Supervisely imports them."""
    project = desk.path / PROJECT
    for image in desk.awaited:
        annotation = files.path_of(image)
        if not desk.own_files.is_untouched(annotation):
            continue
        try:
            for path in add_to_project(project, meta_json, desk.folder, image, annotation):
                desk.own_files.add(path, "" if path.parent == project else image)
        except (OSError, ValueError) as error:
            raise MaskALError(f"{project}: {image} cannot be put there: {error}") from error
    if project.is_dir():
        logger.info("To import in Supervisely: the folder %s", project)


def _wait_for_a_person(desk: AnnotateFolder, settings: Settings, *, pre_labelled: bool) -> None:
    progress = desk.progress()
    if progress.complete and (desk.confirmation.file_is_there or not pre_labelled):
        return
    _ask(desk, settings, pre_labelled)
    with open_tool(settings.annotator, desk.path, settings.classes, logger.info) as tool:
        watch = tool.watch if tool is not None else lambda: None
        if pre_labelled:
            _wait_for_an_answer(desk, watch)
        desk.wait(poll_seconds=POLL_SECONDS, say=logger.info, watch=watch)
        if not pre_labelled:
            _let_the_last_image_be_finished(desk, tool)
            desk.wait(poll_seconds=POLL_SECONDS, say=logger.info)


def _ask(desk: AnnotateFolder, settings: Settings, pre_labelled: bool) -> None:
    progress = desk.progress()
    number = len(desk.awaited) if pre_labelled else len(progress.missing) + len(progress.faulty)
    task = "to be corrected, they are pre-labelled," if pre_labelled else "to be annotated"
    logger.info("%d image%s %s in %s", number, "" if number == 1 else "s", task, desk.path)
    logger.info("with these classes: %s", ", ".join(settings.classes))


def _wait_for_an_answer(desk: AnnotateFolder, watch: Callable[[], None]) -> None:
    key = "press Enter here, or " if is_at_terminal() else ""
    logger.info("When all are corrected, %sput an empty file there: %s", key, desk.confirmation.file)
    desk.confirmation.ask()
    while not desk.confirmation.is_given():
        watch()
        time.sleep(ANSWER_POLL_SECONDS)


def _let_the_last_image_be_finished(desk: AnnotateFolder, tool: AnnotatorTool | None) -> None:
    """With the first shape that a tool saves by itself an image counts as annotated, long before its person is done.

    An open tool is somebody who will close it; of one that a person has opened nothing is known but its files.
    """
    opened = tool if tool is not None and tool.is_open else None
    ways = ["press Enter here"] if is_at_terminal() else []
    ways.append(f"put an empty file there: {desk.confirmation.file}")
    if opened:
        ways.insert(0, "close the annotation tool")
        logger.info("All images are annotated. When you are finished, %s", ", or ".join(ways))
    else:
        logger.info("All images are annotated. MaskAL goes on when no file has changed for %g seconds.", QUIET_SECONDS)
        logger.info("To go on at once, %s", ", or ".join(ways))
    has_rested = _has_rested(desk.path)
    desk.confirmation.ask()
    while not desk.confirmation.is_given() and (opened.is_open if opened else not has_rested()):
        time.sleep(ANSWER_POLL_SECONDS)


def _has_rested(folder: Path) -> Callable[[], bool]:
    """Tells whether no file of the folder has changed for some time."""
    seen, since = _snapshot(folder), time.monotonic()

    def is_over() -> bool:
        nonlocal seen, since
        now = _snapshot(folder)
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= QUIET_SECONDS

    return is_over


def _snapshot(folder: Path) -> dict[str, int]:
    """Changes with every file that is saved."""
    times = {}
    for path in folder.rglob("*"):
        try:
            times[str(path)] = path.stat().st_mtime_ns
        except OSError:  # replaced at this moment
            times[str(path)] = 0
    return times


def _refuse_to_wait(desk: AnnotateFolder, settings: Settings, *, pre_labelled: bool) -> None:
    """Raises AnnotationsAwaited unless all is annotated and, where pre-labelled, confirmed."""
    progress = desk.progress()
    awaited = [*progress.missing, *progress.faulty]
    confirmed = not pre_labelled or desk.confirmation.file_is_there
    if confirmed and not awaited:
        return
    _ask(desk, settings, pre_labelled)
    lines = [f"Annotations are awaited in {desk.path}:"]
    lines += [f"  {name}: {progress.faulty.get(name, 'not annotated yet')}" for name in awaited]
    if not confirmed:
        lines += [f"  {name}: pre-labelled, to be corrected" for name in desk.awaited if name not in set(awaited)]
        lines.append(f"When all are corrected, put an empty file there and start again: {desk.confirmation.file}")
    raise AnnotationsAwaited("\n".join(lines))
