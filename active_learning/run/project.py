"""What the checks look at: settings, folders and annotations, each walked or read when it is first asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.annotations.coco import CocoImage
from active_learning.annotations.odd_objects import LIKELY, named, odd_objects_and_habits
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import warnings_of
from active_learning.dataset.image_folder import (
    FolderSnapshot,
    find_annotations,
    foreign_files,
    second_annotations,
    take_snapshot,
)
from active_learning.dataset.near_duplicates import Groups
from active_learning.errors import MaskALError
from active_learning.network.network_config import network_without_device
from active_learning.run.data import SPLITS, RunData, annotation_cache
from active_learning.run.data_seen import DataSeen
from active_learning.run.near_duplicates import known_near_duplicates
from active_learning.run.output_files import OutputFiles, output_files
from active_learning.run.state import RunState
from active_learning.settings import Experiment, Settings
from active_learning.system.progress import progress
from active_learning.system.wording import and_more

if TYPE_CHECKING:
    from detectron2.config import CfgNode

FIRST_TRAINING = ("annotate", "train")  # phases before the end of the first training, in loop 0
INITIAL = "initial_train_"  # folders go by the names of their settings, less `dir`


@dataclass(frozen=True)
class Reading:
    """The annotations of an image folder.

    Attributes:
        images: number of images.
        objects_in: of each image with a good annotation, how many objects it holds.
        objects: of each class, those that are found.
        bare: names of the images without an annotation.
        faults, warnings: of annotations and of their images, each with file, place and reason.
        sizes: (height, width) of the images with a good annotation.
        odd: what many objects have that may be wrong, and objects that look wrong, each with place and reason, the
            surest first.
    """

    images: int
    objects_in: dict[str, int]
    objects: Counter[str]
    bare: tuple[str, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    odd: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def annotated(self) -> int:
        return len(self.objects_in)


@dataclass
class Project:
    """Where experiments begin or go on; `fresh` takes no notice of what has begun, `deep` is for what takes long."""

    settings: Settings
    fresh: bool = False
    settings_file: Path | None = None
    deep: bool = False
    data: RunData = field(init=False)

    def __post_init__(self) -> None:
        """What a run has seen of the folders tells one whose drive is gone from an empty one."""
        begun = [self.files(one).data_seen for one in self.settings.experiments() if not self.fresh]
        self.data = RunData(self.settings, DataSeen(*begun) if begun else None)

    def files(self, experiment: Experiment) -> OutputFiles:
        return output_files(self.settings, experiment)

    def state(self, experiment: Experiment) -> RunState | None:
        """None where the experiment has not begun; raises MaskALError where its state cannot be used."""
        path = self.files(experiment).state
        if not path.exists() or self.fresh:
            return None
        state = RunState.load(path)
        self.data.spell(state)
        return state

    @cached_property
    def network(self) -> CfgNode | MaskALError:
        """The network's config, the same for all experiments but for dropout and seed; the error of one that cannot be
        read."""
        try:
            return network_without_device(self.settings, self.settings.experiments()[0])
        except MaskALError as error:
            return error

    @cached_property
    def done_with(self) -> set[str]:
        return set() if self.fresh else done_with(self.settings)

    def folders(self) -> Iterator[tuple[str, Path]]:
        for split in SPLITS:
            yield split, self.data.folder(split)
        if self.settings.use_initial_train_dir and "initial_train_dir" not in self.done_with:
            yield INITIAL, self.settings.initial_train_dir

    @cached_property
    def walks(self) -> dict[str, FolderSnapshot | MaskALError]:
        """Of each folder, be it empty; the error of one that cannot be used."""
        return {name: self._walk(name, folder) for name, folder in self.folders()}

    def _walk(self, name: str, folder: Path) -> FolderSnapshot | MaskALError:
        try:
            return take_snapshot(folder) if name == INITIAL else self.data.walked(name)
        except MaskALError as error:
            return error

    @property
    def snapshots(self) -> dict[str, FolderSnapshot]:
        """Of the folders that can be used."""
        return {name: walk for name, walk in self.walks.items() if isinstance(walk, FolderSnapshot)}

    @cached_property
    def near_duplicates(self) -> Groups | None:
        """Of the training images, which must be decoded for that; see `known_near_duplicates`."""
        return known_near_duplicates(self.settings, self.data.images("train"), deep=self.deep)

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """Of all folders; takes seconds for thousands of files."""
        checks = bool(self.settings.label_check)
        return {split: _read(self._annotations(split), one, checks) for split, one in self.snapshots.items()}

    def _annotations(self, name: str) -> AnnotationCache:
        if name != INITIAL:
            return self.data.annotations(name)
        return annotation_cache(self.settings.initial_train_dir, self.settings)


def done_with(settings: Settings) -> set[str]:
    """The keys whose folders and files no run of these settings needs any more: what it started from."""
    experiments, states = settings.experiments(), []
    with suppress(MaskALError):  # of a damaged state, which is reported where the run would go on
        paths = [output_files(settings, one).state for one in experiments]
        states = [RunState.load(path) for path in paths if path.exists()]
    if len(states) < len(experiments) or not all(state.train_images for state in states):
        return set()
    if any(state.loop == 0 and state.phase in FIRST_TRAINING for state in states):
        return {"initial_train_dir"}
    pairs = zip(experiments, states, strict=True)
    ended = all(state.loop >= len(one.pool_sizes) and state.phase not in FIRST_TRAINING for one, state in pairs)
    goes_on_alone = settings.transfer_learning_on_previous_models or ended
    return {"initial_train_dir", "initial_train_file", *(["pretrained_weights"] if goes_on_alone else [])}


def _read(annotations: AnnotationCache, snapshot: FolderSnapshot, checks_labels: bool) -> Reading:
    pairs, doubtful = find_annotations(snapshot.folder, snapshot.images, annotations, snapshot)
    faults, objects = list(doubtful.values()), Counter[str]()
    entries: dict[str, CocoImage] = {}
    objects_in = {}
    for name, path in progress(pairs.items(), what=f"reading {snapshot.folder}", unit="file"):
        try:
            entry = annotations.read(path, name)
        except MaskALError as error:
            faults.append(str(error))
            continue
        entries[name] = entry
        objects_in[name] = len(entry.labels)
        objects.update(entry.labels)
    warnings = [*warnings_of(tuple(entries.values()), annotations.classes)]
    if foreign := foreign_files(snapshot, annotations):
        warnings.append(f"{and_more(foreign, what='files')}: no annotation, though named as one; passed over")
    if second := second_annotations(snapshot, pairs, annotations):
        warnings.append(f"{and_more(second, what='files')}: not used, as the image has another annotation; leave one")
    bare = tuple(name for name in snapshot.images if name not in pairs and name not in doubtful)
    odd = _odd_texts(snapshot.folder, pairs, entries) if checks_labels else []
    sizes = {name: (entry.height, entry.width) for name, entry in entries.items()}
    return Reading(len(snapshot.images), objects_in, objects, bare, tuple(faults), tuple(warnings), tuple(odd), sizes)


def _odd_texts(folder: Path, files: Mapping[str, Path], images: Mapping[str, CocoImage]) -> list[str]:
    objects, habits = odd_objects_and_habits(images.values())

    def place(image: str, number: int) -> str:
        return f"{files[image]}: {named(images[image], number)}"

    return [
        *(f"{folder}: {one.seen} (first {place(*one.example)}): {one.question}" for one in habits),
        *(
            f"{place(one.image, one.number)}: {one.oddity}: {one.expected}"
            for one in objects
            if one.certainty >= LIKELY
        ),
    ]
