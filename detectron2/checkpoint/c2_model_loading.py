"""Fitting the names in a weights file to the names in a network."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from detectron2.checkpoint.caffe2_names import convert_c2_detectron_names

logger = logging.getLogger(__name__)

# What DataParallel and DistributedDataParallel put in front of every name.
_WRAPPER = "module."


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, torch.Tensor],
    ckpt_state_dict: Mapping[str, torch.Tensor],
    c2_conversion: bool = True,
) -> dict[str, torch.Tensor]:
    """Rename a file's weights to the network's names by the longest-suffix heuristic.

    A file's name fits a network's name that equals it or ends in it after a dot: `res2.0.conv1.weight` fits
    `backbone.bottom_up.res2.0.conv1.weight`. Where several fit, the longest wins; where one fits
    several of the network's, the one of its shape.

    Args:
        model_state_dict: the network's names and tensors.
        ckpt_state_dict: the file's names and tensors.
        c2_conversion: the file has Caffe2 names and the background first, as the first Detectron wrote them.

    Returns:
        The file's tensors: those that fit under the network's name (of whatever shape), the others under their own.

    Raises:
        ValueError: a file's name fits several names of the network with its shape, or two Caffe2 names mean the same
            weight.
    """
    originals = {name: name for name in ckpt_state_dict}
    if c2_conversion:
        ckpt_state_dict, originals = convert_c2_detectron_names(ckpt_state_dict)
    elif all(name.startswith(_WRAPPER) for name in ckpt_state_dict):
        ckpt_state_dict = {name[len(_WRAPPER) :]: tensor for name, tensor in ckpt_state_dict.items()}
        originals = {name: _WRAPPER + name for name in ckpt_state_dict}
    fits: dict[str, str] = {}
    for model_name, tensor in model_state_dict.items():
        found = _longest_suffix(model_name, ckpt_state_dict)
        if found is None:
            continue
        shape = ckpt_state_dict[found].shape
        is_taken = found in fits and model_state_dict[fits[found]].shape == shape
        if is_taken and tensor.shape == shape:
            raise ValueError(f"weights '{originals[found]}' fit both '{fits[found]}' and '{model_name}' of the network")
        # One of another shape is kept too, where there is no better: loading then reports it.
        if found not in fits or tensor.shape == shape:
            fits[found] = model_name
    logger.info("%d of %d weights in the file fit the network by their names' endings", len(fits), len(ckpt_state_dict))
    return {fits.get(name, name): tensor for name, tensor in ckpt_state_dict.items()}


def _longest_suffix(name: str, candidates: Mapping[str, Any]) -> str | None:
    parts = name.split(".")
    suffixes = (".".join(parts[start:]) for start in range(len(parts)))
    return next((suffix for suffix in suffixes if suffix in candidates), None)


def is_torchvision_resnet(names: Iterable[str]) -> bool:
    """Whether these are the weights' names of a torchvision ResNet or ResNeXt classifier."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= set(names)


# In this order: a block's own norms before the stem's, which has the same name without a block in front.
_TORCHVISION_RENAMES = (
    (re.compile(r"^layer(\d)\."), lambda match: f"res{int(match[1]) + 1}."),
    (re.compile(r"\bdownsample\.0\."), "shortcut."),
    (re.compile(r"\bdownsample\.1\."), "shortcut.norm."),
    (re.compile(r"\bbn(\d)\."), r"conv\1.norm."),
    (re.compile(r"^conv1\."), "stem.conv1."),
)


def convert_torchvision_names(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A torchvision ResNet's weights under this package's names: `layer1.0.bn2.bias` is `res2.0.conv2.norm.bias`."""
    converted = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in _TORCHVISION_RENAMES:
            name = pattern.sub(replacement, name)  # noqa: PLW2901
        converted[name] = tensor
    return converted
