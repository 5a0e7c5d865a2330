"""Networks are built, and weights fitted to them, without memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from active_learning.errors import MaskALError
from active_learning.network.network_check import build_without_memory, check_weights
from active_learning.network.network_file import DROPOUT_HEADS, PARTS
from active_learning.network.weights_files import save_weights
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
    build_model,
)
from detectron2.modeling.backbone.resnet import BLOCKS_PER_STAGE


def test_the_weights_of_a_network_fit_it(make_cfg, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    cfg = make_cfg()
    save_weights(build_model(cfg), tmp_path / "w.pth")
    model = build_without_memory(cfg, "own.yaml")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    check_weights(model, str(tmp_path / "w.pth"))
    assert not caplog.records


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda weights: {name: value[None] for name, value in weights.items()}, "does not fit the network: "),
        (lambda weights: {f"x.{name}": value for name, value in weights.items()}, "does not fit the network: "),
        (lambda weights: [1], "cannot be read as weights: "),
    ],
    ids=["other shapes", "other names", "no weights"],
)
def test_others_do_not(make_cfg, tmp_path: Path, make, words: str):
    cfg = make_cfg()
    torch.save(make(build_model(cfg).state_dict()), tmp_path / "w.pth")
    with pytest.raises(MaskALError, match=rf"w\.pth: {words}"):
        check_weights(build_without_memory(cfg, "own.yaml"), str(tmp_path / "w.pth"))


def test_a_file_that_is_not_there_is_named(make_cfg):
    with pytest.raises(MaskALError, match="there is no checkpoint 'none.pth'"):
        check_weights(build_without_memory(make_cfg(), "own.yaml"), "none.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [("RESNETS.NORM", "XX"), ("FPN.IN_FEATURES", ["res9"]), ("PIXEL_MEAN", ["a"]), ("FPN.OUT_CHANNELS", -3)],
)
def test_values_without_sense_are_named(make_cfg, key: str, value: object):
    cfg = make_cfg()
    section, _, name = key.rpartition(".")
    node = cfg.MODEL[section] if section else cfg.MODEL
    node[name] = value
    with pytest.raises(MaskALError, match=r"network_config: own\.yaml: no network can be built of it: "):
        build_without_memory(cfg, "own.yaml")


def test_the_parts_known_without_pytorch_are_those_that_there_are():
    registries = {
        "BACKBONE.NAME": BACKBONE_REGISTRY,
        "PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
        "RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
        "ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    }
    for key, registry in registries.items():
        assert set(PARTS[f"MODEL.{key}"]) == {
            name for name, made in registry if made.__module__.startswith("detectron2.")
        }
    heads = [
        name for registry in (ROI_HEADS_REGISTRY, ROI_BOX_HEAD_REGISTRY, ROI_MASK_HEAD_REGISTRY) for name, _ in registry
    ]
    assert set(DROPOUT_HEADS.values()) <= set(heads)
    assert set(PARTS["MODEL.RESNETS.DEPTH"]) == set(BLOCKS_PER_STAGE)
