"""Finds the YAML files of configs/ and the addresses of published checkpoints."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from detectron2.config import CfgNode, get_cfg

if TYPE_CHECKING:
    from torch import nn

BASE_URL = "https://dl.fbaipublicfiles.com/detectron2/"

# Config name -> training run and file of its checkpoint.
_CHECKPOINTS = {
    "COCO-Detection/fast_rcnn_R_50_FPN_1x": "137635226/model_final_e5f7ce.pkl",
    "COCO-Detection/faster_rcnn_R_101_C4_3x": "138204752/model_final_298dad.pkl",
    "COCO-Detection/faster_rcnn_R_101_DC5_3x": "138204841/model_final_3e0943.pkl",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x": "137851257/model_final_f6e8b1.pkl",
    "COCO-Detection/faster_rcnn_R_50_C4_1x": "137257644/model_final_721ade.pkl",
    "COCO-Detection/faster_rcnn_R_50_C4_3x": "137849393/model_final_f97cb7.pkl",
    "COCO-Detection/faster_rcnn_R_50_DC5_1x": "137847829/model_final_51d356.pkl",
    "COCO-Detection/faster_rcnn_R_50_DC5_3x": "137849425/model_final_68d202.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": "137257794/model_final_b275ba.pkl",
    "COCO-Detection/faster_rcnn_R_50_FPN_3x": "137849458/model_final_280758.pkl",
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x": "139173657/model_final_68b088.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_C4_3x": "138363239/model_final_a2914c.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_DC5_3x": "138363294/model_final_0464b7.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x": "137259246/model_final_9243eb.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x": "137849525/model_final_4ce675.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_1x": "137260150/model_final_4f86c3.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x": "137849551/model_final_84107b.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x": "139653917/model_final_2d9806.pkl",
    "Cityscapes/mask_rcnn_R_50_FPN": "142423278/model_final_af9cf5.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_101_FPN_1x": "144219035/model_final_824ab5.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "144219072/model_final_571f7c.pkl",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x": "144219108/model_final_5e3439.pkl",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x": "138602847/model_final_e9d89b.pkl",
    "Misc/cascade_mask_rcnn_R_50_FPN_3x": "144998488/model_final_480dd8.pkl",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv": "18131413/model_0039999_e76410.pkl",
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5": "138602867/model_final_65c703.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5": "144998336/model_final_821d0b.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_gn": "138602888/model_final_dc5d9e.pkl",
    "Misc/mask_rcnn_R_50_FPN_3x_syncbn": "169527823/model_final_3b3c51.pkl",
    "PascalVOC-Detection/faster_rcnn_R_50_C4": "142202221/model_final_b1acc2.pkl",
}

# A wheel carries the configs inside the package; in the repository they have their own folder.
_CONFIG_FOLDERS = (Path(__file__).parent / "configs", Path(__file__).parents[2] / "configs")


def get_checkpoint_url(config_path: str) -> str:
    """Address of the weights trained with a config, e.g. "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml".

    Raises RuntimeError where no weights were published for it.
    """
    name = config_path.removesuffix(".yaml").removesuffix(".py")
    if name not in _CHECKPOINTS:
        raise RuntimeError(f"no checkpoint is published for '{config_path}'{_nearest(name, _CHECKPOINTS)}")
    return f"{BASE_URL}{name}/{_CHECKPOINTS[name]}"


def get_config_file(config_path: str) -> str:
    """Path of a config's YAML file on this machine; RuntimeError where there is no such config."""
    for folder in _CONFIG_FOLDERS:
        if os.path.isfile(folder / config_path):  # noqa: PTH113 - pathlib raises for what cannot be a name
            return str(folder / config_path)
    known = [file.relative_to(folder).as_posix() for folder in _CONFIG_FOLDERS for file in folder.rglob("*/*.yaml")]
    raise RuntimeError(f"there is no config '{config_path}' in the model zoo{_nearest(config_path, known)}")


def _nearest(name: str, known: Collection[str]) -> str:
    # The most usual mistake is a name without its folder.
    names = [other for other in known if other.endswith(f"/{name}")] or difflib.get_close_matches(name, known, n=3)
    return f"; nearest names: {', '.join(names)}" if names else ""


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """A config of the zoo; MODEL.WEIGHTS is its initial weights, or with `trained` its published checkpoint.

    Raises RuntimeError where there is no such config, or no checkpoint for it.
    """
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """The network of a config with its initial or, with `trained`, its published weights, in training mode.

    `device` None is the config's device, or the CPU where there is no CUDA.
    """
    # Finding a config must not cost importing PyTorch.
    import torch

    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    cfg = get_config(config_path, trained)
    if device is not None or not torch.cuda.is_available():
        cfg.MODEL.DEVICE = device or "cpu"
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model
