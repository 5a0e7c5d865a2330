"""`--status`: where the runs of a settings file stand. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.annotating.corrections import find_corrections, in_words
from active_learning.annotations import image_named_in
from active_learning.dataset.absence import IS_IT_CONNECTED, is_reachable, is_there
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import find_annotations
from active_learning.run.batch_times import minutes
from active_learning.run.data import SPLITS, RunData
from active_learning.run.other_runs import unfinished_runs_left
from active_learning.run.output_files import output_files
from active_learning.run.project import Project
from active_learning.run.start import is_finished, reason_to_end
from active_learning.run.state import LoopScores, RunState
from active_learning.settings import Experiment, Settings
from active_learning.system.own_files import OwnFiles


def describe_status(settings: Settings) -> str:
    """A paragraph for each experiment, and for each run that is not finished and not asked for any more.

    Raises:
        MaskALError: a run's state cannot be read.
    """
    paragraphs = [_describe(settings, experiment) for experiment in settings.experiments()]
    paragraphs += [finding.text for finding in unfinished_runs_left(Project(settings))]
    return "\n\n".join(paragraphs)


def _describe(settings: Settings, experiment: Experiment) -> str:
    title = f"Experiment {settings.experiment_name}/{experiment.name}"
    path = output_files(settings, experiment).state
    if not path.exists():
        gone = [folder for folder in (settings.traindir, settings.valdir, settings.testdir) if not is_reachable(folder)]
        unsure = f", or out of reach: {gone[0]} is not there; {IS_IT_CONNECTED}" if gone else ""
        return f"{title}: not started{unsure}"
    state = RunState.load(path)
    state.check_going_on(path)
    data = RunData(settings)
    data.spell(state)
    lines = [
        f"{title}: loop {state.loop} of {len(experiment.pool_sizes)}, phase {state.phase}",
        *_images("training images", data, "train", state.train_images),
        *_ahead(data, state),
        *_images("validation images", data, "val"),
        *_images("test images", data, "test"),
    ]
    ends = reason_to_end(state, settings, experiment)
    finished = is_finished(state, settings, experiment)
    lines += [line for split in SPLITS for line in late_annotations(data, split, finished=finished)]
    if state.phase == "finished":
        lines.append(f"Finished: {state.why_finished}.")
        if not finished:
            lines.append(f"The next start looks for the images of loop {state.loop + 1}.")
    lines += _waiting(state, time.time())
    if state.phase == "annotate" and ends:
        lines.append(f"The next start asks for the images of loop {state.loop} no more, as {ends}.")
    if state.history:
        lines += ["", _table(state.history, in_objects=state.settings.get("budget") == "objects")]
    return "\n".join(lines)


def _table(history: Sequence[LoopScores], *, in_objects: bool) -> str:
    """With minutes where somebody waited, and objects where the budget counts them."""
    waited = any(scores.waited for scores in history)
    rows = [
        [
            loop,
            scores.train_size,
            *([scores.all_objects] if in_objects else []),
            scores.mask_ap,
            *((scores.minutes, *scores.waiting) if waited else ()),
        ]
        for loop, scores in enumerate(history)
    ]
    objects = ["objects"] if in_objects else []
    headers = [
        "loop",
        "train size",
        *objects,
        "mAP",
        *(["minutes", "person waited", "computer waited"] if waited else []),
    ]
    return tabulate(rows, headers=headers, floatfmt=".1f")


def _waiting(state: RunState, now: float) -> list[str]:
    """Who waits for whom at this time, be the program started or not."""
    times, loop = state.times, state.loop
    if state.phase == "finished":
        return []
    if times.needed:
        return [f"The computer has waited {minutes(times.needed, now):.0f} minutes for the images of loop {loop}."]
    if times.handed_in and not state.times_ahead.put:
        since = minutes(times.handed_in, now)
        return [f"The images of loop {loop} were handed in {since:.0f} minutes ago; a person waits for the next ones."]
    return []


def _ahead(data: RunData, state: RunState) -> list[str]:
    """Images that lie there for the next loop already."""
    there = [name for name in state.ahead if is_there(data.folder("train") / name)]
    if not there:
        return []
    return _images(f"images of loop {state.loop + 1}, chosen ahead", data, "train", there)


def late_annotations(data: RunData, split: str, *, finished: bool) -> list[str]:
    """A line for each annotation that was saved in the annotate folder of a split after it was collected."""
    folder, annotations = data.folder(split), data.annotations(split)
    if not (folder / ANNOTATE).is_dir():
        return []
    found = find_corrections(annotations, OwnFiles(folder / ANNOTATE), data.walked(split).images)
    pairs, _ = find_annotations(folder, found.files, annotations)
    for name in [name for name, path in pairs.items() if annotations.fault(path, name)]:
        del found.files[name]  # it is awaited
    return in_words(found, finished=finished)


def _images(what: str, data: RunData, split: str, images: Sequence[str] | None = None) -> list[str]:
    """How many have an annotation beside them or in the annotate folder, and how many have none; a line a fault."""
    folder, annotations = data.folder(split), data.annotations(split)
    if not is_reachable(folder):
        return [f"{what}: not counted, {folder} is not there; {IS_IT_CONNECTED}"]
    known: Sequence[str] = data.walked(split).images if images is None else images
    there = known
    if images is not None:  # the run goes on without those taken away
        there = [name for name in images if is_there(folder / name)]
    beside, faults = find_annotations(folder, there, annotations)
    faults |= {name: fault for name, path in beside.items() if (fault := annotations.fault(path, name))}
    left = [name for name in there if name in faults or name not in beside]
    found = search_annotate_folder(folder, left, image_named_in).files
    faults |= {name: _fault(annotations, files, name) for name, files in found.items()}
    faulty = [fault for fault in faults.values() if fault]
    own = OwnFiles(folder / ANNOTATE)
    pre_labelled = sum(all(map(own.is_untouched, files)) for files in found.values())
    missing = len(set(left) - set(found) - set(faults))
    note = f" ({pre_labelled} of them pre-labelled, nothing corrected yet)" if pre_labelled else ""
    with_fault = f", {len(faulty)} with a fault" if faulty else ""
    annotated = len(there) - len(faulty) - missing
    taken = f", {gone} gone from {folder}" if (gone := len(known) - len(there)) else ""
    return [
        f"{len(known)} {what}: {annotated} annotated{note}{with_fault}, {missing} missing{taken}",
        *dict.fromkeys(faulty),
    ]


def _fault(annotations: AnnotationCache, files: Iterable[Path], image: str) -> str:
    """Of the first of its files in the annotate folder; "" where one of them can be used."""
    faults = [annotations.fault(file, image) for file in files]
    return faults[0] if all(faults) else ""
