from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectron2.layers import ShapeSpec
from detectron2.modeling import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead, build_mask_head
from detectron2.modeling.roi_heads import mask_rcnn_inference, mask_rcnn_loss
from detectron2.structures import Boxes, Instances, PolygonMasks

SIZE = (40, 40)


def truth(classes: list[int]) -> Instances:
    """Each object fills the left half of its box."""
    boxes = [[4.0 * i, 8.0, 4.0 * i + 16, 24.0] for i in range(len(classes))]
    polygons = [[np.array([x0, y0, (x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x0, y1])] for x0, y0, x1, y1 in boxes]
    return Instances(
        SIZE,
        proposal_boxes=Boxes(boxes),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
        gt_masks=PolygonMasks(polygons),
    )


LEFT_HALF = (torch.arange(8) < 4).float().expand(8, 8)


@pytest.mark.parametrize("agnostic", [False, True])
def test_loss_by_hand(storage, agnostic: bool) -> None:
    logits = torch.randn(3, 1 if agnostic else 4, 8, 8)
    loss = mask_rcnn_loss(logits, [truth([2, 0]), truth([]), truth([3])])
    chosen = logits[:, 0] if agnostic else logits[[0, 1, 2], [2, 0, 3]]
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(chosen, LEFT_HALF.expand(3, 8, 8)))


def test_events(storage) -> None:
    logits = torch.full((1, 1, 8, 8), -1.0)
    logits[..., :2] = 1  # half of the object
    logits[..., 0, 7] = 1  # one pixel of the background
    mask_rcnn_loss(logits, [truth([0])])
    values = {name: value for name, (value, _) in storage.latest().items()}
    assert values == {
        "mask_rcnn/accuracy": pytest.approx(1 - 17 / 64),
        "mask_rcnn/false_positive": pytest.approx(1 / 32),
        "mask_rcnn/false_negative": pytest.approx(16 / 32),
    }


@pytest.mark.parametrize("instances", [[], [truth([])], [truth([]), truth([])]], ids=["no image", "one", "two"])
def test_without_foreground_the_loss_is_zero_with_a_gradient(storage, instances: list) -> None:
    logits = torch.zeros(0, 4, 8, 8, requires_grad=True)
    loss = mask_rcnn_loss(logits, instances)
    loss.backward()
    assert loss == 0


def test_masks_are_plotted_when_asked_for(storage) -> None:
    mask_rcnn_loss(torch.zeros(2, 1, 8, 8), [truth([0, 1])], vis_period=1)
    assert len(storage.images) == 2
    assert storage.images[0][1].shape == (3, 8, 16)


def test_logits_must_be_square(storage) -> None:
    with pytest.raises(ValueError, match="square"):
        mask_rcnn_loss(torch.zeros(1, 1, 8, 9), [truth([0])])


@pytest.mark.parametrize("agnostic", [False, True])
def test_inference_takes_the_channel_of_the_class(agnostic: bool) -> None:
    logits = torch.randn(3, 1 if agnostic else 4, 8, 8)
    found = [Instances(SIZE, pred_classes=torch.tensor(c, dtype=torch.int64)) for c in ([3, 1], [], [0])]
    mask_rcnn_inference(logits, found)
    probs = torch.cat([own.pred_masks for own in found])
    assert [len(own.pred_masks) for own in found] == [2, 0, 1]
    assert torch.equal(probs[:, 0], (logits[:, 0] if agnostic else logits[[0, 1, 2], [3, 1, 0]]).sigmoid())


@pytest.mark.parametrize("norm", ["", "GN"])
def test_layers(norm: str) -> None:
    head = MaskRCNNConvUpsampleHead(ShapeSpec(channels=4), num_classes=3, conv_dims=[32, 32, 8], conv_norm=norm)
    parts = {name.split(".")[0] for name in head.state_dict()}
    assert parts == {"mask_fcn1", "mask_fcn2", "deconv", "predictor"}
    assert head.predictor.weight.std().item() == pytest.approx(0.001, rel=0.4)
    for num_regions in (2, 0):
        assert head.layers(torch.randn(num_regions, 4, 7, 7)).shape == (num_regions, 3, 14, 14)


def test_head_in_training_and_at_test(storage, small_cfg) -> None:
    small_cfg.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = True
    head = build_mask_head(small_cfg, ShapeSpec(channels=4))
    head.loss_weight = 2.0
    losses = head(torch.randn(2, 4, 4, 4), [truth([2, 1])])
    assert losses["loss_mask"].item() == pytest.approx(2 * 0.693, abs=0.05)
    found = [Instances(SIZE, pred_classes=torch.tensor([1]))]
    assert head.eval()(torch.randn(1, 4, 4, 4), found)[0].pred_masks.shape == (1, 1, 8, 8)


def test_a_subclass_gives_the_layers(storage) -> None:
    class Sum(BaseMaskRCNNHead):
        def layers(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1, keepdim=True)

    assert set(Sum()(torch.zeros(1, 4, 8, 8), [truth([0])])) == {"loss_mask"}
    with pytest.raises(NotImplementedError, match="BaseMaskRCNNHead"):
        BaseMaskRCNNHead()(torch.zeros(1, 4, 8, 8), [truth([0])])


def test_a_head_needs_the_width_of_its_deconvolution() -> None:
    with pytest.raises(ValueError, match="conv_dims"):
        MaskRCNNConvUpsampleHead(ShapeSpec(channels=4), num_classes=3, conv_dims=[])
