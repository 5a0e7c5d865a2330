"""Folders of the settings that lie on each other. Where outputs lie on inputs, or the other way round, a run would
write over a person's files, take its own for images, or move images aside with `--fresh`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from pathlib import Path

from active_learning.settings.keys import SettingsKeys
from active_learning.system.files import lies_in

IMAGE_KEYS = ("traindir", "valdir", "testdir")
ANNOTATE = "annotate"  # as dataset/folder_walk.py
RUN_ROOTS = ("resultsroot", "weightsroot")


def overlap_mistakes(keys: SettingsKeys) -> Iterator[tuple[str, str]]:
    """(key, message) for each; folders are the same, too, where links or case lead to one."""
    inputs = {key: getattr(keys, key) for key in IMAGE_KEYS}
    if keys.use_initial_train_dir:
        inputs["initial_train_dir"] = keys.initial_train_dir
    runs = {key: getattr(keys, key) / keys.experiment_name for key in RUN_ROOTS}
    for key, folder in {"dataroot": keys.dataroot, **runs}.items():
        for image_key, images in inputs.items():
            if lies_in(folder, images):
                yield key, f"{key}: {folder} lies in {image_key} ({images}), among the images; name another folder"
            elif key in runs and lies_in(images, folder):
                yield key, f"{key}: {folder}, where the run writes, holds {image_key} ({images}); {_ANOTHER_NAME}"
    for (key, folder), (later, other) in combinations(inputs.items(), 2):
        if lies_in(other, folder):
            same = lies_in(folder, other)
            yield later, f"{later}: {other} {'is' if same else 'lies in'} {key} ({folder}); {_ONE_PLACE}"
        elif lies_in(folder, other):
            yield key, f"{key}: {folder} lies in {later} ({other}); {_ONE_PLACE}"
        else:
            yield from _annotate_mistakes({key: folder, later: other})


def _annotate_mistakes(inputs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """An annotate folder may be a link, but images of two folders that have one name would be mixed up in it."""
    for (key, folder), (other_key, other) in permutations(inputs.items(), 2):
        place = folder / ANNOTATE
        if place.exists() and (lies_in(place, other) or lies_in(place, other / ANNOTATE)):
            yield key, f"{key}: {place} lies in {other_key} ({other}), or in its annotate folder; {_ONE_PLACE}"


_ANOTHER_NAME = "name another folder, or choose another experiment_name"
_ONE_PLACE = "give each a folder of its own, none inside another: an image belongs to one of them"


def start_weights_file(keys: SettingsKeys) -> str:
    """pretrained_weights; where they are of the run that `--fresh` moved aside, the copy that it made of them."""
    copy = start_weights_copy(keys)
    return str(copy) if copy is not None and copy.is_file() else keys.pretrained_weights


def start_weights_copy(keys: SettingsKeys) -> Path | None:
    """Where `--fresh` keeps a copy of pretrained_weights that lie in the folder of the run's weights; None for others.

    It is beside that folder: training writes over what is in it.
    """
    weights, own = Path(keys.pretrained_weights).expanduser(), keys.weightsroot / keys.experiment_name
    if weights.suffix not in (".pth", ".pkl"):
        return None
    for path, folder in ((weights.absolute(), own.absolute()), (weights.resolve(), own.resolve())):
        if path.is_relative_to(folder):
            return keys.weightsroot / f"{keys.experiment_name}.start.{'.'.join(path.relative_to(folder).parts)}"
    return None
