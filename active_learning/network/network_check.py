"""Whether a network can be built as its config says, and weights loaded into it; without memory for the network."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network import dropout_heads  # noqa: F401  (registers the heads)
from active_learning.network.weights_files import backbone_filled
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation
from detectron2.data.transforms import RandomCrop
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer

# What a layer may raise that is given values of the right type but no sense.
_UNBUILDABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def build_without_memory(cfg: CfgNode, name: str) -> nn.Module:
    """The network of a config of `network_config`, whose weights have shapes and no values; `name` is for the message.

    Raises:
        MaskALError: the network cannot be built, or what trains it cannot.
    """
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    what = "built of it"
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is nothing to fill with random weights
            model = build_model(cfg)
        what = "trained by it"
        build_optimizer(cfg, model)
        build_augmentation(cfg, is_train=True)
        if cfg.INPUT.CROP.ENABLED:
            RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE)
    except _UNBUILDABLE as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise MaskALError(f"network_config: {name}: no network can be {what}: {reason}") from error
    return model


def check_weights(model: nn.Module, path: str) -> None:
    """`path` may be an address; what is published is fetched, once.

    Raises:
        MaskALError: the weights cannot be read, or are of another network.
    """
    checkpointer = DetectionCheckpointer(model)
    checkpointer.logger = logging.Logger("unheard", logging.CRITICAL)  # the training will report how they fit
    with warnings.catch_warnings(), backbone_filled(model, path):
        warnings.simplefilter("ignore", UserWarning)  # that nothing is copied into what has no memory
        checkpointer.load(path)
