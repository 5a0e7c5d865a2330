"""Small networks of each kind, with the layers, and so the operations, of those with a ResNet-50; marks of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["square", "disc", "never"]
BASES = {
    "FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
    "C4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml",
    "DC5": "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x.yaml",
    "Cascade": "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
}
NARROW: dict[str, Any] = {
    "WEIGHTS": "",
    "PIXEL_STD": [57.0, 57.0, 57.0],
    "RESNETS": {"STEM_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 4, "RES2_OUT_CHANNELS": 16},
    "FPN": {"OUT_CHANNELS": 16},
    "RPN": {"PRE_NMS_TOPK_TRAIN": 50, "PRE_NMS_TOPK_TEST": 50, "POST_NMS_TOPK_TRAIN": 30, "POST_NMS_TOPK_TEST": 20},
    "ROI_HEADS": {"BATCH_SIZE_PER_IMAGE": 16},
    "ROI_BOX_HEAD": {"FC_DIM": 32},
    "ROI_MASK_HEAD": {"CONV_DIM": 16},
}


def write_networks(folder: Path) -> dict[str, Path]:
    """A config file of each kind."""
    files = {}
    for kind, base in BASES.items():
        pyramid = kind in ("FPN", "Cascade")
        sizes = [[8], [16], [24], [32], [48]] if pyramid else [[16, 32]]
        model = {**NARROW, "ANCHOR_GENERATOR": {"SIZES": sizes}}
        document = {"_BASE_": str(ROOT / "configs" / base), "MODEL": model, "TEST": {"DETECTIONS_PER_IMAGE": 12}}
        document["INPUT"] = {"MIN_SIZE_TRAIN": [64], "MIN_SIZE_TEST": 64}
        files[kind] = folder / f"{kind}.yaml"
        files[kind].write_text(yaml.safe_dump(document), encoding="utf-8")
    return files


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """Untrained, it detects something: no class is near certain, masks fill boxes, and no value explodes."""
    for name, layer in model.named_modules():
        if name.endswith("conv3.norm"):
            layer.weight.fill_(0.3)
        if name.endswith("cls_score"):
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.zeros_(layer.bias)
        if name.endswith("mask_head.predictor"):
            nn.init.ones_(layer.bias)
    return model
