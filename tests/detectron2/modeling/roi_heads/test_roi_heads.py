from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, FastRCNNOutputLayers, StandardROIHeads, build_roi_heads
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.structures import BitMasks, Boxes, ImageList, Instances

SIZE = (64, 96)
SHAPES = {f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in range(2, 7)}
A, NEAR_A, B = [10.0, 10, 50, 50], [11.0, 10, 51, 50], [60.0, 10, 90, 50]


def proposals(boxes: list) -> Instances:
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


def make_features(num_images: int = 1) -> dict[str, torch.Tensor]:
    return {name: torch.randn(num_images, 16, 96 // s.stride, 96 // s.stride) for name, s in SHAPES.items()}


class TestStandardROIHeads:
    def test_detections_with_and_without_masks(self, small_cfg) -> None:
        small_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
        for mask_on in (True, False):
            small_cfg.MODEL.MASK_ON = mask_on
            heads = build_roi_heads(small_cfg, SHAPES).eval()
            found, losses = heads(None, make_features(2), [proposals([A, B]), proposals([])])
            assert losses == {}
            assert len(found[0]) > 0
            assert len(found[1]) == 0
            assert [own.has("pred_masks") for own in found] == [mask_on] * 2

    def test_state_dict_names(self, small_cfg) -> None:
        heads = build_roi_heads(small_cfg, SHAPES)
        assert {name.rsplit(".", 1)[0] for name in heads.state_dict()} == {
            "box_head.fc1",
            "box_head.fc2",
            "box_predictor.cls_score",
            "box_predictor.bbox_pred",
            "mask_head.mask_fcn1",
            "mask_head.deconv",
            "mask_head.predictor",
        }

    def test_training_on_predicted_boxes_moves_them(self, small_cfg, storage, make_input) -> None:
        small_cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = True
        heads = build_roi_heads(small_cfg, SHAPES)
        nn.init.constant_(heads.box_predictor.bbox_pred.bias, 0.5)
        instances = make_input([A])["instances"]
        sampled, losses = heads(None, make_features(), [proposals([NEAR_A])], [instances])
        assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask"}
        start = torch.tensor([A, NEAR_A])
        moved = sampled[0].proposal_boxes.tensor
        assert (torch.cdist(moved, start).amin(1) > 0.5).all()

    @pytest.mark.parametrize("boxes", [[A], []], ids=["object", "no object"])
    def test_losses_have_gradients(self, small_cfg, storage, make_input, boxes: list) -> None:
        heads = build_roi_heads(small_cfg, SHAPES)
        features = {name: f.requires_grad_() for name, f in make_features().items()}
        _, losses = heads(None, features, [proposals([B])], [make_input(boxes)["instances"]])
        sum(losses.values()).backward()
        assert (losses["loss_mask"] > 0) == bool(boxes)
        assert all(p.grad is not None for p in heads.parameters())

    def test_given_boxes_get_masks(self, small_cfg) -> None:
        heads = build_roi_heads(small_cfg, SHAPES).eval()
        given = Instances(SIZE, pred_boxes=Boxes([A, B]), pred_classes=torch.tensor([0, 2]))
        (found,) = heads.forward_with_given_boxes(make_features(), [given])
        assert found.pred_masks.shape == (2, 1, 28, 28)
        heads.train()
        with pytest.raises(RuntimeError, match="eval"):
            heads.forward_with_given_boxes(make_features(), [given])

    def test_a_mask_head_without_pooler_gets_whole_features(self, small_cfg) -> None:
        class Whole(nn.Module):
            def forward(self, features: dict, instances: list) -> list:
                self.names = list(features)
                return instances

        heads = StandardROIHeads(small_cfg, SHAPES, mask_pooler=None, mask_head=Whole()).eval()
        heads(None, make_features(), [proposals([A])])
        assert heads.mask_head.names == ["p2", "p3", "p4", "p5"]

    def test_training_needs_ground_truth(self, small_cfg) -> None:
        with pytest.raises(ValueError, match="instances"):
            build_roi_heads(small_cfg, SHAPES)(None, make_features(), [proposals([A])])

    def test_keypoints_are_refused(self, small_cfg) -> None:
        small_cfg.MODEL.KEYPOINT_ON = True
        with pytest.raises(ValueError, match="KEYPOINT_ON"):
            build_roi_heads(small_cfg, SHAPES)


class DoubledOutputLayers(FastRCNNOutputLayers):
    """A predictor of an extension, with an argument of its own."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, factor: float, **kwargs) -> None:
        super().__init__(input_shape, **kwargs)
        self.factor = factor

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        return {**super().from_config(cfg, input_shape), "factor": 2.0}


@ROI_HEADS_REGISTRY.register()
class HeadsForTest(StandardROIHeads):
    @classmethod
    def _init_box_head(cls, cfg, input_shape: dict) -> dict:
        arguments = super()._init_box_head(cfg, input_shape)
        arguments["box_predictor"] = DoubledOutputLayers(cfg, arguments["box_head"].output_shape)
        return arguments


def test_an_extension_replaces_the_predictor(small_cfg) -> None:
    small_cfg.MODEL.ROI_HEADS.NAME = "HeadsForTest"
    heads = build_roi_heads(small_cfg, SHAPES)
    assert heads.box_predictor.factor == 2.0
    assert heads.box_predictor.num_classes == 3


def test_a_seed_gives_the_losses_that_upstream_gives(storage) -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.merge_from_other_cfg(
        CfgNode({"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_TYPE": "ROIAlignV2"})
    )
    cfg.MODEL.MASK_ON = True
    torch.manual_seed(121)
    images = ImageList(torch.rand(2, 20, 30), [(10, 10), (20, 30)])
    features, shapes = {"res4": torch.rand(2, 1024, 1, 2)}, {"res4": ShapeSpec(channels=1024, stride=16)}
    objects = [([[1, 1, 3, 3], [2, 2, 6, 6]], [2, 1]), ([[1, 5, 2, 8], [7, 3, 10, 5]], [1, 2])]
    truth = []
    for boxes, classes in objects:
        masks = BitMasks(torch.rand(2, 15, 15) > 0.5)
        truth.append(Instances((15, 15), gt_boxes=Boxes(boxes), gt_classes=torch.tensor(classes), gt_masks=masks))
    proposal_generator, heads = build_proposal_generator(cfg, shapes), StandardROIHeads(cfg, shapes)
    proposals, losses = proposal_generator(images, features, truth)
    losses.update(heads(images, features, proposals, truth)[1])
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        # from Detectron2's own test of its ROI heads, for the same seed and input
        {
            "loss_rpn_cls": 0.0818666,
            "loss_rpn_loc": 0.1104838,
            "loss_cls": 4.5253730,
            "loss_box_reg": 0.0097857,
            "loss_mask": 0.6931845,
        },
        rel=1e-5,
    )
