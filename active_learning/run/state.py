"""What survives an interruption: one small json file, written after every phase.

A run is a row of loops (0 is the initial training), a loop a row of phases. The state names the phase that comes next,
so that a run started again goes on there.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, TypeAdapter
from typing_extensions import TypedDict

from active_learning.dataset.image_names import spelled_as
from active_learning.errors import MaskALError
from active_learning.run.batch_times import BatchTimes
from active_learning.run.recorded import (
    Count,
    ImageName,
    Number,
    Percent,
    PercentOrNan,
    RecordedText,
    ShareOrNan,
    check_keys,
    check_values,
    read_json,
)
from active_learning.settings import Experiment, Settings
from active_learning.settings.keys import MOST_CLASSES, MOST_LOOPS, Mode, Strategy, recorded_mistakes
from active_learning.system.files import write_atomically

VERSION = 1
Phase = Literal["annotate", "train", "evaluate", "choose", "finished"]
REMEDY = "start over with --fresh (this run is then moved aside, not deleted)"
COPY = f"put back a copy of the file, or {REMEDY}"
# What the first runs did not record.
LATER = ("experiment", "train_objects", "expected_objects", "ahead", "expected_ahead", "chosen_ahead", "times",
         "times_ahead", "best_ap_settings", "best_ap_images", "network", "initial_settings",
         "initial_network", "initial_data")  # fmt: skip
LATER_SCORES = ("objects", "person_minutes", "computer_minutes", "measured_with")
ZeroIfNull = Annotated[Percent, BeforeValidator(lambda value: 0.0 if value is None else value)]


class _Recorded(TypedDict, total=False):
    """An experiment, as `Experiment.recorded` gives it."""

    name: RecordedText
    strategy: Strategy
    mode: Mode
    dropout_probability: Annotated[float, Field(ge=0, le=1)]
    mcd_iterations: Count
    pool_sizes: list[Count]
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)]
    label: RecordedText


@dataclass
class LoopScores:
    """What one loop reached on the test images; mask AP in percent, nan where the test images hold no object.

    `minutes` are those of the training; how long each side waited for the loop's images: `BatchTimes`;
    `measured_with`: the settings that the mAP depends on.
    """

    train_size: Count
    mask_ap: PercentOrNan
    per_class: dict[str, PercentOrNan]
    standard_mask_ap: PercentOrNan
    standard_per_class: dict[str, PercentOrNan]
    minutes: Number
    objects: dict[str, Count] = field(default_factory=dict)  # of each class in the training set
    person_minutes: Number = 0.0
    computer_minutes: Number = 0.0
    measured_with: dict[str, Any] = field(default_factory=dict)

    @property
    def all_objects(self) -> str:
        """The number of objects in the training set; a dash where they were not counted."""
        return str(sum(self.objects.values())) if self.objects else "–"

    @property
    def waiting(self) -> tuple[float, float]:
        """Minutes that the person, and the computer, waited."""
        return self.person_minutes, self.computer_minutes

    @property
    def waited(self) -> bool:
        """So long that it shows with one decimal."""
        return max(self.waiting) >= 0.05


@dataclass
class RunState:
    """Where a run stands.

    `chosen`: certainty of the images that this loop added (nan where none was computed); `train_size`: images that the
    last training had; `settings`, `experiment`: those in use, as `recorded` gives them; `expected_objects`: in the
    images of `chosen`, where the budget counts objects; `network`: what the network's own file holds, as
    `network_values` gives it, once there are weights of it; `best_ap_settings`, `best_ap_images`: those that `best_ap`
    was measured with, and the digest of the validation images and annotations that it was measured on;
    `initial_settings`, `initial_network`, `initial_data`: `settings`, with the experiment's own dropout, `network`, and
    the digest of images and annotations when the initial model was trained.

    With work_ahead, `ahead` is `chosen` of the next loop, with `expected_ahead` objects, by the network of the loop
    before this one. So `chosen` is by that of the loop before, or where `chosen_ahead` by that of the loop before that.
    """

    classes: Annotated[list[RecordedText], Field(min_length=1, max_length=MOST_CLASSES)]
    loop: Annotated[Count, Field(le=MOST_LOOPS)] = 0
    phase: Phase = "annotate"
    train_images: list[ImageName] = field(default_factory=list)
    chosen: dict[ImageName, ShareOrNan] = field(default_factory=dict)
    best_ap: ZeroIfNull = 0.0
    train_minutes: Number = 0.0
    train_size: Count = 0
    history: list[LoopScores] = field(default_factory=list)
    why_finished: RecordedText = ""
    settings: dict[str, Any] = field(default_factory=dict)
    experiment: dict[str, Any] = field(default_factory=dict)
    train_objects: dict[str, Count] = field(default_factory=dict)
    expected_objects: Number = 0.0
    ahead: dict[ImageName, ShareOrNan] = field(default_factory=dict)
    expected_ahead: Number = 0.0
    chosen_ahead: Annotated[bool, Strict()] = False
    times: BatchTimes = field(default_factory=BatchTimes)
    times_ahead: BatchTimes = field(default_factory=BatchTimes)
    best_ap_settings: dict[str, Any] = field(default_factory=dict)
    best_ap_images: RecordedText = ""
    network: dict[str, Any] = field(default_factory=dict)
    initial_settings: dict[str, Any] = field(default_factory=dict)
    initial_network: dict[str, Any] = field(default_factory=dict)
    initial_data: RecordedText = ""

    @property
    def loop_ahead(self) -> int | None:
        """The loop whose images are chosen already, before it begins."""
        return self.loop + 1 if self.ahead else None

    @property
    def is_trained(self) -> bool:
        """Whether the first training has ended."""
        return self.loop > 0 or self.phase not in ("annotate", "train")

    def reason_to_end(self, loop: int, settings: Settings, experiment: Experiment) -> str:
        """Why the run ends with this loop, the last that has scores; empty where it goes on."""
        reached, loops = self._reached, len(experiment.pool_sizes)
        target, patience = settings.target_map, settings.patience
        if loop >= loops:
            return f"loop {loops} of {loops} is done"
        if target is not None and reached and reached[-1] >= target:
            return f"mAP {reached[-1]:.1f} has reached target_map {target:g}"
        if patience is not None and len(reached) > patience and max(reached[-patience:]) <= max(reached[:-patience]):
            return f"mAP has not risen for {patience} loops (patience)"
        return ""

    @property
    def _reached(self) -> list[float]:
        """The mAP of the last loops, as far back as they were measured with the same settings."""

        def is_like_last(row: LoopScores) -> bool:  # an earlier version has recorded less, or nothing
            return all(value == self.history[-1].measured_with.get(key) for key, value in row.measured_with.items())

        return [row.mask_ap for row in itertools.takewhile(is_like_last, reversed(self.history))][::-1]

    def reason_to_withdraw(self, settings: Settings, experiment: Experiment, *, trains: bool) -> str:
        """Why the images of this loop are not wanted any more, by settings that were edited after they were chosen;
        empty where they are, or where the loop has begun to train."""
        is_asked_for = self.loop > 0 and self.phase == "annotate" and not trains
        return self.reason_to_end(self.loop - 1, settings, experiment) if is_asked_for else ""

    def spell_as(self, images: Iterable[str]) -> None:
        """Names its images as those are named that lie in the folder (`spelled_as`), each once."""
        spelling = spelled_as([*self.train_images, *self.chosen, *self.ahead], images)
        self.train_images = list(dict.fromkeys(spelling[name] for name in self.train_images))
        self.chosen = {spelling[name]: certainty for name, certainty in self.chosen.items()}
        self.ahead = {spelling[name]: certainty for name, certainty in self.ahead.items()}

    def choose_ahead(self, chosen: dict[str, float], expected_objects: float) -> None:
        self.ahead, self.expected_ahead = chosen, expected_objects
        self.times_ahead = BatchTimes(before=self.times.handed_in)

    def begin_next_loop(self, chosen: dict[str, float], expected_objects: float, *, ahead: bool = False) -> None:
        """With the images that were chosen for it."""
        self.times = self.times_ahead if ahead else BatchTimes(before=self.times.handed_in)
        self.loop += 1
        self.chosen, self.expected_objects, self.chosen_ahead = chosen, expected_objects, ahead
        self.train_images = [*self.train_images, *chosen]
        self.ahead, self.expected_ahead, self.times_ahead = {}, 0.0, BatchTimes()

    def withdraw_loop(self) -> None:
        """Back to where the images of this loop, which are not trained on yet, were to be chosen."""
        self.loop -= 1
        self.train_images = [name for name in self.train_images if name not in self.chosen]
        self.chosen, self.expected_objects, self.chosen_ahead = {}, 0.0, False
        self.ahead, self.expected_ahead = {}, 0.0
        self.times, self.times_ahead = BatchTimes(before=self.times.before), BatchTimes()

    def save(self, path: Path) -> None:
        document = {"version": VERSION, **_nan_to_none(asdict(self))}
        write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    def experiment_in(self, folder: str) -> dict[str, Any]:
        """The recorded experiment; of a run that was begun before they were recorded, that of its settings which has
        the name of its folder."""
        if self.experiment:
            return self.experiment
        try:
            named = [one.recorded() for one in Settings(**self.settings).experiments() if one.name == folder]
        except ValueError:  # settings of another version
            named = []
        return named[0] if named else {"label": folder, "strategy": folder, "seed": 0}

    @classmethod
    def load(cls, path: Path) -> RunState:
        """Raises MaskALError, naming the file, the value and the remedy, where it cannot be used."""
        document = read_json(path, "the state of a run", COPY)
        version = document.get("version") if isinstance(document, dict) else None
        if type(version) is not int or version != VERSION:
            raise MaskALError(f"{path}: version: is not {VERSION}, which this version of MaskAL writes; {REMEDY}")
        del document["version"]
        check_keys(document, {one.name for one in fields(cls)} - set(LATER), f"{path}", COPY)
        state = check_values(_STATE, document, f"{path}", COPY)
        for number, row in enumerate(document["history"]):
            check_keys(
                row, {one.name for one in fields(LoopScores)} - set(LATER_SCORES), f"{path}: history[{number}]", COPY
            )
        if state.experiment:
            check_keys(state.experiment, {"label", "strategy", "seed"}, f"{path}: experiment", COPY)
            check_values(_EXPERIMENT, state.experiment, f"{path}: experiment", COPY)
        state.settings.setdefault("classes", state.classes)  # the first runs did not record settings
        for key in ("settings", "initial_settings"):
            if mistakes := recorded_mistakes(getattr(state, key)):
                raise MaskALError(f"{path}: {key}: {mistakes[0]}; {COPY}")
        return state

    def check_going_on(self, path: Path) -> None:
        """Whether a run can go on from this state, which was read from `path`.

        Raises:
            MaskALError: values contradict each other.
        """
        loops = self.loop + (self.phase in ("choose", "finished"))
        if len(self.history) != loops:
            raise MaskALError(
                f"{path}: loop: {self.loop} with phase {self.phase!r} has the scores of {loops} loops, history holds "
                f"{len(self.history)}; {COPY}"
            )
        if len(set(self.train_images)) != len(self.train_images):
            raise MaskALError(f"{path}: train_images: names an image twice; {COPY}")
        if unknown := sorted(set(self.chosen) - set(self.train_images)):
            raise MaskALError(f"{path}: chosen: {unknown[0]!r} is not in train_images; {COPY}")
        self._check_ahead(path)
        by_class = {"train_objects": self.train_objects}
        for number, row in enumerate(self.history):
            names = ("per_class", "standard_per_class", "objects")
            by_class |= {f"history[{number}].{name}": getattr(row, name) for name in names}
        for place, values in by_class.items():
            if values and set(values) != set(self.classes):
                raise MaskALError(f"{path}: {place}: is not of the classes of the run, {self.classes}; {COPY}")

    def _check_ahead(self, path: Path) -> None:
        if again := sorted(set(self.ahead) & set(self.train_images)):
            raise MaskALError(f"{path}: ahead: {again[0]!r} is in train_images, too; {COPY}")
        if self.ahead and self.loop == 0:
            raise MaskALError(f"{path}: ahead: holds images, though no network has chosen any in loop 0; {COPY}")
        if self.chosen_ahead and self.loop < 2:
            raise MaskALError(f"{path}: chosen_ahead: is true in loop {self.loop}, can be from loop 2 on; {COPY}")


_STATE = TypeAdapter(RunState)
_EXPERIMENT: TypeAdapter[Any] = TypeAdapter(_Recorded)


def _nan_to_none(value: Any) -> Any:
    """Json has no NaN."""
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
