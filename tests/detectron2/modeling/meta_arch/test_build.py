"""Every config of the zoo builds, and one of each kind trains and predicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detectron2 import model_zoo
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import CascadeROIHeads, Res5ROIHeads, StandardROIHeads, build_model
from detectron2.modeling.backbone.resnet import DeformBottleneckBlock

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
ZOO = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/*.yaml"))
NORMS = {"_gn": nn.GroupNorm, "_syncbn": nn.SyncBatchNorm}


def build_without_memory(name: str) -> tuple[CfgNode, nn.Module]:
    cfg = model_zoo.get_config(name)
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return cfg, build_model(cfg)


def expected_heads(name: str) -> type[nn.Module]:
    if "_C4_" in name or name.endswith("_C4.yaml"):
        return Res5ROIHeads
    return CascadeROIHeads if "cascade" in name else StandardROIHeads


@pytest.mark.parametrize("name", ZOO)
def test_every_config_builds_what_its_name_says(name: str) -> None:
    cfg, model = build_without_memory(name)
    assert type(model.roi_heads) is expected_heads(name)
    assert hasattr(model.roi_heads, "mask_head") == ("mask_rcnn" in name)
    resnet = getattr(model.backbone, "bottom_up", model.backbone)
    assert len(resnet.res4) == (23 if "_101_" in name else 36 if "_152_" in name else 6)
    last = model.roi_heads.res5[-1] if "_C4" in name else resnet.res5[-1]
    assert last.out_channels == 2048
    assert last.conv2.groups == (32 if "_X_" in name else 1)
    assert last.conv2.dilation == ((2, 2) if "_DC5" in name else (1, 1))
    assert isinstance(last, DeformBottleneckBlock) == ("_dconv" in name)
    norm = next((kind for suffix, kind in NORMS.items() if name.endswith(f"{suffix}.yaml")), FrozenBatchNorm2d)
    assert isinstance(last.conv2.norm, norm)
    assert any(not p.requires_grad for p in resnet.stem.parameters())
    classes = {"Cityscapes": 8, "LVISv0.5-": 1230, "LVISv1-": 1203, "PascalVOC-": 20}
    expected = next((number for start, number in classes.items() if name.startswith(start)), 80)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == model.roi_heads.num_classes == expected


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", 41.7),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", 44.4),
        ("COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x.yaml", 63.4),
    ],
)
def test_number_of_weights(name: str, millions: float) -> None:
    """Frozen batch norms hold no parameters, but count among the weights here."""
    _, model = build_without_memory(name)
    number = sum(p.numel() for p in model.parameters())
    number += sum(m.weight.numel() + m.bias.numel() for m in model.modules() if isinstance(m, FrozenBatchNorm2d))
    assert number / 1e6 == pytest.approx(millions, abs=0.06)


def shrunk(name: str) -> CfgNode:
    """A config of the zoo with few channels, samples and proposals; its structure stays."""
    cfg = model_zoo.get_config(name)
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    # Fresh frozen norms do nothing, so that activations double with each block.
    cfg.MODEL.PIXEL_STD = [1e5] * 3
    resnets, heads = cfg.MODEL.RESNETS, cfg.MODEL.ROI_HEADS
    resnets.DEPTH = 50
    resnets.STEM_OUT_CHANNELS = 32
    resnets.RES2_OUT_CHANNELS = 64
    resnets.NUM_GROUPS = min(resnets.NUM_GROUPS, 4)
    resnets.WIDTH_PER_GROUP = 32 // resnets.NUM_GROUPS
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 32
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    heads.NUM_CLASSES = 3
    heads.BATCH_SIZE_PER_IMAGE = 16
    heads.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 5
    return cfg


@pytest.mark.parametrize(
    "name",
    [
        "COCO-Detection/faster_rcnn_R_50_C4_3x.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
        "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml",
        "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml",
        "Misc/mask_rcnn_R_50_FPN_3x_gn.yaml",
        "Misc/mask_rcnn_R_50_FPN_3x_syncbn.yaml",
    ],
)
def test_one_of_each_kind_trains_and_predicts(name: str, storage, make_input) -> None:
    model = build_model(shrunk(name))
    batch = [make_input([[10, 10, 70, 60], [60, 20, 120, 90]]), make_input([])]
    losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        found = model.eval()(batch)[0]["instances"]
    assert len(found) == 5
    assert found.has("pred_masks") == ("mask_rcnn" in name)


@pytest.mark.parametrize(
    ("device", "mixed", "expected"),
    [("cpu", False, True), ("cpu", True, True), ("meta", False, False), ("meta", True, True)],
)
def test_convolutions_have_their_channels_last_where_that_is_faster(device: str, mixed: bool, expected: bool) -> None:
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.ENABLED = device, mixed
    with torch.device(device):
        model = build_model(cfg)
    kernels = [p for p in model.parameters() if p.dim() == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert kernels
    assert {p.is_contiguous(memory_format=torch.channels_last) for p in kernels} == {expected}
