from __future__ import annotations

import cv2
import numpy as np
import pytest

from active_learning.errors import MaskALError
from active_learning.network.image_features import ImageFeatures, start_network
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.prediction import read_input
from active_learning.network.weights_files import save_weights


@pytest.fixture
def cfg(make_cfg):
    return make_cfg(dropout_probability=0.5, precision="fp32")


@pytest.fixture
def wide_input(tmp_path, cfg):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (100, 140, 3), dtype=np.uint8))
    return read_input(path, cfg)


def test_features_are_those_of_choosing(cfg, wide_input):
    model = start_network(cfg, "")
    features = ImageFeatures(model, cfg)("wide.png", wide_input)
    passes = MonteCarloDropout(model, cfg, passes=1, seed=0).forward_passes("wide.png", wide_input)
    assert features.tolist() == passes.features.tolist()
    assert features.shape == (4 * 32,)


def test_the_fill_of_a_tile_is_no_part_of_its_image(tmp_path, make_cfg):
    pictures = {"noise": np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)}
    pictures["flat"] = np.full((64, 64, 3), 200, dtype=np.uint8)
    for name, pixels in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    distances = []
    for tile_size in (64, 256):
        cfg = make_cfg(tile_size=tile_size, image_min_size=tile_size, image_max_size=tile_size, precision="fp32")
        features = ImageFeatures(start_network(cfg, ""), cfg)
        noise, flat = (features(name, read_input(tmp_path / f"{name}.png", cfg)) for name in pictures)
        distances.append(float(np.linalg.norm(noise - flat)))
    assert distances[1] > 0.5 * distances[0]


def test_what_weights_lack_is_always_the_same(cfg, wide_input, tmp_path):
    first, again = (ImageFeatures(start_network(cfg, ""), cfg)("wide.png", wide_input) for _ in range(2))
    assert first.tolist() == again.tolist()
    model = start_network(cfg, "")
    for weights in model.backbone.parameters():
        weights.data *= 1.1
    save_weights(model, tmp_path / "start.pth")
    other = ImageFeatures(start_network(cfg, str(tmp_path / "start.pth")), cfg)("wide.png", wide_input)
    assert not np.allclose(first, other)


def test_no_weights_are_reported(cfg, tmp_path):
    (tmp_path / "start.pth").write_bytes(b"no weights")
    with pytest.raises(MaskALError, match=r"start\.pth: cannot be read as weights"):
        start_network(cfg, str(tmp_path / "start.pth"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED", ". In"),
        ("unable to find an engine to execute", ", or this PyTorch"),
    ],
)
def test_too_small_a_gpu_is_reported_with_the_setting(cfg, wide_input, monkeypatch, words, said):
    def full(images):
        calls.append(images)
        raise RuntimeError(f"GET was {words}")

    calls, features = [], ImageFeatures(start_network(cfg, ""), cfg)
    monkeypatch.setattr(features._model.backbone, "forward", full)
    with pytest.raises(MaskALError, match=f"too small for choosing the initial images{said} .*initial_choice: random"):
        features("wide.png", wide_input)
    assert len(calls) == 2  # once more with the cache emptied
