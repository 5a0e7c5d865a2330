"""Settings that were edited since a run began: applied with a line in the log, or refused with the remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from active_learning.errors import SettingsError
from active_learning.settings import Experiment, Settings
from active_learning.settings.overlaps import RUN_ROOTS
from active_learning.settings.paths import network_file
from active_learning.system.names import normalised
from active_learning.system.saving import settled

FIXED = ("classes", "network_config")  # the weights so far are of these
NAMES_OF_CLASSES = ("classes", "minority_classes")
FOLDERS = ("weightsroot", "resultsroot", "dataroot", "traindir", "valdir", "testdir")
LISTS = ("strategy", "mode", "dropout_probability", "mcd_iterations", "pool_size", "loops", "equal_pool_size", "seed")
IN_NETWORK = "network_config: "  # before what was edited in the network's own file
OF_WEIGHTS = (f"{IN_NETWORK}MODEL.", f"{IN_NETWORK}INPUT.FORMAT")
# Ends of keys of the former that say how a network is trained, or what it detects, and not what it is.
NOT_OF_WEIGHTS = ("_TRAIN", "_TEST", "BATCH_SIZE_PER_IMAGE", "POSITIVE_FRACTION", "LOSS_WEIGHT", "LOSS_TYPE", "_BETA",
                  "IOU_THRESHOLDS", "IOUS", "IOU_LABELS", "FREEZE_AT", "NMS_THRESH", "APPEND_GT",
                  "BOUNDARY_THRESH")  # fmt: skip
NEEDS_A_START = ("cuda_visible_devices",)
PATHS = (*FOLDERS, *FIXED, "experiment_name", "use_initial_train_dir", "initial_train_dir", "initial_train_file",
         "duplicate_initial_model_and_data", "pretrained_weights", "supervisely_meta_json", "export_format",
         "annotator")  # fmt: skip
OF_INITIAL_IMAGES = ("initial_datasize", "initial_choice", "use_initial_train_dir", "initial_train_dir")
OF_INITIAL_MODEL = ("duplicate_initial_model_and_data", "initial_train_file")
CHOOSING = ("strategy", "mode", "dropout_probability", "mcd_iterations", "pool_size", "equal_pool_size", "budget",
            "work_ahead",
            "images_without_detections", "min_distance", "sampling_threshold", "confidence_threshold", "nms_threshold",
            "iou_thres")  # fmt: skip
TRAINING = ("pretrained_weights", "image_min_size", "image_max_size", "tile_size", "tile_overlap", "learning_rate",
            "warmup_iterations", "weight_decay", "learning_policy", "step_ratios", "gamma", "train_epochs",
            "train_iterations_base", "train_iterations_step_size", "step_image_number", "train_batch_size",
            "train_sampler", "minority_classes", "repeat_factor_smallest_class", "dropout_probability")  # fmt: skip
ANOTHER_RUN = "set it back, choose another experiment_name, or start over with --fresh"


@dataclass(frozen=True)
class Change:
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        shown = str if self.key == "seed" else _shown  # a list of one seed is another setting than the seed
        return f"{self.key}: {shown(self.before)} -> {shown(self.now)}"


@dataclass(frozen=True)
class AppliedSettings:
    """Settings that hold from now on, and a line for each that is another one than before."""

    settings: Settings
    experiment: Experiment
    lines: tuple[str, ...]


def recorded(settings: Settings) -> dict[str, Any]:
    """All keys as json can hold them."""
    # Pydantic takes a list of seeds, which json has in place of a tuple, for a fault.
    return settings.model_dump(mode="json", warnings=False)


def fixed_changes(before: Mapping[str, Any], now: Settings, network_edits: Sequence[Change] = ()) -> list[Change]:
    """Those that weights which were trained with the settings `before` do not allow."""
    named = [change for change in _changes(before, now) if _is_of_other_weights(change)]
    inside = () if any(change.key == "network_config" for change in named) else network_edits  # of another file
    return [*named, *filter(_is_of_other_weights, inside)]


def training_changes(before: Mapping[str, Any], now: Settings, network_edits: Sequence[Change] = ()) -> list[Change]:
    """Those by which a training would give other weights; none where they are of another network."""
    if fixed_changes(before, now, network_edits):
        return []
    edits = (edit for edit in network_edits if not is_of_testing(edit.key.removeprefix(IN_NETWORK)))
    return [*(change for change in _changes(before, now) if change.key in TRAINING), *edits]


def is_of_testing(key: str) -> bool:
    """Whether a key of the network's own file counts in testing alone."""
    return key.startswith("TEST.") or key.endswith("_TEST")


def network_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What was edited in the network's own file, by what it held; none where an earlier version recorded nothing."""
    keys = sorted({*before, *now} if before else ())
    pairs = [(key, before.get(key, "its default"), now.get(key, "its default")) for key in keys]
    return [Change(f"{IN_NETWORK}{key}", former, found) for key, former, found in pairs if former != found]


def list_changes(before: Mapping[str, Any], now: Settings) -> list[Change]:
    """Those by which the settings may ask for other experiments than before."""
    return [change for change in _changes(before, now) if change.key in LISTS]


def _changes(before: Mapping[str, Any], now: Settings) -> list[Change]:
    after = recorded(now)
    there = [key for key in after if key in before and _compared(key, before[key]) != _compared(key, after[key])]
    return [Change(key, before[key], after[key]) for key in there]


def _compared(key: str, value: Any) -> Any:
    """Names of classes in NFC: a run may have begun with another form of the same ones."""
    if key not in NAMES_OF_CLASSES or not isinstance(value, (list, tuple)):
        return value
    return [normalised(name) if isinstance(name, str) else name for name in value]


def _in_own_spelling(before: Mapping[str, Any], now: Settings) -> Settings:
    """With the names of classes in the form that the run has begun with, as its records have it."""
    after = recorded(now)
    same = (key for key in NAMES_OF_CLASSES if _compared(key, before.get(key)) == _compared(key, after[key]))
    return now.model_copy(update={key: type(getattr(now, key))(before[key]) for key in same})


def reload_settings(load: Callable[..., Settings], in_use: Settings) -> Settings:
    """The settings file as it is by now; a half-saved one may be wrong, or right and lack its end.

    Args:
        load: reads it, with `check_paths` or without.
        in_use: where the file names the same paths still, they are not checked: what is not there any more is not
            needed any more, or is reported where it is.

    Raises:
        SettingsError: it is wrong.
    """

    def read() -> Settings:
        found = load(check_paths=False)
        same = all(getattr(found, key) == getattr(in_use, key) for key in PATHS)
        return found if same else load(check_paths=True)

    try:
        return settled(read, in_use)
    except SettingsError as error:
        raise SettingsError(
            f"The settings cannot be used as they are now.\n{error}\n"
            "The run is kept as it is: correct the settings and start again, it goes on"
        ) from error


def apply_settings(
    before: Mapping[str, Any],
    now: Settings,
    experiment: Experiment,
    *,
    running: bool,
    chosen_for: int | None = None,
    network_edits: Sequence[Change] = (),
    over: Collection[str] = (),
    has_weights: bool = True,
) -> AppliedSettings:
    """What is to be used of settings that may have been edited.

    Args:
        before: those the run used so far, as `recorded`; empty where it used none yet.
        running: the program has been going on meanwhile; else it is just starting.
        chosen_for: the next loop, if its images are chosen already: these stay.
        network_edits: in the network's own file, which keeps its name.
        over: the keys of what the run has done and does no more.
        has_weights: of the run's classes and network there are some.

    Raises:
        SettingsError: an edit would break the run.
    """
    now = _in_own_spelling(before, now)
    fixed = fixed_changes(before, now, network_edits) if has_weights or running else []
    changes = [*_changes(before, now), *network_edits]
    reason = _of_other_weights if has_weights else _needs_a_start
    mistakes = (*map(reason, fixed), *_mistakes(changes, before, now, experiment, running))
    if mistakes:
        raise SettingsError(
            f"experiment {experiment.name}: the run has begun with other settings, these cannot change in it; "
            "nothing was changed",
            mistakes,
        )
    late = [change for change in changes if running and change.key in NEEDS_A_START]
    for change in late:
        now = now.model_copy(update={change.key: change.before})
    same = [one for one in now.experiments() if one.name == experiment.name]
    return AppliedSettings(
        now,
        same[0] if same else experiment,
        tuple(_line(change, change in late, chosen_for, over) for change in changes),
    )


def _mistakes(
    changes: list[Change], before: Mapping[str, Any], now: Settings, experiment: Experiment, running: bool
) -> Iterator[str]:
    for change in changes:
        if _is_of_another_seed(change):
            yield f"{change}: what the run has done is of seed {change.before}; {ANOTHER_RUN}"
        elif change.key == "experiment_name" and running:
            yield f"{change}: this run is going on; set it back, and start the other one when it has ended"
        elif change.key in FOLDERS and _is_another_folder(change, running, before, experiment):
            moved = "Move a folder while MaskAL is not running" if running else "To go on in a copy, rename the former"
            yield f"{change}: the run is in the former; {ANOTHER_RUN}. {moved}"
    if running and experiment.name not in [one.name for one in now.experiments()]:
        lists = [change for change in changes if change.key in LISTS]
        yield (
            f"{'; '.join(map(str, lists))}: they ask no longer for the experiment {experiment.name}, which is going "
            "on; set them back, or stop it and start again"
        )


def _needs_a_start(change: Change) -> str:
    return f"{change}: is taken up by a start; start again, as the run has no weights yet"


def _of_other_weights(change: Change) -> str:
    return f"{change}: the weights so far belong to the former; {ANOTHER_RUN}"


def _is_of_other_weights(change: Change) -> bool:
    """A network file may be named by another path, or have been moved with its run."""
    if change.key.startswith(IN_NETWORK):
        return change.key.startswith(OF_WEIGHTS) and not change.key.endswith(NOT_OF_WEIGHTS)
    if change.key != "network_config":
        return change.key in FIXED
    before, now = network_file(change.before), network_file(change.now)
    return before != now and (before.exists() or before.name != now.name)


def _is_of_another_seed(change: Change) -> bool:
    """A seed of a list has a folder of its own; a single one has not, so the run would be taken for one of the new."""
    return change.key == "seed" and isinstance(change.before, int) and isinstance(change.now, int)


def _is_another_folder(change: Change, running: bool, before: Mapping[str, Any], experiment: Experiment) -> bool:
    """What is gone has been moved to its new place: a folder of images, or the run's own below a root; hidden files,
    such as locks, stay where a person moves what is seen. The lists in dataroot are written anew."""
    former, now = Path(change.before), Path(change.now)
    if running or former.resolve() == now.resolve():
        return former.resolve() != now.resolve()
    if change.key in RUN_ROOTS:
        former = former / before.get("experiment_name", "") / experiment.name
    return change.key != "dataroot" and _holds_files(former)


def _holds_files(place: Path) -> bool:
    """Such as a person sees."""
    try:
        return not all(name.startswith(".") for name in os.listdir(place))  # noqa: PTH208 (names are wanted)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _line(change: Change, late: bool, chosen_for: int | None, over: Collection[str]) -> str:
    if late:
        return f"{change} (from the next start on)"
    if chosen_for is not None and change.key in CHOOSING:
        return f"{change} (the images of loop {chosen_for} are chosen already: they stay)"
    return f"{change} (of no effect: the run has its initial images)" if change.key in over else str(change)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]" if len(value) != 1 else _shown(value[0])
    return "nothing" if value in (None, "") else str(value)
