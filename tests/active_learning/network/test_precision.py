from __future__ import annotations

import pytest
import torch

from active_learning.network.prediction import load_network
from active_learning.network.training import MaskALTrainer
from active_learning.network.weights_files import save_weights
from detectron2.modeling import build_model


@pytest.mark.parametrize("use", ["trained", "loaded"])
def test_float32_is_float32(make_cfg, tmp_path, monkeypatch, use):
    """PyTorch lets convolutions on GPUs round their input to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    cfg = make_cfg(precision="fp32")
    if use == "trained":
        MaskALTrainer.build_model(cfg)
    else:
        save_weights(build_model(cfg), tmp_path / "weights.pth")
        load_network(cfg, tmp_path / "weights.pth")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
