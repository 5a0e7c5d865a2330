"""Weights files: written whole or not at all, a full disk is reported, and those of another network are refused."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from active_learning.errors import MaskALError, SettingsError, first_line
from active_learning.system.disk_space import disk_of, remedy_of
from active_learning.system.files import copy_atomically, draft_of
from active_learning.system.names import normalised, shown
from active_learning.system.programs import as_typed
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

CLASSES = "classes"  # beside "model" in a file: the names of the classes, in order
# What reading a file that holds no weights may end in; PyTorch's reader has no error of its own for it.
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
)


def save_weights(model: nn.Module, path: Path, classes: Sequence[str] = ()) -> None:
    """Writes {"model": state dict, "classes": names}, without the latter where there are none.

    Raises:
        MaskALError: the file cannot be written; the old one is whole.
    """
    model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    with write_failure_explained(path):
        if not path.parent.is_dir():  # its drive has gone: a folder made in its place would hide what is there
            raise FileNotFoundError(f"there is no folder {path.parent} any more")
        _save(model, path, classes)


def _save(model: nn.Module, path: Path, classes: Sequence[str]) -> None:
    content = {"model": model.state_dict(), **({CLASSES: list(classes)} if classes else {})}
    with draft_of(path) as draft:
        torch.save(content, draft)


def trained_classes(cfg: CfgNode) -> list[str]:
    """The names of the classes that a config is trained on, in order; none where its data set has none."""
    return list(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", ()))


def check_classes(path: str, held: object, given: Sequence[str]) -> None:
    """Whether weights are of the classes that a person gave.

    Args:
        held: what the file has as "classes"; files of earlier versions, and of other tools, do not say.

    Raises:
        SettingsError: they are others, or in another order.
    """
    if not isinstance(held, list) or not held or not all(isinstance(name, str) for name in held):
        return
    if list(map(normalised, held)) == list(map(normalised, given)):
        return
    fault = f"was trained on the classes {_listed(held)} (in this order), not on {_listed(given)}"
    in_settings = f"in the settings classes: {json.dumps(held, ensure_ascii=False)}"
    raise SettingsError(f"{path}: {fault}; give --classes {as_typed(held)}, or {in_settings}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))


def begin_best(best_model: Path, best_before: Path | None) -> None:
    """What a training that starts anew has to beat: the best of the loop before, or nothing.

    Raises:
        MaskALError: the file cannot be written.
    """
    if best_before is None:
        best_model.unlink(missing_ok=True)  # of a training with other settings that was given up
    else:
        with write_failure_explained(best_model):
            copy_atomically(best_before, best_model)


@contextmanager
def backbone_filled(model: nn.Module, weights: str) -> Iterator[None]:
    """Inside it `weights` are loaded; the heads may be of other classes, the backbone must be the same.

    Raises:
        MaskALError: they cannot be read, or less than half of the backbone is in the file; training would start from
            noise.
    """
    try:
        with missing_weights(model) as missing:
            yield
    except UNREADABLE as error:
        raise MaskALError(f"{weights}: cannot be read as weights: {error}") from error
    backbone = [name for name, _ in model.named_parameters() if name.startswith("backbone.")]
    absent = [name for name in backbone if name in missing]
    if weights and 2 * len(absent) > len(backbone):
        raise MaskALError(
            f"{weights}: does not fit the network: {len(absent)} of the {len(backbone)} weights of its backbone are "
            f"missing or of another shape, such as {absent[-1]}; give weights of this network_config, or "
            "pretrained_weights: '' to start from none"
        )


@contextmanager
def missing_weights(model: nn.Module) -> Iterator[set[str]]:
    """What the files that are loaded inside it lack, by the names of the weights.

    The checkpointer only logs them, as training may start from such weights.
    """
    missing: set[str] = set()
    hook = model.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
        lambda _, keys: missing.update(keys.missing_keys)
    )
    try:
        yield missing
    finally:
        hook.remove()


@contextmanager
def write_failure_explained(path: Path) -> Iterator[None]:
    """PyTorch's writer has no error of its own for a disk that takes no more; it raises a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        remedy = remedy_of(error) if isinstance(error, OSError) else ""
        raise MaskALError(
            f"{path}: cannot be written ({first_line(error)}); its disk is {disk_of(path)}. "
            f"What was there before is whole: {remedy or 'free some space'}, and start again, it goes on"
        ) from error
