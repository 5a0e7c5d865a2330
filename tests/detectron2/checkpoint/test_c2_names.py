"""Weights of the first Detectron: their names, the background's place, and whole networks made of them."""

from __future__ import annotations

import logging
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone import BasicBlock, BasicStem, ResNet, build_resnet_backbone

RPN = "proposal_generator.rpn_head"


@pytest.mark.parametrize(
    ("caffe2", "ours"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("conv1_b", "stem.conv1.bias"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("conv1_gn_s", "stem.conv1.norm.weight"),
        ("conv1_gn_b", "stem.conv1.norm.bias"),
        ("res2_0_branch1_w", "res2.0.shortcut.weight"),
        ("res2_0_branch1_bn_s", "res2.0.shortcut.norm.weight"),
        ("res2_0_branch2a_w", "res2.0.conv1.weight"),
        ("res3_3_branch2b_bn_beta", "res3.3.conv2.norm.bias"),
        ("res3_3_branch2b_bn_gamma", "res3.3.conv2.norm.weight"),
        ("res4_22_branch2c_bn_rm", "res4.22.conv3.norm.running_mean"),
        ("res4_22_branch2c_bn_riv", "res4.22.conv3.norm.running_var"),
        ("res4_22_branch2c_bn_running_mean", "res4.22.conv3.norm.running_mean"),
        ("res4_22_branch2c_bn_running_var", "res4.22.conv3.norm.running_var"),
        ("res5_2_branch2c_gn_s", "res5.2.conv3.norm.weight"),
        ("pred_w", "linear.weight"),
        ("pred_b", "linear.bias"),
        ("fpn_inner_res5_2_sum_w", "fpn_lateral5.weight"),
        ("fpn_inner_res4_22_sum_lateral_b", "fpn_lateral4.bias"),
        ("fpn_inner_res3_3_sum_lateral_gn_s", "fpn_lateral3.norm.weight"),
        ("fpn_res2_2_sum_w", "fpn_output2.weight"),
        ("fpn_res5_2_sum_gn_b", "fpn_output5.norm.bias"),
        ("conv_rpn_w", f"{RPN}.conv.weight"),
        ("conv_rpn_fpn2_b", f"{RPN}.conv.bias"),
        ("rpn_cls_logits_w", f"{RPN}.objectness_logits.weight"),
        ("rpn_cls_logits_fpn2_w", f"{RPN}.objectness_logits.weight"),
        ("rpn_bbox_pred_b", f"{RPN}.anchor_deltas.bias"),
        ("rpn_bbox_pred_fpn2_b", f"{RPN}.anchor_deltas.bias"),
        ("fc6_w", "box_head.fc1.weight"),
        ("fc7_b", "box_head.fc2.bias"),
        ("head_conv4_w", "box_head.conv4.weight"),
        ("head_conv1_gn_s", "box_head.conv1.norm.weight"),
        ("cls_score_b", "cls_score.bias"),
        ("_[mask]_fcn1_w", "mask_head.mask_fcn1.weight"),
        ("_mask_fcn4_gn_b", "mask_head.mask_fcn4.norm.bias"),
        ("conv5_mask_w", "mask_head.deconv.weight"),
        ("mask_fcn_logits_b", "mask_head.predictor.bias"),
        ("gpu_0/fc6_w", "box_head.fc1.weight"),
        ("fc1000_w", "fc1000.weight"),
        ("my_own_layer_b", "my_own_layer.bias"),
        ("res2.0.conv1.weight", "res2.0.conv1.weight"),
        ("lr", "lr"),
    ],
)
def test_names(caffe2: str, ours: str) -> None:
    converted, originals = convert_c2_detectron_names({caffe2: torch.zeros(8)})
    assert list(converted) == [ours]
    assert originals == {ours: caffe2}


def test_momentum_is_dropped() -> None:
    converted, originals = convert_c2_detectron_names({"fc6_w": torch.zeros(1), "fc6_w_momentum": torch.ones(1)})
    assert (list(converted), originals) == (["box_head.fc1.weight"], {"box_head.fc1.weight": "fc6_w"})


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        pytest.param("cls_score_w", 4, [1, 2, 3, 0], id="background-last"),
        pytest.param("cls_score_b", 2, [1, 0], id="one-class"),
        pytest.param("bbox_pred_w", 12, [4, 5, 6, 7, 8, 9, 10, 11], id="no-background-box"),
        pytest.param("bbox_pred_b", 8, [4, 5, 6, 7], id="class-agnostic-box"),
        pytest.param("mask_fcn_logits_w", 3, [1, 2], id="no-background-mask"),
        pytest.param("mask_fcn_logits_b", 1, [0], id="class-agnostic-mask"),
        pytest.param("rpn_bbox_pred_w", 12, list(range(12)), id="anchor-deltas-stay"),
        pytest.param("box_predictor.cls_score.weight", 3, [0, 1, 2], id="own-names-stay"),
    ],
)
@pytest.mark.parametrize("make", [np.arange, torch.arange], ids=["numpy", "torch"])
def test_the_background(name: str, rows: int, expected: list[int], make: Any) -> None:
    weights = make(rows * 2).reshape(rows, 2)
    (value,) = convert_c2_detectron_names({name: weights})[0].values()
    torch.testing.assert_close(value, torch.as_tensor(weights)[expected], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(("conv_rpn_w", "conv_rpn_fpn2_w"), "'conv_rpn_w' and 'conv_rpn_fpn2_w'.*both 'prop", id="rpn"),
        pytest.param(("fc6_w", "gpu_0/fc6_w"), "both 'box_head.fc1.weight'", id="device-scope"),
        pytest.param(("conv1_gn_s", "res_conv1_bn_s"), "both 'stem.conv1.norm.weight'", id="two-norms"),
    ],
)
def test_two_names_for_one_weight(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        convert_c2_detectron_names({name: torch.zeros(1) for name in names})


@pytest.mark.parametrize("rows", [4, 10])
def test_box_rows_without_a_background(rows: int) -> None:
    with pytest.raises(ValueError, match=f"'bbox_pred_w' has {rows} rows"):
        convert_c2_detectron_names({"bbox_pred_w": torch.zeros(rows, 1)})


LAST_BLOCK = {"2": 2, "3": 3, "4": 5, "5": 2}
HEAD_NAMES = {
    f"{RPN}.conv": "conv_rpn_fpn2",
    f"{RPN}.objectness_logits": "rpn_cls_logits_fpn2",
    f"{RPN}.anchor_deltas": "rpn_bbox_pred_fpn2",
    "roi_heads.box_head.fc1": "fc6",
    "roi_heads.box_head.fc2": "fc7",
    "roi_heads.box_predictor.cls_score": "cls_score",
    "roi_heads.box_predictor.bbox_pred": "bbox_pred",
    "roi_heads.mask_head.deconv": "conv5_mask",
    "roi_heads.mask_head.predictor": "mask_fcn_logits",
    **{f"roi_heads.mask_head.mask_fcn{i}": f"_[mask]_fcn{i}" for i in range(1, 5)},
}


def caffe2_layer(module: str) -> str:
    """The Caffe2 name of an R50-FPN's layer."""
    if module in HEAD_NAMES:
        return HEAD_NAMES[module]
    *_, layer = module.split(".")
    if layer.startswith("fpn_output"):
        return f"fpn_res{layer[-1]}_{LAST_BLOCK[layer[-1]]}_sum"
    if layer.startswith("fpn_lateral"):
        lateral = "" if layer[-1] == "5" else "_lateral"
        return f"fpn_inner_res{layer[-1]}_{LAST_BLOCK[layer[-1]]}_sum{lateral}"
    *_, stage, block, layer = module.split(".")
    if block == "stem":
        return "conv1"
    return f"{stage}_{block}_" + {
        "shortcut": "branch1",
        "conv1": "branch2a",
        "conv2": "branch2b",
        "conv3": "branch2c",
    }.get(layer, layer)


def caffe2_name(name: str) -> str:
    module, _, parameter = name.rpartition(".")
    if not module.endswith(".norm"):
        return f"{caffe2_layer(module)}_{parameter[0]}"
    layer = caffe2_layer(module.removesuffix(".norm"))
    norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}[parameter]
    return f"res_conv1_bn_{norm}" if layer == "conv1" else f"{layer}_bn_{norm}"


def with_background(name: str, value: np.ndarray) -> np.ndarray:
    if name.startswith("cls_score"):
        return np.roll(value, 1, axis=0)
    if name.startswith("bbox_pred"):
        return np.concatenate([np.full_like(value[:4], 7), value])
    if name.startswith("mask_fcn_logits"):
        return np.concatenate([np.full_like(value[:1], 7), value])
    return value


def caffe2_weights(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        caffe2_name(name): with_background(caffe2_name(name), value.numpy())
        for name, value in state.items()
        if "cell_anchors" not in name and not name.startswith("pixel_")
    }


def write(file: Path, content: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> str:
    file.write_bytes(pickle.dumps(content, protocol))
    return str(file)


def mask_rcnn() -> nn.Module:
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", 3, "MODEL.FPN.OUT_CHANNELS", 32])
    cfg.merge_from_list(["MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 32])
    cfg.merge_from_list(["MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 8])
    return build_model(cfg)


def randomised(network: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    state = network.state_dict()
    for value in state.values():
        value.uniform_(0.1, 1, generator=generator)
    return {name: value.clone() for name, value in state.items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def known() -> dict[str, torch.Tensor]:
    return randomised(mask_rcnn())


@pytest.fixture(scope="module")
def caffe2(known: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    weights = caffe2_weights(known)
    assert len(weights) == len([name for name in known if "cell_anchors" not in name]) == 307
    return weights


def shuffled(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = sorted(weights)
    random.Random(5).shuffle(names)
    return {name: weights[name] for name in names}


@pytest.mark.parametrize(
    "contain",
    [
        pytest.param(lambda weights: weights, id="bare"),
        pytest.param(lambda weights: {"blobs": weights, "cfg": "MODEL: {}"}, id="blobs"),
        pytest.param(lambda weights: {"model": weights, "__author__": "Caffe2"}, id="author"),
        pytest.param(lambda weights: {"blobs": shuffled(weights)}, id="shuffled"),
        pytest.param(lambda weights: {f"gpu_0/{name}": value for name, value in weights.items()}, id="device-scope"),
        pytest.param(lambda weights: {**weights, "fc6_w_momentum": weights["fc6_w"]}, id="momentum"),
    ],
)
def test_a_mask_rcnn_loads_bit_exactly(
    tmp_path: Path,
    known: dict[str, torch.Tensor],
    caffe2: dict[str, np.ndarray],
    contain: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network, content = mask_rcnn(), contain(caffe2)
    with caplog.at_level(logging.WARNING):
        # the first Detectron wrote protocol 2, which takes long
        file = write(tmp_path / "model_final.pkl", content, protocol=2 if "cfg" in content else 5)
        DetectionCheckpointer(network).load(file)
    assert caplog.text == ""
    assert_equal(network.state_dict(), known)


def test_a_wrapped_network(tmp_path: Path, known: dict[str, torch.Tensor], caffe2: dict[str, np.ndarray]) -> None:
    network = nn.ModuleDict({"detector": mask_rcnn()})
    DetectionCheckpointer(network).load(write(tmp_path / "a.pkl", caffe2))
    assert_equal(network["detector"].state_dict(), known)


def test_what_does_not_match_is_reported(
    tmp_path: Path,
    known: dict[str, torch.Tensor],
    caffe2: dict[str, np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    partial = shuffled(caffe2)
    for name in ("fc7_w", "fc7_b", "conv5_mask_w"):
        del partial[name]
    partial["fc6_b"] = np.zeros(5, np.float32)
    partial["kps_score_w"] = np.zeros(5, np.float32)
    network = mask_rcnn()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(network).load(write(tmp_path / "a.pkl", {"blobs": partial}))
    rows = {line.split("  ")[0]: line for line in caplog.text.splitlines()}
    assert "not in the file" in rows["roi_heads.box_head.fc2.{bias, weight}"]
    assert "not in the file" in rows["roi_heads.mask_head.deconv.weight"]
    assert "not in the network" in rows["kps_score.weight"]
    assert "other shape" in rows["roi_heads.box_head.fc1.bias"]
    assert "(5,)" in rows["roi_heads.box_head.fc1.bias"]
    unloaded = {f"roi_heads.{n}" for n in ("box_head.fc2.weight", "box_head.fc2.bias", "box_head.fc1.bias")}
    unloaded |= {"roi_heads.mask_head.deconv.weight"}
    assert_equal(network.state_dict(), {name: (before if name in unloaded else known)[name] for name in known})


def test_foreign_prefixes_load_nothing_and_are_reported(
    tmp_path: Path, caffe2: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    heads = {name: caffe2[name] for name in ("fc6_w", "fc7_w", "cls_score_w")}
    network = mask_rcnn()
    before = network.state_dict()["roi_heads.box_head.fc1.weight"].clone()
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(network).load(
            write(tmp_path / "a.pkl", {f"__preserve__/{name}": value for name, value in heads.items()})
        )
    assert caplog.text.count("not in the network") == len(heads)
    assert "__preserve__/fc6.weight" in caplog.text
    assert torch.equal(network.state_dict()["roi_heads.box_head.fc1.weight"], before)


def test_a_name_that_fits_several_heads_is_an_error(tmp_path: Path, caffe2: dict[str, np.ndarray]) -> None:
    network = nn.ModuleDict({"cascade": nn.ModuleList(nn.ModuleDict({"cls_score": nn.Linear(32, 4)}) for _ in "ab")})
    with pytest.raises(ValueError, match=r"'cls_score_w' fit both 'cascade.0.cls_score.weight' and 'cascade.1"):
        DetectionCheckpointer(network).load(write(tmp_path / "a.pkl", {"cls_score_w": caffe2["cls_score_w"]}))


def test_imagenet_weights_with_folded_norms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def backbone() -> nn.Module:
        cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
        return nn.ModuleDict({"backbone": nn.ModuleDict({"bottom_up": build_resnet_backbone(cfg, ShapeSpec(3))})})

    known = randomised(backbone())
    weights = {n: v for n, v in caffe2_weights(known).items() if not n.endswith(("_rm", "_riv"))}
    classifier = {"conv1_b": np.zeros(64, np.float32), "pred_w": np.zeros((9, 2048)), "pred_b": np.zeros(9)}
    network = backbone()
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(network).load(write(tmp_path / "R-50.pkl", {**weights, **classifier}))
    for name, value in network.state_dict().items():
        if "running_mean" in name:
            assert torch.equal(value, torch.zeros_like(value))
        elif "running_var" in name:
            torch.testing.assert_close(value, torch.ones_like(value), rtol=0, atol=2e-5)
        else:
            assert torch.equal(value, known[name]), name
    assert "not in the file" not in caplog.text
    assert [line.split("  ")[0] for line in caplog.text.splitlines() if "unused" in line] == [
        "stem.conv1.bias",
        "linear.{bias, weight}",
    ]


def test_the_classifier_of_a_resnet(tmp_path: Path) -> None:
    stage = ResNet.make_stage(BasicBlock, 1, in_channels=8, out_channels=8, norm="FrozenBN")
    network = ResNet(BasicStem(3, 8, norm="FrozenBN"), [stage], num_classes=5)
    weights = {"pred_w": np.random.default_rng(0).random((5, 8), np.float32), "pred_b": np.ones(5, np.float32)}
    DetectionCheckpointer(network).load(write(tmp_path / "a.pkl", weights))
    np.testing.assert_array_equal(network.state_dict()["linear.weight"], weights["pred_w"])
    np.testing.assert_array_equal(network.state_dict()["linear.bias"], weights["pred_b"])
