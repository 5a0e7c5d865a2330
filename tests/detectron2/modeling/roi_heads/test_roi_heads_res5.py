from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, FastRCNNOutputLayers, Res5ROIHeads, build_roi_heads
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import roi_heads as module_of_the_public_name
from detectron2.structures import Boxes, Instances

SIZE = (96, 128)
SHAPES = {"res4": ShapeSpec(channels=32, stride=16)}
A, B = [10.0, 10, 50, 50], [60.0, 10, 90, 50]


@pytest.fixture
def res5_cfg(small_cfg: CfgNode) -> CfgNode:
    small_cfg.MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
    small_cfg.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    small_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    small_cfg.MODEL.RESNETS.merge_from_other_cfg(
        CfgNode({"RES2_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 2, "NUM_GROUPS": 2, "NORM": "FrozenBN"})
    )
    small_cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
    small_cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 0
    return small_cfg


def proposals(boxes: list) -> Instances:
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


def features(num_images: int = 1) -> dict[str, torch.Tensor]:
    return {"res4": torch.randn(num_images, 32, 6, 8)}


def test_arguments() -> None:
    names = list(inspect.signature(Res5ROIHeads.__init__).parameters)
    assert names == ["self", "in_features", "pooler", "res5", "box_predictor", "mask_head", "kwargs"]
    assert module_of_the_public_name.Res5ROIHeads is Res5ROIHeads


def test_the_stage_is_the_third_bottleneck_stage_after_res4(res5_cfg) -> None:
    res5_cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    res5_cfg.MODEL.RESNETS.RES5_DILATION = 2  # only the backbone's own res5 is dilated
    res5 = build_roi_heads(res5_cfg, SHAPES).res5
    assert [(block.in_channels, block.out_channels, block.stride) for block in res5] == [
        (32, 64, 2),
        (64, 64, 1),
        (64, 64, 1),
    ]
    assert all((block.conv2.out_channels, block.conv2.groups) == (32, 2) for block in res5)
    assert all(block.conv2.dilation == (1, 1) for block in res5)
    assert res5[0].conv1.stride == (1, 1)
    assert all(isinstance(block.conv3.norm, FrozenBatchNorm2d) for block in res5)
    assert all(p.requires_grad for p in res5.parameters())


@pytest.mark.parametrize("mask_on", [True, False])
def test_state_dict_names(res5_cfg, mask_on: bool) -> None:
    res5_cfg.MODEL.MASK_ON = mask_on
    heads = build_roi_heads(res5_cfg, SHAPES)
    layers = {name.rsplit(".", 1)[0].removesuffix(".norm") for name in heads.state_dict()}
    convs = {f"res5.{i}.conv{j}" for i in range(3) for j in (1, 2, 3)} | {"res5.0.shortcut"}
    mask = {"mask_head.deconv", "mask_head.predictor"} if mask_on else set()
    assert layers == convs | mask | {"box_predictor.cls_score", "box_predictor.bbox_pred"}
    assert heads.mask_on == mask_on


def test_the_box_predictor_sees_the_mean_and_the_mask_head_the_foreground(res5_cfg, storage, make_input) -> None:
    heads = build_roi_heads(res5_cfg, SHAPES)
    seen = {}
    heads.box_predictor.register_forward_pre_hook(lambda _, inputs: seen.update(box=inputs[0]))
    heads.mask_head.register_forward_pre_hook(lambda _, inputs: seen.update(mask=inputs[0], instances=inputs[1]))
    x = features(2)
    truths = [make_input([])["instances"], make_input([A])["instances"]]
    sampled, losses = heads(None, x, [proposals([B]), proposals([A, B])], truths)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask"}
    regions = heads.res5(heads.pooler([x["res4"]], [own.proposal_boxes for own in sampled]))
    assert regions.shape == (4, 64, 7, 7)
    assert torch.allclose(seen["box"], regions.mean(dim=(2, 3)), atol=1e-6)
    is_object = torch.cat([own.gt_classes for own in sampled]) < 3
    assert is_object.sum() == 2
    assert torch.allclose(seen["mask"], regions[is_object], atol=1e-6)
    assert [own.proposal_boxes.tensor.tolist() for own in seen["instances"]] == [[], [A, A]]


def test_one_pass_of_the_stage_serves_both_heads_in_training(res5_cfg, storage, make_input) -> None:
    heads = build_roi_heads(res5_cfg, SHAPES)
    calls = []
    heads.res5.register_forward_hook(lambda *_: calls.append(1))
    _, losses = heads(None, features(), [proposals([B])], [make_input([A])["instances"]])
    sum(losses.values()).backward()
    assert len(calls) == 1
    assert all(p.grad is not None for p in heads.parameters())


def test_masks_are_predicted_in_the_predicted_boxes(res5_cfg) -> None:
    heads = build_roi_heads(res5_cfg, SHAPES).eval()
    nn.init.constant_(heads.box_predictor.bbox_pred.bias, 1.0)
    x = features(2)
    found, losses = heads(None, x, [proposals([A, B]), proposals([])])
    assert losses == {}
    assert [own.pred_masks.shape for own in found] == [(6, 1, 14, 14), (0, 1, 14, 14)]
    given = [Instances(SIZE, pred_boxes=own.pred_boxes, pred_classes=own.pred_classes) for own in found]
    again = heads.forward_with_given_boxes(x, given)
    assert torch.equal(again[0].pred_masks, found[0].pred_masks)
    regions = heads.res5(heads.pooler([x["res4"]], [own.pred_boxes for own in found]))
    logits = heads.mask_head.layers(regions)
    assert torch.allclose(found[0].pred_masks[:, 0], logits[torch.arange(6), found[0].pred_classes].sigmoid())


def test_the_stage_runs_on_a_list_of_maps(res5_cfg) -> None:
    """Extensions call and override the method, as upstream's do."""
    heads = build_roi_heads(res5_cfg, SHAPES).eval()
    x = features()["res4"]
    regions = heads._shared_roi_transform([x], [Boxes([A, B])])
    assert torch.equal(regions, heads.res5(heads.pooler([x], [Boxes([A, B])])))


def test_without_masks_given_boxes_come_back_as_they_are(res5_cfg) -> None:
    res5_cfg.MODEL.MASK_ON = False
    heads = build_roi_heads(res5_cfg, SHAPES).eval()
    given = [Instances(SIZE, pred_boxes=Boxes([A]))]
    assert heads.forward_with_given_boxes(features(), given) is given
    with pytest.raises(RuntimeError, match="eval"):
        heads.train().forward_with_given_boxes(features(), given)


def test_blocks_may_come_as_a_list() -> None:
    predictor = FastRCNNOutputLayers(4, box2box_transform=Box2BoxTransform((1, 1, 1, 1)), num_classes=2)
    heads = Res5ROIHeads(
        in_features=["res4"],
        pooler=ROIPooler(2, [1 / 16], 0, "ROIAlignV2"),
        res5=[nn.Conv2d(32, 8, 1), nn.Conv2d(8, 4, 1)],
        box_predictor=predictor,
        num_classes=2,
        batch_size_per_image=4,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.5], [0, 1]),
    )
    assert "res5.1.weight" in heads.state_dict()
    assert len(heads.eval()(None, features(), [proposals([A])])[0][0]) > 0


@ROI_HEADS_REGISTRY.register()
class Res5HeadsForTest(Res5ROIHeads):
    @classmethod
    def _build_res5_block(cls, cfg) -> tuple[nn.Sequential, int]:
        return nn.Sequential(nn.Conv2d(32, 5, 3, stride=2)), 5


def test_an_extension_replaces_the_stage(res5_cfg) -> None:
    res5_cfg.MODEL.ROI_HEADS.NAME = "Res5HeadsForTest"
    heads = build_roi_heads(res5_cfg, SHAPES)
    assert heads.box_predictor.cls_score.in_features == heads.mask_head.deconv.in_channels == 5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ROI_HEADS.IN_FEATURES", ["res4", "res5"], "one feature"),
        ("KEYPOINT_ON", True, "KEYPOINT_ON"),
        ("RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True], "DEFORM_ON_PER_STAGE"),
    ],
)
def test_what_is_not_supported_is_named(res5_cfg, key: str, value, message: str) -> None:
    res5_cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_roi_heads(res5_cfg, SHAPES)


def test_training_needs_ground_truth(res5_cfg) -> None:
    with pytest.raises(ValueError, match="instances"):
        build_roi_heads(res5_cfg, SHAPES)(None, features(), [proposals([A])])
