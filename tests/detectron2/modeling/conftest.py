"""A detector small enough to train in a test, and pictures for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

HEIGHT, WIDTH = 96, 128


@pytest.fixture(autouse=True)
def one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def storage() -> Iterator[EventStorage]:
    with EventStorage(0) as events:
        yield events


@pytest.fixture
def small_cfg() -> CfgNode:
    """Mask R-CNN, ResNet-18-FPN with few channels, 3 classes."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.merge_from_other_cfg(
        CfgNode({"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "BN", "OUT_FEATURES": ["res2", "res3", "res4", "res5"]})
    )
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.FPN.NORM = "BN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [48], [64], [96]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 200
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_BOX_HEAD.merge_from_other_cfg(
        CfgNode({"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "FC_DIM": 32, "POOLER_RESOLUTION": 7})
    )
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 16
    return cfg


def make_picture(boxes: list[list[float]]) -> torch.Tensor:
    """Bright rectangles on grey noise, (3, HEIGHT, WIDTH) uint8."""
    picture = np.random.default_rng(0).integers(80, 120, (3, HEIGHT, WIDTH)).astype(np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        picture[i % 3, int(y0) : int(y1), int(x0) : int(x1)] = 240
    return torch.from_numpy(picture)


def make_truth(boxes: list[list[float]]) -> Instances:
    polygons = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float64)] for x0, y0, x1, y1 in boxes]
    return Instances(
        (HEIGHT, WIDTH),
        gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        gt_classes=torch.arange(len(boxes)) % 3,
        gt_masks=PolygonMasks(polygons),
    )


@pytest.fixture
def make_input() -> Callable[[list[list[float]]], dict[str, Any]]:
    """Boxes -> one training input with a rectangle in each."""

    def build(boxes: list[list[float]]) -> dict[str, Any]:
        return {
            "image": make_picture(boxes),
            "instances": make_truth(boxes),
            "height": HEIGHT,
            "width": WIDTH,
        }

    return build
