"""A network's own file, a config of Detectron2: read with those that it builds on, and checked without PyTorch."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from active_learning.errors import MaskALError
from active_learning.settings.changes import is_of_testing
from active_learning.settings.paths import is_zoo_config
from active_learning.system.log import logger
from active_learning.system.saving import settled

if TYPE_CHECKING:
    from detectron2.config import CfgNode

DROPOUT_HEADS = {
    "StandardROIHeads": "DropoutROIHeads",
    "Res5ROIHeads": "DropoutRes5ROIHeads",
    "CascadeROIHeads": "DropoutCascadeROIHeads",
    "FastRCNNConvFCHead": "DropoutBoxHead",
    "MaskRCNNConvUpsampleHead": "DropoutMaskHead",
}
POOLERS = ("ROIAlignV2", "ROIAlign", "ROIPool")
BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")
# The other parts that there are. They stand here, too, so that they are checked without PyTorch.
PARTS: dict[str, tuple[object, ...]] = {
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN",),
    "MODEL.BACKBONE.NAME": ("build_resnet_backbone", "build_resnet_fpn_backbone"),
    "MODEL.RESNETS.DEPTH": (18, 34, 50, 101, 152),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": BOX_LOSSES,
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": POOLERS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": BOX_LOSSES,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": POOLERS,
    "INPUT.FORMAT": ("BGR", "RGB"),
    "INPUT.MASK_FORMAT": ("polygon", "bitmask"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.RANDOM_FLIP": ("horizontal", "vertical", "none"),
    "INPUT.CROP.TYPE": ("relative_range", "relative", "absolute", "absolute_range"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("value", "norm", "full_model"),
}
# Without any of these nothing is learned.
AT_LEAST_ONE = (
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION",
)
# What MaskAL sets itself, whatever the file says, and what only rounding depends on.
SET_BY_MASKAL = (
    "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.CPU_KERNELS", "MODEL.ROI_HEADS.NUM_CLASSES",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "MODEL.ROI_HEADS.DROPOUT_PROBABILITY",
    "DATASETS.", "DATALOADER.", "SEED", "OUTPUT_DIR", "VERSION", "TEST.EVAL_PERIOD", "SOLVER.AMP.ENABLED",
    "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "SOLVER.BASE_LR", "SOLVER.WEIGHT_DECAY", "SOLVER.GAMMA", "SOLVER.STEPS",
    "SOLVER.LR_SCHEDULER_NAME", "SOLVER.NUM_DECAYS", "SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD",
)  # fmt: skip


def add_dropout_config(cfg: CfgNode) -> None:
    """Adds MODEL.ROI_HEADS.DROPOUT_PROBABILITY, the share of activations that dropout sets to zero."""
    cfg.MODEL.ROI_HEADS.DROPOUT_PROBABILITY = 0.0


def read_network_file(name: str) -> CfgNode:
    """The config of that name or path, over the engine's defaults.

    Raises:
        MaskALError: the file, or one that it builds on, is not found, cannot be read, or has unknown keys.
    """
    from detectron2.config import get_cfg

    cfg = get_cfg()
    add_dropout_config(cfg)
    defaults = dict(_values(cfg))
    path = _config_file(name)
    try:
        cfg.merge_from_file(path)
    except (KeyError, ValueError, OSError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise MaskALError(f"network_config: {path} cannot be read: {reason}") from error
    _check_values(cfg, defaults, name)
    return cfg


def reload_network_file(name: str, in_use: CfgNode) -> CfgNode:
    """As it is by now, once it is the same twice; one that stays wrong, or is gone with its drive, is not needed: the
    config in use goes on, with a warning."""

    def read() -> CfgNode:
        cfg = read_network_file(name)
        with_dropout_heads(cfg, name)
        return cfg

    try:
        return settled(read, in_use)
    except MaskALError as error:
        logger.warning("%s. The run goes on with what this file held before", error)
        return in_use


def with_dropout_heads(cfg: CfgNode, name: str) -> CfgNode:
    """A copy of the config that `name` holds, with dropout heads; no network is built.

    Raises:
        MaskALError: it has parts that are not known, or is of no Mask R-CNN that takes dropout heads.
    """
    cfg = cfg.clone()
    _use_dropout_heads(cfg, name)
    _check_parts(cfg, name)
    return cfg


def network_values(cfg: CfgNode) -> dict[str, Any]:
    """What a network's file has in place of the engine's defaults, as json holds it."""
    from detectron2.config import get_cfg

    defaults, values = dict(_values(get_cfg())), _values(cfg)
    own = {key: value for key, value in values if key in defaults and value != defaults[key]}
    text = json.dumps({key: value for key, value in own.items() if not key.startswith(SET_BY_MASKAL)}, default=str)
    found: dict[str, Any] = json.loads(text)
    return found


def values_of_testing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `network_values` that detections of given weights depend on."""
    return {key: value for key, value in values.items() if is_of_testing(key) or key.endswith("NMS_THRESH")}


def published_classes(name: str) -> list[str]:
    """The class names of the data set that a config was published for; empty where they are not known here.

    Raises:
        MaskALError: the config file is not found or cannot be read.
    """
    from detectron2.data import MetadataCatalog

    cfg = read_network_file(name)
    return list(MetadataCatalog.get(cfg.DATASETS.TEST[0]).get("thing_classes", ())) if cfg.DATASETS.TEST else []


def _config_file(name: str) -> str:
    from detectron2 import model_zoo

    if Path(name).is_file():
        return name
    if not is_zoo_config(name):
        raise MaskALError(
            f"network_config: {name} is neither a file nor a config below configs/, "
            "such as COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
        )
    return model_zoo.get_config_file(name)


def _check_parts(cfg: CfgNode, name: str) -> None:
    values = dict(_values(cfg))
    for key, known in PARTS.items():
        if values[key] not in known:
            choices = " or ".join(map(str, known))
            raise MaskALError(f"network_config: {name}: {key} {values[key]!r} is not known here; it can be {choices}")
    for key in AT_LEAST_ONE:
        if values[key] < 1:
            raise MaskALError(f"network_config: {name}: {key} {values[key]} must be at least 1")


def _check_values(cfg: CfgNode, defaults: Mapping[str, Any], name: str) -> None:
    """A NaN is not even equal to itself, so that it would count as edited for ever."""
    for key, value in _values(cfg):
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if None in numbers and defaults.get(key) is not None:
            raise MaskALError(f"network_config: {name}: {key} has no value; give it one, or remove its line")
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise MaskALError(f"network_config: {name}: {key} {value} must be of finite numbers")


def _values(cfg: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """All of a config, by their keys."""
    for key, value in cfg.items():
        if isinstance(value, dict):
            yield from _values(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _use_dropout_heads(cfg: CfgNode, name: str) -> None:
    if not cfg.MODEL.MASK_ON:
        raise MaskALError(f"network_config: {name} predicts no masks (MODEL.MASK_ON is False); choose a Mask R-CNN")
    for key in ("ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD"):
        node = cfg.MODEL[key]
        if not node.NAME or node.NAME in DROPOUT_HEADS.values():  # C4 networks have no box head
            continue
        if node.NAME not in DROPOUT_HEADS:
            nearest = difflib.get_close_matches(node.NAME, DROPOUT_HEADS, n=1, cutoff=0.0)
            raise MaskALError(
                f"network_config: {name}: MODEL.{key}.NAME {node.NAME!r} has no form with dropout; "
                f"choose a network with {nearest[0]}, such as one with FPN"
            )
        node.NAME = DROPOUT_HEADS[node.NAME]
