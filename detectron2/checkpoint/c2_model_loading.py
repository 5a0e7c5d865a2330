"""Fitting the names in a weights file to the names in a network.

The first Detectron's weights have Caffe2 names and the background first. A Caffe2 name is a layer and a parameter,
`res2_0_branch2a_bn_s`: stage 2, block 0, first convolution, its norm's scale.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

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


# The file may have been written inside a device scope.
_PARAMETER = re.compile(
    r"(?:gpu_\d+/)?(?P<layer>.+?)(?:_(?P<norm>bn|gn)_(?P<of_norm>\w+)|_(?P<of_layer>[wb]))", flags=re.ASCII
)

_OF_LAYER = {"w": "weight", "b": "bias"}
_OF_NORM = {
    "s": "weight",
    "gamma": "weight",
    "b": "bias",
    "beta": "bias",
    "rm": "running_mean",
    "running_mean": "running_mean",
    # Caffe2 calls it an inverse variance, yet keeps the variance in it
    "riv": "running_var",
    "running_var": "running_var",
}

_RPN = "proposal_generator.rpn_head"
_LAYERS = [
    (re.compile(pattern, flags=re.ASCII), name)
    for pattern, name in (
        (r"(?:res_)?conv1", "stem.conv1"),
        (r"res(\d)_(\d+)_branch1", r"res\1.\2.shortcut"),
        (r"res(\d)_(\d+)_branch2a", r"res\1.\2.conv1"),
        (r"res(\d)_(\d+)_branch2b", r"res\1.\2.conv2"),
        (r"res(\d)_(\d+)_branch2c", r"res\1.\2.conv3"),
        (r"pred", "linear"),
        # the name of a level's map is that of its stage's last block; only the top level has no "_lateral"
        (r"fpn_inner_res(\d)_\d+_sum(?:_lateral)?", r"fpn_lateral\1"),
        (r"fpn_res(\d)_\d+_sum", r"fpn_output\1"),
        # with a pyramid, all levels use the weights of the second
        (r"conv_rpn(?:_fpn2)?", f"{_RPN}.conv"),
        (r"rpn_cls_logits(?:_fpn2)?", f"{_RPN}.objectness_logits"),
        (r"rpn_bbox_pred(?:_fpn2)?", f"{_RPN}.anchor_deltas"),
        (r"fc6", "box_head.fc1"),
        (r"fc7", "box_head.fc2"),
        (r"head_conv(\d+)", r"box_head.conv\1"),
        (r"_(?:\[mask\]|mask)_fcn(\d+)", r"mask_head.mask_fcn\1"),
        (r"conv5_mask", "mask_head.deconv"),
        (r"mask_fcn_logits", "mask_head.predictor"),
    )
]


def convert_c2_detectron_names(weights: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Rename Caffe2 weights, and reorder what depends on the background's place among the classes.

    The background's score moves from first to last; its rows in the box regression and its mask are dropped, as this
    package has none; so are the momentum entries of the optimizer. Of names that are not known, only the parameter's
    part is changed: `fc1000_w` is `fc1000.weight`.

    Args:
        weights: Caffe2 names -> arrays or tensors.

    Returns:
        The tensors under their new names, in the same order, and for each new name the original one.

    Raises:
        ValueError: two weights get the same name, or the rows of a prediction layer cannot hold a background.
    """
    converted: dict[str, torch.Tensor] = {}
    originals: dict[str, str] = {}
    for original, value in weights.items():
        if original.endswith("_momentum"):
            continue
        name = _new_name(original)
        if name in originals:
            raise ValueError(f"weights '{originals[name]}' and '{original}' of the file are both '{name}'")
        converted[name] = _without_background_first(name, original, torch.as_tensor(value))
        originals[name] = original
    return converted, originals


def _new_name(original: str) -> str:
    parts = _PARAMETER.fullmatch(original)
    if parts is None or (parts["norm"] and parts["of_norm"] not in _OF_NORM):
        return original
    parameter = f"norm.{_OF_NORM[parts['of_norm']]}" if parts["norm"] else _OF_LAYER[parts["of_layer"]]
    return f"{_new_layer(parts['layer'])}.{parameter}"


def _new_layer(layer: str) -> str:
    for pattern, name in _LAYERS:
        if match := pattern.fullmatch(layer):
            return match.expand(name)
    return layer


def _without_background_first(name: str, original: str, weight: torch.Tensor) -> torch.Tensor:
    layer = name.rpartition(".")[0]
    if layer == "cls_score":
        return weight.roll(-1, dims=0)
    if layer == "bbox_pred":
        if len(weight) < 8 or len(weight) % 4:
            raise ValueError(f"'{original}' has {len(weight)} rows: not 4 for the background and 4 for each class")
        return weight[4:].clone()
    # a mask for all classes together is one row, and that is no background
    if layer == "mask_head.predictor" and len(weight) > 1:
        return weight[1:].clone()
    return weight
