"""Pre-labelling a folder from the command line (auto_annotate.py)."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from active_learning.annotating.persons_work import PersonsWork
from active_learning.annotating.pre_labels import PreLabelFolder, export_format
from active_learning.annotating.supervisely_project import add_to_project
from active_learning.annotations import FORMATS
from active_learning.annotations.supervisely_meta import META_FILE
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import find_annotations, take_snapshot
from active_learning.errors import MaskALError, SettingsError
from active_learning.settings import Settings
from active_learning.settings.keys import ZOO_NETWORK, SettingsKeys
from active_learning.settings.paths import is_zoo_config, meta_mistakes, network_mistakes
from active_learning.settings.settings import settings_mistakes
from active_learning.system.files import LONGEST_NAME, lies_in
from active_learning.system.log import print_note
from active_learning.system.wording import and_more, counted, did_you_mean

if TYPE_CHECKING:
    from active_learning.network.image_batches import UnreadableImage
    from active_learning.network.pre_labelling import PreLabeller

USE_COCO = ["use_coco"]
TAKEN_FOR_A_PERSONS = (
    "\nCorrect them before a run of MaskAL chooses these images: it takes the files for a person's annotations."
)
# Flags that have another name than the key of the settings.
FLAGS = {"confidence_threshold": "conf_thres", "nms_threshold": "nms_thres", "pretrained_weights": "weights_file"}


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `settings.classes` are the network's; `wanted` those to pre-label; `named` those
    that the person gave, none where all of COCO's are taken."""

    folder: Path
    settings: Settings
    wanted: tuple[str, ...]
    named: tuple[str, ...]
    batch_size: int
    project: Path


def read_request(given: argparse.Namespace) -> Request:
    """Raises SettingsError: every mistake of the flags in one message."""
    published = is_zoo_config(given.weights_file)
    network = given.network_config or (given.weights_file if published else ZOO_NETWORK)
    all_published = given.classes == USE_COCO or (published and not given.classes)
    values = _settings_values(given, network, ["any"] if all_published or not given.classes else given.classes)
    _refuse([*_flag_mistakes(given), *_mistakes(values)])
    classes = _published_classes(network) if published or all_published else given.classes
    wanted = tuple(classes if all_published else given.classes)
    unknown = (f"--classes: {name!r} is none of the network's{did_you_mean(name, classes)}" for name in wanted
               if name not in classes)  # fmt: skip
    faults = meta_mistakes(SettingsKeys.model_validate({**values, "classes": wanted}))
    _refuse([*unknown, *(_as_flag(key, message) for key, message in faults)])
    folder = given.img_dir.resolve()
    project = given.supervisely_project or folder.parent / f"{folder.name}_supervisely"
    settings = Settings.model_validate({**values, "classes": classes})
    if FORMATS[given.export_format].needs_meta:
        _refuse(list(_project_mistakes(project, folder, {**values, "classes": wanted})))
    named = () if all_published else wanted
    return Request(given.img_dir, settings, wanted, named, given.batch_size, project)


def _project_mistakes(project: Path, folder: Path, values: Mapping[str, Any]) -> Iterator[str]:
    if lies_in(project, folder):
        yield f"--supervisely_project: {project} lies in {folder}, among the images; give another folder"
    elif os.path.lexists(project) and not project.is_dir():
        yield f"--supervisely_project: {project} is no folder; give another one"
    elif (meta := project / META_FILE).is_file():  # it is kept, and Supervisely refuses a class that it lacks
        faults = meta_mistakes(SettingsKeys.model_validate({**values, "supervisely_meta_json": meta}))
        for _, message in faults:
            fault = message.removeprefix("supervisely_meta_json: ")
            yield f"--supervisely_project: {fault}, then put its meta.json there: the project keeps the one it has"


def _settings_values(given: argparse.Namespace, network: str, classes: Sequence[str]) -> dict[str, Any]:
    same = ("export_format", "supervisely_meta_json", "max_polygon_error", "image_min_size", "image_max_size",
            "max_image_megapixels", "tile_size", "tile_overlap", "cuda_visible_devices", "num_workers")  # fmt: skip
    return {
        **{key: getattr(given, key) for key in same},
        **{key: getattr(given, flag) for key, flag in FLAGS.items()},
        "network_config": network,
        "classes": list(classes),
    }


def _flag_mistakes(given: argparse.Namespace) -> Iterator[str]:
    if not given.img_dir.is_dir():
        yield f"--img_dir: there is no folder {given.img_dir}; correct the path"
    if not given.weights_file:
        yield "--weights_file: is empty; give the weights of a trained network"
    if not given.classes and not is_zoo_config(given.weights_file):
        yield "--classes: is missing; give the classes of the training, in their order, or use_coco"
    if given.batch_size < 1:
        yield f"--batch_size: {given.batch_size} must be at least 1"
    if FORMATS[given.export_format].needs_meta and given.supervisely_meta_json is None:
        yield "--supervisely_meta_json: is missing; give the meta.json of the Supervisely project"


def _mistakes(values: dict[str, Any]) -> Iterator[str]:
    """In the words of the settings, with the names of the flags."""
    found = list(settings_mistakes(values, check_paths=False))
    found = found or list(network_mistakes(SettingsKeys.model_validate(values)))
    yield from (_as_flag(key, message) for key, message in found)


def _as_flag(key: str, message: str) -> str:
    return f"--{FLAGS.get(key, key)}{message.removeprefix(key)}"


def _refuse(mistakes: Sequence[str]) -> None:
    if mistakes:
        count = counted(len(mistakes), "mistake")
        raise SettingsError(f"{count} in the command line; nothing was changed", tuple(mistakes))


def _published_classes(network: str) -> list[str]:
    from active_learning.network.network_file import published_classes

    names = published_classes(network)
    _refuse([] if names else [f"--classes: the names of {network} are not known here; list them"])
    return names


def _awaited_by_a_run(folder: Path, images: Iterable[str]) -> Iterator[str]:
    """Why images of an annotate folder, and those that wait there as copies, get no pre-label: a run that does not know
    of it takes the file for a person's work, at once."""
    names: dict[Path, list[str]] = defaultdict(list)
    for image in images:
        path = Path(os.path.abspath(folder)) / image  # noqa: PTH100 (an annotate folder that is a link stays one)
        names[path.parent].append(path.name)
    awaited = [
        place / name for place, here in names.items() for twin in _twins(place) for name in here
        if (twin / name).is_file()
    ]  # fmt: skip
    if awaited:
        reason = f"run of MaskAL has asked a person to annotate {and_more(sorted(set(awaited)), what='images')}"
        remedy = "set auto_annotate: True in its settings and start it again, or pre-label copies in another folder, "
        rest = f"correct them there and put the files back; where no run waits any more, remove its folder {ANNOTATE}"
        yield f"--img_dir: a {reason}, and would take pre-labels for that; {remedy}{rest}"


def _twins(place: Path) -> Iterator[Path]:
    """The folders that hold copies of a folder's images for a person to annotate, or the originals of its copies."""
    for home in (place, *place.parents):
        inside = place.relative_to(home)
        twins = [home / ANNOTATE / inside]
        if home.name.casefold() == ANNOTATE:
            twins.append(home.parent / inside)
        yield from (twin for twin in twins if twin.is_dir())


class FolderAnnotation:
    """The steps of the program, in order."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.images: list[str] = []
        self.skipped = 0
        self.doubtful: list[str] = []  # what may be their annotation may be another image's
        self.faulty: list[str] = []  # their annotation cannot be read
        self.unreadable: list[str] = []
        self.blocked: list[str] = []  # another file has the name of their pre-label, or it would be too long
        export = export_format(request.settings, request.wanted)
        self.meta_json = export.meta.path if export.meta is not None else None
        self.files = PreLabelFolder(request.folder, export)

    def find_images(self) -> None:
        """Those without an annotation. Named are those whose annotation cannot be read, and those whose pre-label would
        have the name of another file.

        Raises MaskALError where there is no image at all, a run awaits one, what a person has made of some is still to
        be converted, or the tool's files cannot hold a name.
        """
        folder = self.request.folder
        snapshot = take_snapshot(folder)
        for note in snapshot.notes:
            print_note(note)
        if not snapshot.images:
            raise MaskALError(f"{folder}: holds no image; correct --img_dir")
        annotated, doubtful = find_annotations(folder, snapshot.images, snapshot=snapshot)
        for fault in sorted(set(doubtful.values())):
            print_note(f"{fault}; these images are skipped")
        bare = [name for name in snapshot.images if name not in annotated and name not in doubtful]
        work = PersonsWork(snapshot, annotated, bare, self.request.named)
        _refuse([*_awaited_by_a_run(folder, bare), *(f"--img_dir: {text}" for text in work.mistakes())])
        self.files.export.tool.check_names(folder, bare)
        self.faulty, self.doubtful = sorted(work.faults), sorted(doubtful)
        self.skipped = len(annotated) - len(self.faulty)
        for line in (*work.warnings(), *(f"{work.faults[image]}; skipped" for image in self.faulty)):
            print_note(line)
        for name in bare:
            path = self.files.path_of(name)
            if os.path.lexists(path):
                reason = f"{path}: is no annotation, but has the name of the one of {name}, which gets none"
                print_note(f"{reason}; rename this file")
                self.blocked.append(name)
            elif len(os.fsencode(path.name)) > LONGEST_NAME:
                print_note(f"{folder / name}: gets no annotation, whose name would be too long; shorten its own")
                self.blocked.append(name)
            else:
                self.images.append(name)

    def load_network(self) -> PreLabeller | None:
        """None where no image is to be pre-labelled. Raises MaskALError."""
        if not self.images:
            return None
        from active_learning.network.network_config import network_config, pretrained_weights
        from active_learning.network.pre_labelling import PreLabeller
        from active_learning.network.prediction import load_network

        settings = self.request.settings
        cfg = network_config(settings, settings.experiments()[0])
        model = load_network(cfg, pretrained_weights(settings), settings.classes)
        return PreLabeller(model, cfg, settings.classes, wanted=self.request.wanted, batch_size=self.request.batch_size)

    def write_pre_labels(self, predict: PreLabeller | None) -> None:
        """Unreadable images are named at once. Raises MaskALError where a file cannot be written."""
        if predict is None:
            return
        predictions = predict(self.request.folder, self.images)
        self.files.write_all(predictions, len(self.images), self._name_unreadable, self._add_to_project)

    def _add_to_project(self, image: str, annotation: Path) -> None:
        if self.meta_json is None:
            return
        project = self.request.project
        if other := add_to_project(project, self.meta_json, self.request.folder, image, annotation):
            remedy = "remove it and the pre-label of its image, and start again, or name another --supervisely_project"
            print_note(f"{other}: was there already, with other objects, and stays; for the new ones {remedy}")

    def _name_unreadable(self, image: UnreadableImage) -> None:
        self.unreadable.append(image.name)
        print_note(f"{image.fault}; skipped")

    @property
    def is_complete(self) -> bool:
        """Whether each image has an annotation now that can be read."""
        return not (self.unreadable or self.blocked or self.doubtful or self.faulty)

    def summary(self) -> str:
        """What was done, in words."""
        skipped = self.skipped + self.files.count.left
        parts = [str(self.files.count), f"{counted(skipped, 'image')} skipped (annotated already)"]
        if self.blocked:
            reason = "as another file has that name, or it would be too long"
            parts.append(f"{counted(len(self.blocked), 'image')} not annotated, {reason}")
        if self.doubtful:
            parts.append(f"{counted(len(self.doubtful), 'image')} not annotated, as a file may be of several images")
        if self.faulty:
            files = "its file" if len(self.faulty) == 1 else "their files"
            parts.append(f"{counted(len(self.faulty), 'image')} not annotated, as {files} cannot be read")
        if self.unreadable:
            parts.append(f"{counted(len(self.unreadable), 'image')} unreadable")
        if self.meta_json is not None and self.files.count.images:
            parts.append(f"to import in Supervisely: {self.request.project}")
        return f"Pre-labelled: {'; '.join(parts)}{TAKEN_FOR_A_PERSONS if self.files.count.images else ''}"
