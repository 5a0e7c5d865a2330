from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from active_learning.network.dropout_heads import DropoutBoxPredictor, DropoutROIHeads, SeededDropout
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances


class Doubling(nn.Module):
    """Stands in for dropout: shows where it is, and how often."""

    def forward(self, x):
        return 2 * x


@pytest.fixture
def cfg(make_cfg):
    return make_cfg(dropout_probability=0.5)


@pytest.fixture
def model(cfg):
    return build_model(cfg)


def test_weight_names_are_those_without_dropout(cfg, model):
    plain_cfg = cfg.clone()
    plain_cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    plain_cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    plain_cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    plain = build_model(plain_cfg).state_dict()
    assert isinstance(model.roi_heads, DropoutROIHeads)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in plain.items()
    }


def test_every_head_has_dropout_of_the_probability(model):
    layers = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert layers == {
        "roi_heads.box_head.dropout": 0.5,
        "roi_heads.box_predictor.dropout": 0.5,
        "roi_heads.mask_head.dropout": 0.5,
    }


def test_box_head_drops_before_every_fully_connected_layer(model):
    head = model.roi_heads.box_head
    x = torch.rand(3, 32, 7, 7)
    expected = head.fc2(2 * head.fc1(2 * x.flatten(1)).relu()).relu()
    head.dropout = Doubling()
    assert torch.allclose(head(x), expected, atol=1e-6)


def test_box_head_with_convolutions_drops_none_before_them(cfg):
    cfg.MODEL.ROI_BOX_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = 8
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    head = build_model(cfg).roi_heads.box_head
    x = torch.rand(3, 32, 7, 7)
    expected = head.fc1(2 * head.conv1(x).flatten(1)).relu()
    head.dropout = Doubling()
    assert torch.allclose(head(x), expected, atol=1e-6)


def test_box_branch_is_dropped_twice(model):
    predictor = model.roi_heads.box_predictor
    x = torch.rand(3, 32)
    expected = predictor.cls_score(2 * x), predictor.bbox_pred(4 * x)
    predictor.dropout = Doubling()
    for got, wanted in zip(predictor(x), expected, strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)


def test_mask_head_drops_around_the_deconvolution(model):
    head = model.roi_heads.mask_head
    x = torch.rand(3, 32, 7, 7)
    expected = head.predictor(2 * head.deconv(2 * head.mask_fcn1(x)).relu())
    head.dropout = Doubling()
    assert torch.allclose(head.layers(x), expected, atol=1e-6)


def test_draws_are_independent(model):
    predictor = model.roi_heads.box_predictor.train()
    seen = []
    for layer in (predictor.cls_score, predictor.bbox_pred):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    predictor(torch.ones(100, 32))
    for_class, for_box = seen
    assert (for_class == 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (for_box == 0).float().mean() == pytest.approx(0.75, abs=0.05)
    assert (for_box[for_class == 0] == 0).all()


def test_dropout_is_off_in_inference_and_on_in_training(model):
    head, x = model.roi_heads.box_head, torch.rand(2, 32, 7, 7)
    head.eval()
    assert torch.equal(head(x), head(x))
    head.train()
    assert not torch.equal(head(x), head(x))


@settings(deadline=None, max_examples=25)
@given(
    p=st.floats(0, 0.9),
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_seeded_dropout_keeps_or_scales(p, shape, seed):
    layer = SeededDropout(p).eval()
    layer.generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape) + 1
    dropped = layer(x)
    assert dropped.shape == x.shape
    assert torch.allclose(dropped[dropped != 0], (x / (1 - p))[dropped != 0])
    layer.generator.manual_seed(seed)
    assert torch.equal(layer(x), dropped)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_seeded_dropout_drops_the_share(p):
    layer = SeededDropout(p).eval()
    layer.generator = torch.Generator().manual_seed(3)
    x = torch.ones(200_001)
    dropped = layer(x)
    assert (dropped == 0).float().mean() == pytest.approx(p, abs=0.005)
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    assert (x == 1).all()


def test_seeded_draws_of_neighbours_are_unrelated():
    layer = SeededDropout(0.5).eval()
    layer.generator = torch.Generator().manual_seed(5)
    kept = (layer(torch.ones(40_000)) != 0).float()
    for distance in (1, 2, 3, 4):
        together = (kept[:-distance] * kept[distance:]).mean()
        assert together == pytest.approx(0.25, abs=0.01)


BOXES = [[0, 0, 20, 20], [1, 1, 21, 21], [40, 40, 60, 60]]


def predictor_that_sees(probabilities, make_cfg, *, agnostic=False, top_k=100, **keys):
    """A predictor, and the detections it makes of BOXES with these foreground probabilities."""
    cfg = make_cfg(**keys)
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = agnostic
    cfg.TEST.DETECTIONS_PER_IMAGE = top_k
    predictor = build_model(cfg).roi_heads.box_predictor.eval()
    foreground = torch.tensor(probabilities)
    logits = torch.cat([foreground, 1 - foreground.sum(dim=1, keepdim=True)], dim=1).log()
    deltas = torch.zeros(len(logits), 4 if agnostic else 12)
    proposals = Instances((64, 64), proposal_boxes=Boxes(torch.tensor(BOXES, dtype=torch.float32)))
    (found,), (rows,) = predictor.inference((logits, deltas), [proposals])
    return found, rows


@pytest.mark.parametrize("agnostic", [False, True], ids=["a box a class", "one box"])
def test_one_detection_an_object_whatever_its_class(make_cfg, agnostic):
    probabilities = [[0.5, 0.3, 0.1], [0.1, 0.7, 0.1], [0.1, 0.0, 0.45]]
    found, rows = predictor_that_sees(probabilities, make_cfg, agnostic=agnostic)
    assert rows.tolist() == [1, 2]
    assert found.pred_classes.tolist() == [1, 2]
    assert found.scores.tolist() == pytest.approx([0.7, 0.45])
    assert found.softmaxes.tolist() == [pytest.approx(probabilities[1]), pytest.approx(probabilities[2])]
    assert found.pred_boxes.tensor.tolist() == [pytest.approx(BOXES[1]), pytest.approx(BOXES[2])]


def test_nms_threshold_and_limit_take_effect(make_cfg):
    probabilities = [[0.5, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.0, 0.45]]
    assert len(predictor_that_sees(probabilities, make_cfg, nms_threshold=0.95)[0]) == 3
    assert predictor_that_sees(probabilities, make_cfg, top_k=1)[0].scores.tolist() == pytest.approx([0.7])


def test_nothing_above_the_threshold_and_boxes_that_are_not_finite(make_cfg):
    found, rows = predictor_that_sees([[0.1, 0.1, 0.1]] * 3, make_cfg)
    assert len(found) == len(rows) == 0
    assert found.softmaxes.shape == (0, 3)
    predictor = build_model(make_cfg()).roi_heads.box_predictor.eval()
    assert isinstance(predictor, DropoutBoxPredictor)
    deltas = torch.zeros(3, 12)
    deltas[0] = float("nan")
    proposals = Instances((64, 64), proposal_boxes=Boxes(torch.tensor(BOXES, dtype=torch.float32)))
    (found,), (rows,) = predictor.inference((torch.zeros(3, 4), deltas), [proposals])
    assert sorted(rows.tolist()) == [1, 2]
