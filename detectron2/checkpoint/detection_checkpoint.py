"""DetectionCheckpointer: what a checkpoint file may be, and what is reported about how it fits."""

from __future__ import annotations

import os
import pickle
import re
import struct
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import torch
from fvcore.common.checkpoint import Checkpointer
from tabulate import tabulate
from torch import nn

from detectron2.checkpoint import c2_model_loading
from detectron2.checkpoint.restricted_pickle import DAMAGED_PICKLE, load_restricted_pickle
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager, write_whole

# Constants of the network's construction that some files hold and some do not.
_CONSTANTS = re.compile(r"^pixel_(mean|std)$|anchor_generator\.cell_anchors|\.num_batches_tracked$")


class DetectionCheckpointer(Checkpointer):
    """Saves and loads a network with its optimizer, schedule and iteration.

    Reads .pth files of tensors, .pkl files of numpy arrays with Detectron2's or the first Detectron's names, and
    torchvision's ResNet weights; from local paths, web addresses, detectron2:// and catalog:// names. A path that
    ends in `?matching_heuristics=True` lets names be matched by their endings. Loading runs no code from the file.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool | None = None, **checkpointables: Any
    ) -> None:
        """`save_dir` is the folder to save into and to resume from; `save_to_disk` None saves in the main process only;
        `checkpointables` are more objects with state_dict and load_state_dict, such as optimizer=..., scheduler=...
        """
        save_to_disk = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._match_by_ending = False

    def load(self, path: str | os.PathLike[str], checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a file into the network; an empty path loads nothing.

        Args:
            path: a file, address or name as in the class's description.
            checkpointables: which of the other objects to load too; None: all that the file has.

        Returns:
            What else the file holds, such as {"iteration": 999}.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be downloaded.
            ValueError: its content is no checkpoint, or a weight of it fits several of the network.
            pickle.UnpicklingError: reading it would run code.
        """
        file, match_by_ending = _split_query(os.fspath(path))
        if file:
            file = self.path_manager.get_local_path(file)
            if not Path(file).is_file():
                raise FileNotFoundError(f"there is no checkpoint '{path}'")
        self._match_by_ending = match_by_ending
        return super().load(file, checkpointables)

    def save(self, name: str, **kwargs: Any) -> None:
        """Write <save_dir>/<name>.pth, with `kwargs` beside the states, and note it as the last checkpoint."""
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: value.state_dict() for key, value in self.checkpointables.items()}
        file = Path(self.save_dir) / f"{name}.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.logger.info("Saving checkpoint to %s", file)
        content = {"model": self.model.state_dict(), **states, **kwargs}
        write_whole(file, lambda temporary: torch.save(content, temporary))
        self.tag_last_checkpoint(file.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note in <save_dir>/last_checkpoint which file a resumed run starts from."""
        tag = Path(self.save_dir) / "last_checkpoint"
        write_whole(tag, lambda temporary: temporary.write_text(last_filename_basename, encoding="utf-8"))

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = _read_pickle(filename) if filename.endswith(".pkl") else _read_tensors(filename)
        if self._match_by_ending:
            checkpoint["matching_heuristics"] = True
        if checkpoint.get("__author__") == "torchvision":
            self.logger.info(
                "%s holds torchvision weights: they need INPUT.FORMAT RGB, RESNETS.STRIDE_IN_1X1 False, "
                "PIXEL_MEAN [123.675, 116.28, 103.53] and PIXEL_STD [58.395, 57.12, 57.375]",
                filename,
            )
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        author = checkpoint.pop("__author__", None)
        if checkpoint.pop("matching_heuristics", False) or author == "Caffe2":
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = c2_model_loading.align_and_update_state_dicts(
                self.model.state_dict(), checkpoint["model"], c2_conversion=author == "Caffe2"
            )
        incompatible = super()._load_model(checkpoint)
        return incompatible._replace(
            missing_keys=self._not_loaded(incompatible.missing_keys),
            unexpected_keys=[key for key in incompatible.unexpected_keys if not _CONSTANTS.search(key)],
        )

    def _not_loaded(self, missing_keys: list[str]) -> list[str]:
        """The missing keys without constants, and without parameters that were loaded under another of their names."""
        parameters = self.model.state_dict(keep_vars=True)
        loaded = {id(parameters[key]) for key in parameters.keys() - set(missing_keys)}
        return [key for key in missing_keys if not _CONSTANTS.search(key) and id(parameters[key]) not in loaded]

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        rows = [(key, "other shape: not loaded", *shapes) for key, *shapes in incompatible.incorrect_shapes]
        wrong = {key for key, *_ in incompatible.incorrect_shapes}
        missing = [key for key in incompatible.missing_keys if key not in wrong]
        rows += [(names, "not in the file: keeps its values", "", "") for names in _grouped(missing)]
        rows += [(names, "not in the network: unused", "", "") for names in _grouped(incompatible.unexpected_keys)]
        if rows:
            table = tabulate(rows, headers=["weights", "problem", "shape in the file", "shape in the network"])
            self.logger.warning("The checkpoint and the network differ:\n%s", table)


def _grouped(keys: Iterable[str]) -> list[str]:
    """["a.weight", "a.bias"] as ["a.{bias, weight}"]."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        module, dot, name = key.rpartition(".")
        groups[module + dot].append(name)
    texts = [names[0] if len(names) == 1 else "{" + ", ".join(sorted(names)) + "}" for names in groups.values()]
    return [module + text for module, text in zip(groups, texts, strict=True)]


def _split_query(path: str) -> tuple[str, bool]:
    """The path without a query, and whether the query requests matching by endings."""
    file, _, query = path.rpartition("?")
    if "matching_heuristics" not in query or not file:
        return path, False
    values = parse_qs(query)
    if set(values) != {"matching_heuristics"}:
        raise ValueError(f"'{path}': the only query that a checkpoint path can have is ?matching_heuristics=True")
    return file, values["matching_heuristics"] == ["True"]


def _read_pickle(filename: str) -> dict[str, Any]:
    content = load_restricted_pickle(filename)
    if not isinstance(content, dict):
        raise ValueError(f"{filename}: a checkpoint is a dict, not {type(content).__name__}")
    if isinstance(content.get("model"), dict):
        return content
    # Files of the first Detectron hold the arrays themselves, or in "blobs".
    blobs = content.get("blobs", content)
    if not isinstance(blobs, dict):
        raise ValueError(f"{filename}: 'blobs' must be a dict of arrays, not {type(blobs).__name__}")
    weights = {name: value for name, value in blobs.items() if not str(name).endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2"}


def _read_tensors(filename: str) -> dict[str, Any]:
    try:
        content = torch.load(filename, map_location="cpu", weights_only=True)
    except (*DAMAGED_PICKLE, RuntimeError, AssertionError, struct.error) as error:
        raise pickle.UnpicklingError(
            f"{filename}: refused to load: it is damaged or holds more than tensors and plain containers, which could "
            f"run code. Save state dicts only. ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{filename}: a checkpoint is a dict, not {type(content).__name__}; save model.state_dict()")
    if "model" in content:
        return content
    if c2_model_loading.is_torchvision_resnet(content):
        weights = c2_model_loading.convert_torchvision_names(content)
        return {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    return {"model": content}
