"""Waiting until a person has annotated what lies in the annotate folder; the annotation tool is open meanwhile."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.confirmation import is_at_terminal
from active_learning.annotating.tool import KeptTool
from active_learning.annotating.wait_report import AbsenceReport
from active_learning.dataset.absence import absence_error, is_there
from active_learning.dataset.image_folder import find_annotations, take_snapshot
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.settings import Settings
from active_learning.system.devices import release_gpu_memory
from active_learning.system.log import logger
from active_learning.system.saving import quiet_check, times_of
from active_learning.system.wording import counted

POLL_SECONDS = 2.0
ANSWER_POLL_SECONDS = 0.5
QUIET_SECONDS = 30.0  # longer than one shape takes


def wait_for_annotations(folder: AnnotateFolder, settings: Settings, tool: KeptTool, *, pre_labelled: bool) -> None:
    """Returns when all awaited images are annotated and a person has finished with the last one. Images that an earlier
    start, or a loop before, has put there may be annotated by now, or a person be at the last one at this moment.

    Args:
        tool: is opened, or stays open, until then.
        pre_labelled: a person confirms that the pre-labels are corrected.
    """
    try:
        complete = folder.progress().complete
        at_work = (
            pre_labelled or tool.is_open or _age_of_newest(folder, times_of(folder.annotation_files)) < QUIET_SECONDS
        )
        if complete and (folder.confirmation.file_is_there or not at_work):
            return
        if pre_labelled or not complete:
            log_request(folder, settings, pre_labelled=pre_labelled)
            tool.open(settings.annotator, folder.path, settings.classes)
        release_gpu_memory()
        if pre_labelled:
            _wait_for_confirmation(folder, tool)
        folder.wait(poll_seconds=POLL_SECONDS, report=logger.info, watch=tool.watch)
        if not pre_labelled:
            _let_the_last_image_be_finished(folder, tool)
            folder.wait(poll_seconds=POLL_SECONDS, report=logger.info)
    finally:
        tool.end()


def refuse_to_wait(folder: AnnotateFolder, settings: Settings, *, pre_labelled: bool) -> None:
    """Raises AnnotationsAwaited unless all is annotated and, where pre-labelled, confirmed, and MaskALError where the
    images are gone with their drive.

    An annotation that was saved a moment ago may be a first shape: it has to stay as it is for what QUIET_SECONDS have
    left, as this start may be one of a clock that knows nothing of the person.
    """
    if found := folder.absence():
        raise absence_error(found)
    progress = folder.progress()
    awaited = [*progress.missing, *progress.faulty]
    confirmed = not pre_labelled or folder.confirmation.file_is_there
    if confirmed and not awaited:
        _refuse_what_is_drawn_now(folder)
        return
    log_request(folder, settings, pre_labelled=pre_labelled)
    lines = [f"Annotations are awaited in {folder.path}:"]
    lines += [f"  {name}: {progress.faulty.get(name, 'not annotated yet')}" for name in awaited]
    if not confirmed:
        lines += [f"  {name}: pre-labelled, to be corrected" for name in folder.awaited if name not in set(awaited)]
        lines.append(f"When all are corrected, put an empty file there and start again: {folder.confirmation.file}")
        lines += folder.confirmation.not_counted()
    else:
        lines.append("When all are annotated, start again with the same command; it goes on from there.")
    raise AnnotationsAwaited("\n".join(lines))


def _refuse_what_is_drawn_now(folder: AnnotateFolder) -> None:
    """Raises AnnotationsAwaited where an annotation of the awaited images changes before it is QUIET_SECONDS old."""
    before = times_of(folder.annotation_files)
    age = _age_of_newest(folder, before)
    end = time.monotonic() + QUIET_SECONDS - age
    if end > time.monotonic() and not folder.confirmation.file_is_there:
        text = "An annotation was saved %.0f seconds ago: looking until it is %g seconds old whether its person goes on"
        logger.info(text, age, QUIET_SECONDS)
    while time.monotonic() < end and not folder.confirmation.file_is_there:
        time.sleep(ANSWER_POLL_SECONDS)
        now = times_of(folder.annotation_files)
        if changed := [path for path in before if now[path] != before[path]]:
            remedy = f"start again when it is finished, or put an empty file there: {folder.confirmation.file}"
            raise AnnotationsAwaited(f"{changed[0]}: was saved at this moment; {remedy}")


def log_request(folder: AnnotateFolder, settings: Settings, *, pre_labelled: bool) -> None:
    """How many images a person is to annotate or correct, where, and with which classes."""
    progress = folder.progress()
    number = len(folder.awaited) if pre_labelled else len(progress.missing) + len(progress.faulty)
    task = "to be corrected, they are pre-labelled," if pre_labelled else "to be annotated"
    logger.info("%s %s in %s", counted(number, "image"), task, folder.path)
    logger.info("with these classes: %s", ", ".join(settings.classes))
    if others := _not_asked_for(folder):
        text = "Not asked for: %s in that folder, such as %s; what is annotated of them counts once they are chosen"
        logger.info(text, counted(len(others), "image"), others[0])


def _not_asked_for(folder: AnnotateFolder) -> list[str]:
    """Copies of other images without an annotation, such as another run, or a person, has left there."""
    try:
        there = take_snapshot(folder.path).images
    except MaskALError:  # nothing is there, or what a person has put there cannot be told apart
        return []
    asked = {*folder.awaited, *folder.later}
    others = [name for name in there if name not in asked and is_there(folder.folder / name)]
    annotated, _ = find_annotations(folder.folder, others)
    return [name for name in others if name not in annotated]


def log_request_ahead(folder: AnnotateFolder, settings: Settings, *, pre_labelled: bool, has_tool: bool) -> None:
    """The same, of images that are annotated while the program goes on."""
    log_request(folder, settings, pre_labelled=pre_labelled)
    logger.info("They are of the next loop, so there is time: the training goes on meanwhile.")
    closing = "close the annotation tool, or " if has_tool and not pre_labelled else ""
    if pre_labelled or has_tool:
        logger.info("When you are finished, %sput an empty file there: %s", closing, folder.confirmation.file)


def _wait_for_confirmation(folder: AnnotateFolder, tool: KeptTool) -> None:
    key = "press Enter here, or " if is_at_terminal() else ""
    logger.info("When all are corrected, %sput an empty file there: %s", key, folder.confirmation.file)
    folder.confirmation.ask()
    lookout = AbsenceReport(folder.folder, folder.absence, logger.info)
    reported = set[str]()
    while lookout.sees_absence() or not folder.confirmation.is_given():
        _report_not_counted(folder, reported)
        tool.watch()
        time.sleep(ANSWER_POLL_SECONDS)


def _let_the_last_image_be_finished(folder: AnnotateFolder, tool: KeptTool) -> None:
    """With the first shape that a tool saves by itself an image counts as annotated, long before its person is done.

    An open tool is somebody who will close it; of one that a person has opened nothing is known but its files.
    """
    was_open = tool.is_open
    choices = ["press Enter here"] if is_at_terminal() else []
    choices.append(f"put an empty file there: {folder.confirmation.file}")
    if was_open:
        choices.insert(0, "close the annotation tool")
        logger.info("All images are annotated. When you are finished, %s", ", or ".join(choices))
    else:
        logger.info("All images are annotated. MaskAL goes on when no file has changed for %g seconds.", QUIET_SECONDS)
        logger.info("To go on at once, %s", ", or ".join(choices))
    is_quiet, reported = quiet_check(folder.path, QUIET_SECONDS), set[str]()
    folder.confirmation.ask()
    lookout = AbsenceReport(folder.folder, folder.absence, logger.info)
    while True:
        quiet = is_quiet()  # also while the folder is gone: that it is back is a change
        if not lookout.sees_absence() and (folder.confirmation.is_given() or (not tool.is_open if was_open else quiet)):
            return
        _report_not_counted(folder, reported)
        time.sleep(ANSWER_POLL_SECONDS)


def _report_not_counted(folder: AnnotateFolder, reported: set[str]) -> None:
    """Each once."""
    for line in folder.confirmation.not_counted():
        if line not in reported:
            logger.info("%s", line)
            reported.add(line)


def _age_of_newest(folder: AnnotateFolder, times: Mapping[str, int]) -> float:
    """In seconds, by a clock that may have been put back since."""
    return abs(_now_of_drive(folder.path) - max(times.values(), default=0) / 1e9)


def _now_of_drive(folder: Path) -> float:
    """The time that a file has which is saved there now: a drive of the network has a clock of its own."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
    return time.time()  # nothing can be saved there
