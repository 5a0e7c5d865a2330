"""What a run must not start with: one list of checks, for `--check` and for the start of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.request import PROJECT
from active_learning.annotations import FORMATS
from active_learning.dataset.coco import DATA_FILES, nothing_to_train_on
from active_learning.dataset.exports import find_exports
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import take_snapshot
from active_learning.dataset.overlap import MOST_FOUND, SharedImage, shared_images
from active_learning.dataset.unconverted import describe_exports, describe_misnamed, describe_stray
from active_learning.dataset.unread_files import unread_files
from active_learning.errors import MaskALError, SettingsError
from active_learning.network.network_config import pretrained_weights
from active_learning.run.data import MEASURED, SPLITS, without_object
from active_learning.run.findings import Check, Finding, Kind, refuse, texts
from active_learning.run.image_checks import ends, headers, large_images, near_duplicates, pixels, saved_anew
from active_learning.run.other_runs import initial_model_trained_otherwise, unfinished_runs_left
from active_learning.run.own_folders import output_mistakes
from active_learning.run.project import INITIAL, Project
from active_learning.run.start import find_start, initial_candidates, is_finished
from active_learning.run.status import late_annotations
from active_learning.run.weights import lost_best, next_weights
from active_learning.settings import Experiment, Settings
from active_learning.settings.unused import unused_settings
from active_learning.settings.weights_file import weights_fault
from active_learning.system.devices import devices_to_show
from active_learning.system.log import logger
from active_learning.system.wording import and_more, counted
from active_learning.system.written_files import files_of_others
from detectron2.utils.file_io import cached_file

GOES_ON_FROM_IT = (
    "The run goes on from these weights: put the file back (is its drive connected?), or start over with --fresh"
)


def check_start(settings: Settings, *, fresh: bool = False, settings_file: Path | None = None) -> None:
    """What a run finds before it changes a file or asks for anything; logs warnings.

    Raises:
        SettingsError: they are wrong. Like MaskALError, with one message that names all that is wrong.
        MaskALError: what they name is.
    """
    project = Project(settings, fresh, settings_file)
    findings = [finding for check in CHECKS if check.at_start for finding in check.find(project)]
    refuse(findings)
    for warning in texts(findings, Kind.WARNING, Kind.NOTE):
        logger.warning("%s", warning)


def find_all(project: Project) -> list[Finding]:
    """What `--check` finds."""
    return [finding for check in CHECKS if project.deep or not check.deep for finding in check.find(project)]


def _network(project: Project) -> Iterator[Finding]:
    if isinstance(project.network, MaskALError):
        yield Finding(str(project.network), Kind.MISTAKE)
        return
    try:
        if "pretrained_weights" not in project.done_with:
            pretrained_weights(project.settings)
    except MaskALError as error:
        yield Finding(str(error), Kind.MISTAKE)


def _outputs(project: Project) -> Iterator[Finding]:
    for mistake in output_mistakes(project.settings, fresh=project.fresh, settings_file=project.settings_file):
        yield Finding(mistake, Kind.MISTAKE)


def _starts(project: Project) -> Iterator[Finding]:
    for experiment in project.settings.experiments():
        try:
            find_start(project, experiment)
        except MaskALError as error:
            yield Finding(str(error), Kind.MISTAKE if isinstance(error, SettingsError) else Kind.FAULT)


def _weights(project: Project) -> Iterator[Finding]:
    for experiment in project.settings.experiments():
        try:
            paths = _weights_to_load(project, experiment)
        except MaskALError as error:
            yield Finding(str(error))
            continue
        own = project.files(experiment).weights
        for path in paths:
            if fault := _file_fault(path):
                yield Finding(f"{fault}. {GOES_ON_FROM_IT}" if Path(path).is_relative_to(own) else fault)


def _lost_weights(project: Project) -> Iterator[Finding]:
    for experiment in project.settings.experiments():
        with suppress(MaskALError):  # which `_starts` reports
            state = project.state(experiment)
            if state and (text := lost_best(project.files(experiment), state)):
                yield Finding(text, Kind.WARNING)


def _weights_to_load(project: Project, experiment: Experiment) -> list[str]:
    """Raises MaskALError where the run's state cannot be used, or weights cannot be found."""
    state = project.state(experiment)
    return sorted(next_weights(project.settings, experiment, project.files(experiment), state))


def _file_fault(path: str) -> str:
    """Of published weights only where they have been fetched before."""
    file = local_weights(path)
    fault = weights_fault(file) if file is not None else ""
    remedy = ". Delete the file, and it is fetched again" if "://" in path else ""
    return f"{file}: {fault}{remedy}" if fault else ""


def local_weights(path: str) -> Path | None:
    """None for what is still to be fetched, and for the names of Detectron2's own catalog."""
    if "://" not in path:
        return Path(path)
    fetched = cached_file(path) if path.startswith("http") else None
    return fetched if fetched is not None and fetched.is_file() else None


def _fit(project: Project) -> Iterator[Finding]:
    from active_learning.network.network_check import build_without_memory, check_weights

    if isinstance(project.network, MaskALError):  # which `_network` reports
        return
    try:
        model = build_without_memory(project.network, project.settings.network_config)
    except MaskALError as error:
        yield Finding(str(error), Kind.MISTAKE)
        return
    for path in _readable_weights(project):
        try:
            check_weights(model, path)
        except MaskALError as error:
            yield Finding(str(error))


def _readable_weights(project: Project) -> list[str]:
    """Of all experiments, less those that `_weights` finds a fault with."""
    found: set[str] = set()
    for experiment in project.settings.experiments():
        with suppress(MaskALError):
            found.update(path for path in _weights_to_load(project, experiment) if not _file_fault(path))
    return sorted(found)


def _folders(project: Project) -> Iterator[Finding]:
    """Training images may all come from initial_train_dir."""
    for split, walk in project.walks.items():
        filled_later = split == "train" and project.settings.use_initial_train_dir
        if isinstance(walk, MaskALError):
            yield Finding(str(walk))
        elif not (walk.images or filled_later):
            yield Finding(f"{walk.folder}: holds no image; put the images of {split}dir there")


def _passed_over(project: Project) -> Iterator[Finding]:
    for snapshot in project.snapshots.values():
        yield from (Finding(note, Kind.WARNING) for note in snapshot.notes)


def _unused_settings(project: Project) -> Iterator[Finding]:
    yield from (Finding(text, Kind.NOTE) for text in unused_settings(project.settings))


def _names_for_tool(project: Project) -> Iterator[Finding]:
    """Pre-labels are written late in a run."""
    settings = project.settings
    for snapshot in project.snapshots.values() if settings.auto_annotate else ():
        try:
            FORMATS[settings.export_format].check_names(snapshot.folder, snapshot.images)
        except MaskALError as error:
            yield Finding(str(error))


def _overlaps(project: Project) -> Iterator[Finding]:
    """An image belongs to one split. Those of initial_train_dir are copied to traindir, and stay in it."""
    for (split, one), (later, other) in combinations(project.snapshots.items(), 2):
        if (split, later) != ("train", INITIAL):
            yield from _shared(f"{later}dir", f"{split}dir", shared_images(other, one))


def _shared(key: str, other: str, images: Sequence[SharedImage]) -> Iterator[Finding]:
    if images:
        names = and_more([f"{image.name} ({image.other})" for image in images], 3)
        more = " or more" if len(images) == MOST_FOUND else ""
        text = (
            f"{key}: {counted(len(images), 'image')}{more} of it in {other}, too: {names}; leave each in one of the two"
        )
        yield Finding(f"{text}, as an image that was trained on says nothing of others", Kind.MISTAKE)


def _exports(project: Project) -> Iterator[Finding]:
    """Where some images have annotations already, these may come from there."""
    lists = [project.settings.dataroot / f"{split}.json" for split in SPLITS]
    for snapshot in project.snapshots.values():
        annotations = find_exports(snapshot, lists)
        yield from (Finding(text, Kind.WARNING) for text in describe_stray(annotations))
        is_read = not all(export.remedy for export in annotations.exports)
        kind = Kind.FAULT if is_read and not annotations.beside else Kind.WARNING
        for text in describe_exports(project.settings.classes, snapshot.folder, annotations):
            yield Finding(text, kind)
        yield from (Finding(text, Kind.WARNING) for text in describe_misnamed(annotations))


def _annotations(project: Project) -> Iterator[Finding]:
    for reading in project.readings.values():
        yield from map(Finding, reading.faults)
        yield from (Finding(text, Kind.WARNING) for text in reading.warnings)


def _unread_files(project: Project) -> Iterator[Finding]:
    for split, reading in project.readings.items():
        for text in unread_files(project.snapshots[split], reading.bare):
            yield Finding(text, Kind.WARNING)


def _odd_objects(project: Project) -> Iterator[Finding]:
    for reading in project.readings.values():
        yield from (Finding(text, Kind.WARNING) for text in reading.odd)


def _persons_images_in_annotate(project: Project) -> Iterator[Finding]:
    """The folder of copies that are to be annotated may hold images that are no copies."""
    for snapshot in project.snapshots.values():
        folder, known = snapshot.folder / ANNOTATE, set(snapshot.images)
        images = take_snapshot(folder).images if folder.is_dir() else ()
        own = [name for name in images if name not in known and PROJECT not in name.split("/")]
        if own:
            others = f", nor are {len(own) - 1} more images there" if len(own) > 1 else ""
            place = f"{folder / own[0]}: is not used{others}"
            text = f"{place}: MaskAL keeps copies of images to annotate in that folder; move yours to another"
            yield Finding(text, Kind.WARNING)


def _faults_in_annotate(project: Project) -> Iterator[Finding]:
    """What a person has put there, and a run would go on waiting for."""
    for split in (split for split in SPLITS if split in project.readings):
        snapshot, bare = project.snapshots[split], set(project.readings[split].bare)
        path = snapshot.folder / ANNOTATE
        copies = [name for name in (take_snapshot(path).images if path.is_dir() else ()) if name in bare]
        if copies:
            folder = AnnotateFolder(project.data.annotations(split))
            folder.await_annotations(copies, snapshot)
            yield from (Finding(text, Kind.WARNING) for text in folder.progress().faulty.values())


def _not_writable(project: Project) -> Iterator[Finding]:
    """Annotations are requested in a folder among the images, and collected beside them."""
    for split in (split for split in SPLITS if split in project.readings):
        bare, folder = project.readings[split].bare, project.snapshots[split].folder
        places = {folder, *((folder / name).parent for name in bare)} if bare else set()
        if bare and os.path.lexists(annotate := folder / ANNOTATE) and not annotate.is_dir():
            text = f"{annotate}: is no folder, or a link to a drive that is not connected"
            yield Finding(f"{text}; connect the drive, or rename it: images to annotate are put there")
        for place in sorted(place for place in places if not os.access(place, os.W_OK | os.X_OK)):
            text = f"{place}: may not be written to, and annotations are put beside {len(bare)} images of {folder}"
            yield Finding(f"{text}; change its permissions, or annotate these images before")


def _objects(project: Project) -> Iterator[Finding]:
    """Once all images of a split are annotated."""
    for split, reading in project.readings.items():
        objects = {name: reading.objects[name] for name in project.settings.classes}
        if split not in MEASURED or not reading.images or reading.annotated < reading.images:
            continue
        folder = project.data.folder(split)
        if fault := without_object(split, folder, reading.images, objects):
            yield Finding(fault)
        elif absent := [name for name, count in objects.items() if not count]:
            text = f"{folder}: none of its images holds {' or '.join(absent)}, so that the mAP is of the other classes"
            yield Finding(text, Kind.NOTE)


def _nothing_to_train_on(project: Project) -> Iterator[Finding]:
    """Once all images of the next training are annotated."""
    for experiment in project.settings.experiments():
        with suppress(MaskALError):  # which `_starts` reports
            start = find_start(project, experiment)
            if start.ends:
                continue
            images = start.training_images or initial_candidates(project, experiment)
            objects = [project.readings[start.folder].objects_in.get(name) for name in images]
            if not any(number is None or number for number in objects):
                folder = project.snapshots[start.folder].folder
                yield Finding(nothing_to_train_on(folder, len(objects), project.settings.classes))


def _files_of_persons(project: Project) -> Iterator[Finding]:
    """What a run does with them, beside using them."""
    for path in files_of_others(project.settings.dataroot, DATA_FILES):
        yield Finding(f"{path}: was not written by MaskAL; a run keeps it as {path.name}.orig", Kind.NOTE)
    finished = _has_finished(project)
    for split in (split for split in SPLITS if split in project.snapshots):
        for line in late_annotations(project.data, split, finished=finished):
            yield Finding(line, Kind.NOTE)


def _has_finished(project: Project) -> bool:
    """Whether no run of the settings has another loop."""
    for experiment in project.settings.experiments():
        with suppress(MaskALError):  # which `_starts` reports
            state = project.state(experiment)
            if state is None or not is_finished(state, project.settings, experiment):
                return False
    return True


def _devices(project: Project) -> Iterator[Finding]:
    try:
        devices_to_show(project.settings.cuda_visible_devices)
    except MaskALError as error:
        yield Finding(str(error))


CHECKS = (
    Check(_devices, at_start=False),
    Check(_network),
    Check(_unused_settings),
    Check(_outputs),
    Check(_starts),
    Check(unfinished_runs_left),
    Check(initial_model_trained_otherwise),
    Check(_folders),
    Check(_weights),
    Check(_lost_weights),
    Check(_fit, deep=True),
    Check(_passed_over, at_start=False),
    Check(_overlaps),
    Check(_names_for_tool),
    Check(_exports),
    Check(_annotations, at_start=False),
    Check(_unread_files, at_start=False),
    Check(_odd_objects, at_start=False),
    Check(_persons_images_in_annotate, at_start=False),
    Check(_faults_in_annotate, at_start=False),
    Check(_files_of_persons, at_start=False),
    Check(_objects, at_start=False),
    Check(_nothing_to_train_on, at_start=False),
    Check(headers, at_start=False),
    Check(ends, at_start=False),
    Check(_not_writable, at_start=False),
    Check(large_images, at_start=False),
    Check(near_duplicates, at_start=False),
    Check(pixels, at_start=False, deep=True),
    Check(saved_anew, at_start=False, deep=True),
)
