from __future__ import annotations

import pytest
import torch
from torch import nn

from active_learning.network.dropout_heads import DropoutBoxPredictor
from active_learning.network.inference_copy import BATCH_NORMS, for_inference, half_type, inference_copy
from detectron2.modeling import build_model


@pytest.fixture
def model(make_cfg):
    """Batch norms are given statistics that matter."""
    model = build_model(make_cfg(precision="fp32"))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return model.eval()


def features(model, dtype=torch.float32):
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.backbone(images.to(dtype))


@pytest.mark.parametrize(("half", "error"), [(False, 1e-5), (True, 0.05)], ids=["float32", "16 bits"])
def test_computes_the_same(model, half, error):
    fast = inference_copy(model.train(), half=half)
    assert not fast.training
    expected = features(model.eval())
    for name, got in features(fast, torch.bfloat16 if half else torch.float32).items():
        assert (got.float() - expected[name]).abs().max() < error * expected[name].abs().max()


def test_processors_evaluate_the_network_itself(model, make_cfg):
    assert for_inference(model, make_cfg(precision="amp")) is model


@pytest.mark.parametrize("precision", ["fp32", "amp"])
def test_gpus_evaluate_a_copy_in_the_precision_of_the_settings(model, make_cfg, precision):
    """On the CPU, which can compute what a GPU would."""
    cfg = make_cfg(precision=precision)
    image = {"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8), "height": 64, "width": 96}
    (expected,) = model([image])
    cfg.MODEL.DEVICE = "cuda"
    fast = for_inference(model, cfg)
    weights = fast.backbone.bottom_up.stem.conv1.weight
    assert weights.dtype == (torch.bfloat16 if precision == "amp" else torch.float32)
    assert weights.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        (found,) = fast([image])
    assert found["instances"].pred_masks.shape[1:] == (64, 96)
    if precision == "fp32":
        assert len(found["instances"]) == len(expected["instances"]) > 0
        assert (found["instances"].scores - expected["instances"].scores).abs().max() < 1e-4


def test_no_batch_norm_is_left_and_the_network_stays(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = inference_copy(model, half=False)
    assert not [layer for layer in fast.modules() if isinstance(layer, BATCH_NORMS)]
    assert [layer for layer in model.modules() if isinstance(layer, BATCH_NORMS)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_half_precision_spares_the_box_predictor(model):
    fast = inference_copy(model, half=True)
    exact = {id(p) for m in fast.modules() if isinstance(m, DropoutBoxPredictor) for p in m.parameters()}
    assert len(exact) == 4
    for parameter in fast.parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in exact else torch.bfloat16)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(7, 5)], torch.float16),
        ([(8, 0)], torch.bfloat16),
        ([(9, 0)], torch.bfloat16),
        ([(8, 6), (7, 5)], torch.float16),
    ],
    ids=str,
)
def test_older_gpus_have_float16_alone(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])
    assert half_type(torch.device("cuda")) == expected
    assert half_type(torch.device("cpu")) == torch.bfloat16
