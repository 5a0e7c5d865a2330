from __future__ import annotations

import pytest
import torch
from torch import nn

from active_learning.network.dropout_heads import DropoutBoxPredictor, DropoutROIHeads
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.network_file import DROPOUT_HEADS
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage


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


def test_layers_drop_independently(model):
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


C4 = """
MODEL:
  BACKBONE: {NAME: build_resnet_backbone}
  RESNETS: {DEPTH: 50, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 8, OUT_FEATURES: [res4]}
  ANCHOR_GENERATOR: {SIZES: [[16, 32]]}
  RPN: {IN_FEATURES: [res4]}
  ROI_HEADS: {NAME: Res5ROIHeads, IN_FEATURES: [res4]}
  ROI_BOX_HEAD: {NAME: "", POOLER_RESOLUTION: 14}
  ROI_MASK_HEAD: {NUM_CONV: 0}
"""
DC5 = """
MODEL:
  BACKBONE: {NAME: build_resnet_backbone}
  RESNETS: {DEPTH: 50, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 8, OUT_FEATURES: [res5], RES5_DILATION: 2}
  ANCHOR_GENERATOR: {SIZES: [[16, 32]]}
  RPN: {IN_FEATURES: [res5]}
  ROI_HEADS: {IN_FEATURES: [res5]}
"""
CASCADE = """
MODEL:
  ROI_HEADS: {NAME: CascadeROIHeads}
  ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: True}
"""
NETWORKS = {
    "C4": C4,
    "DC5": DC5,
    "Cascade": CASCADE,
}
LAYERS = {
    "C4": ["box_predictor.dropout", "mask_head.dropout"],
    "DC5": ["box_head.dropout", "box_predictor.dropout", "mask_head.dropout"],
    "Cascade": [
        *(f"box_head.{stage}.dropout" for stage in range(3)),
        *(f"box_predictor.{stage}.dropout" for stage in range(3)),
        "mask_head.dropout",
    ],
}


@pytest.fixture(params=NETWORKS)
def kind(request):
    return request.param


@pytest.fixture
def cfg_of_kind(kind, make_cfg, network_file, tmp_path):
    path = tmp_path / "network.yaml"
    path.write_text(f"_BASE_: {network_file}\n{NETWORKS[kind]}", encoding="utf-8")
    return make_cfg(network_config=str(path), dropout_probability=0.5, precision="fp32", confidence_threshold=0.1)


def without_dropout(cfg):
    plain = cfg.clone()
    for key in ("ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD"):
        names = {dropout: name for name, dropout in DROPOUT_HEADS.items()}
        plain.MODEL[key].NAME = names.get(plain.MODEL[key].NAME, plain.MODEL[key].NAME)
    return build_model(plain).eval()


def test_other_networks_have_dropout_and_their_weight_names(kind, cfg_of_kind):
    model = build_model(cfg_of_kind)
    layers = [name for name, layer in model.roi_heads.named_modules() if isinstance(layer, nn.Dropout)]
    assert sorted(layers) == sorted(LAYERS[kind])
    plain = without_dropout(cfg_of_kind).state_dict()
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in plain.items()
    }


def test_other_networks_infer_as_without_dropout(kind, cfg_of_kind):
    """Suppression across classes finds none that suppression inside classes does not."""
    model, plain = build_model(cfg_of_kind).eval(), without_dropout(cfg_of_kind)
    plain.load_state_dict(model.state_dict())
    given = [{"image": torch.rand(3, 64, height) * 255, "height": 64, "width": height} for height in (64, 96)]
    with torch.no_grad():
        pairs = list(zip(model(given), plain(given), strict=True))
    for ours, theirs in ((one["instances"], other["instances"]) for one, other in pairs):
        assert 0 < len(ours) <= len(theirs)
        assert ours.softmaxes.shape == (len(ours), 3)
        assert ours.pred_masks.shape == (len(ours), *ours.image_size)
        distances = (ours.pred_boxes.tensor[:, None] - theirs.pred_boxes.tensor).abs().amax(dim=2)
        assert distances.amin(dim=1).max() < 1e-2
        assert torch.isclose(ours.scores.max(), theirs.scores.max(), atol=1e-5)


def test_other_networks_train(cfg_of_kind):
    model = build_model(cfg_of_kind).train()
    truth = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[8.0, 8.0, 40.0, 40.0]])), gt_classes=torch.tensor([1]))
    truth.gt_masks = BitMasks(torch.ones(1, 64, 64, dtype=torch.bool))
    with EventStorage():
        losses = model([{"image": torch.rand(3, 64, 64) * 255, "instances": truth}])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_other_networks_sample(kind, cfg_of_kind):
    model = build_model(cfg_of_kind).eval()
    given = {"image": torch.rand(3, 64, 64) * 255, "height": 64, "width": 64}

    def boxes() -> list[list[list[list[float]]]]:
        sampler = MonteCarloDropout(model, cfg_of_kind, passes=3, seed=0)
        return [[[d.box.tolist() for d in p] for p in sampler.forward_passes(name, given).passes] for name in "ab"]

    first, again = boxes(), boxes()
    assert first == again
    assert first[0] != first[1]
    assert first[0][0] != first[0][1]
    assert all(first[0])


def test_cascade_drops_in_every_stage(kind, cfg_of_kind):
    if kind != "Cascade":
        pytest.skip("has one stage")
    model = build_model(cfg_of_kind).eval()
    heads = model.roi_heads
    proposals = Instances(
        (64, 64), proposal_boxes=Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0], [9.0, 9.0, 50.0, 60.0]]))
    )
    features = {f"p{level}": torch.rand(1, 32, 64 >> level, 64 >> level) for level in range(2, 6)}
    pooled = heads.box_features(features, proposals.proposal_boxes)
    boxes, probabilities = heads.classify(features, pooled, proposals)
    for stage in range(3):
        layer = heads.box_head[stage].dropout
        heads.box_head[stage].dropout = Doubling()
        changed_boxes, changed = heads.classify(features, pooled, proposals)
        assert not torch.allclose(changed, probabilities)
        assert not torch.allclose(changed_boxes, boxes)
        heads.box_head[stage].dropout = layer
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(2))


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
