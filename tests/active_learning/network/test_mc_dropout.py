from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network import mc_dropout
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.prediction import Predictor
from detectron2.modeling import build_model


@pytest.fixture
def cfg(make_cfg):
    return make_cfg(dropout_probability=0.5)


@pytest.fixture
def model(cfg):
    """Untrained: its classes are nearly equally probable, so it detects in every proposal."""
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5)
    return model


@pytest.fixture
def wide_image(tmp_path):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (100, 140, 3), dtype=np.uint8))
    return path


def flat(passes):
    return [tensor for one_pass in passes for tensor in one_pass]


def equal(left, right):
    return len(left) == len(right) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(flat(left), flat(right), strict=True)
    )


def test_shapes_and_order(model, cfg, wide_image):
    passes = MonteCarloDropout(model, cfg, passes=5, seed=0)(wide_image, "wide.png")
    assert len(passes) == 5
    assert any(len(boxes) for _, boxes, _ in passes)
    for masks, boxes, probabilities in passes:
        count = len(boxes)
        assert masks.shape == (count, 100, 140)
        assert masks.dtype == torch.bool
        assert boxes.shape == (count, 4)
        assert probabilities.shape == (count, 3)
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([140, 100, 140, 100])).all()
        best = probabilities.max(dim=1).values
        assert (best[:-1] >= best[1:] - 1e-6).all()


def test_passes_differ_only_by_seed_and_name(model, cfg, wide_image, image_folder):
    look = MonteCarloDropout(model, cfg, passes=3, seed=0)
    first = look(wide_image, "wide.png")
    assert not equal(first[:1], first[1:2])
    look(image_folder / "0.png", "0.png")
    torch.manual_seed(99)
    assert equal(look(wide_image, "wide.png"), first)
    assert not equal(look(wide_image, "other.png"), first)
    assert not equal(MonteCarloDropout(model, cfg, passes=3, seed=1)(wide_image, "wide.png"), first)


def test_trunk_runs_once_an_image(model, cfg, wide_image):
    calls = []
    for name in ("backbone", "proposal_generator"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    MonteCarloDropout(model, cfg, passes=4, seed=0)(wide_image, "wide.png")
    assert calls == ["backbone", "proposal_generator"]


def test_without_dropping_a_pass_is_plain_inference(model, cfg, wide_image):
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    passes = MonteCarloDropout(model, cfg, passes=3, seed=0)(wide_image, "wide.png")
    plain = Predictor(model, cfg)(wide_image)
    assert len(plain)
    for masks, boxes, probabilities in passes:
        assert torch.allclose(boxes, plain.pred_boxes.tensor, atol=1e-3)
        assert torch.allclose(probabilities, plain.softmaxes, atol=1e-5)
        assert (masks != plain.pred_masks).float().mean() < 1e-3


def test_plain_inference_is_as_before_afterwards(model, cfg, wide_image):
    predict = Predictor(model, cfg)
    before = predict(wide_image)
    MonteCarloDropout(model, cfg, passes=2, seed=0)(wide_image, "wide.png")
    assert torch.equal(predict(wide_image).scores, before.scores)


@pytest.mark.parametrize(("features", "masks"), [(1, 256), (2**25, 1), (1, 3)], ids=["boxes", "masks", "both"])
def test_small_batches_give_the_same_kind_of_passes(model, cfg, wide_image, monkeypatch, features, masks):
    monkeypatch.setattr(mc_dropout, "BOX_FEATURES_AT_ONCE", features)
    monkeypatch.setattr(mc_dropout, "MASKS_AT_ONCE", masks)
    passes = MonteCarloDropout(model, cfg, passes=3, seed=0)(wide_image, "wide.png")
    assert len(passes) == 3
    assert all(len(m) == len(b) == len(p) for m, b, p in passes)
    assert any(len(b) for _, b, _ in passes)


def test_nothing_seen(model, cfg, wide_image):
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    for masks, boxes, probabilities in MonteCarloDropout(model, cfg, passes=2, seed=0)(wide_image, "wide.png"):
        assert (masks.shape, boxes.shape, probabilities.shape) == ((0, 100, 140), (0, 4), (0, 3))


def test_no_dropout_layer_is_told(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    with pytest.raises(MaskALError, match="no dropout layer.*StandardROIHeads.*network_config"):
        MonteCarloDropout(build_model(cfg), cfg, passes=2, seed=0)


def test_broken_image_is_named(model, cfg, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(MaskALError, match=r"broken\.png: cannot be read as an image"):
        MonteCarloDropout(model, cfg, passes=2, seed=0)(path, "broken.png")


@pytest.mark.gpu
def test_on_cuda(make_cfg, wide_image):
    cfg = make_cfg(dropout_probability=0.5, cuda_visible_devices="0")
    look = MonteCarloDropout(build_model(cfg), cfg, passes=3, seed=0)
    first = look(wide_image, "wide.png")
    assert first[0][0].is_cuda
    assert equal(look(wide_image, "wide.png"), first)
