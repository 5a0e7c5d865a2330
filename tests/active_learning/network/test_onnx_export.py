"""An exported network detects in onnxruntime what the network itself detects."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torchvision.ops import nms

import detectron2.data.transforms as T
from active_learning.errors import MaskALError
from active_learning.network.prediction import detect
from detectron2.modeling import build_model
from tests.active_learning.network.conftest import NETWORK
from tests.docs.markdown import rows

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")

from active_learning.network.model_input import network_input  # noqa: E402
from active_learning.network.onnx_network import overlap_limit  # noqa: E402
from benchmarks.onnx_export import difference  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SIZES = [(64, 64), (40, 60), (151, 75), (90, 200), (1, 30)]
# Narrow forms of the published ones.
NARROW = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  MASK_ON: True
  PIXEL_STD: [57.4, 57.1, 58.4]
  BACKBONE: {NAME: build_resnet_backbone, FREEZE_AT: 0}
  RPN: {PRE_NMS_TOPK_TEST: 60, POST_NMS_TOPK_TEST: 20}
  ANCHOR_GENERATOR: {SIZES: [[16, 32]]}
INPUT: {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 100}
VERSION: 2
"""
WIDTHS = {"DEPTH": 50, "STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4, "NORM": "BN"}
C4 = {
    "RESNETS": {**WIDTHS, "OUT_FEATURES": ["res4"]},
    "ROI_MASK_HEAD": {"NAME": "MaskRCNNConvUpsampleHead", "CONV_DIM": 16, "NUM_CONV": 0},
}
DC5 = {
    "RESNETS": {**WIDTHS, "OUT_FEATURES": ["res5"], "RES5_DILATION": 2},
    "RPN": {"IN_FEATURES": ["res5"]},
    "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["res5"]},
    "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 32, "POOLER_RESOLUTION": 7},
    "ROI_MASK_HEAD": {"NAME": "MaskRCNNConvUpsampleHead", "CONV_DIM": 16, "NUM_CONV": 1, "POOLER_RESOLUTION": 7},
}
ONE_FOR_ALL = {"ROI_BOX_HEAD": {"CLS_AGNOSTIC_BBOX_REG": True}, "ROI_MASK_HEAD": {"CLS_AGNOSTIC_MASK": True}}
UNALIGNED = {
    name: {"POOLER_TYPE": "ROIAlign", "POOLER_SAMPLING_RATIO": 2} for name in ("ROI_BOX_HEAD", "ROI_MASK_HEAD")
}
GROUPS = {
    "RESNETS": {"DEPTH": 50, "NUM_GROUPS": 4, "WIDTH_PER_GROUP": 2, "RES2_OUT_CHANNELS": 16, "STRIDE_IN_1X1": False}
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "FPN": (NETWORK, {}),
    "ResNeXt": (NETWORK, GROUPS),
    "averaged pyramid": (NETWORK, {"FPN": {"FUSE_TYPE": "avg"}}),
    "one box and mask for all classes": (NETWORK, ONE_FOR_ALL),
    "unaligned, fixed samples": (NETWORK, UNALIGNED),
    "more layers": (NETWORK, {"RPN": {"CONV_DIMS": [16, -1]}, "ROI_BOX_HEAD": {"NUM_CONV": 1, "CONV_DIM": 8}}),
    "independent classes": (NETWORK, {"ROI_BOX_HEAD": {"USE_SIGMOID_CE": True}}),
    "weights of boxes": (NETWORK, {"RPN": {"BBOX_REG_WEIGHTS": [2.0, 1.0, 0.5, 1.0]}}),
    "C4": (NARROW, C4),
    "DC5": (NARROW, DC5),
}


def merged(text: str, changes: dict[str, Any], **sections: Any) -> str:
    """The config with these changes in MODEL, and whole other sections."""
    config = yaml.safe_load(text)
    for section, values in changes.items():
        config["MODEL"][section] = {**config["MODEL"].get(section, {}), **values}
    for section, values in sections.items():
        config[section] = {**config.get(section, {}), **values}
    return yaml.safe_dump(config)


@pytest.fixture
def make(make_cfg, tmp_path):
    """Network and config of a text; its layers are given weights with which it detects much."""

    def make(text: str, **keys: Any) -> tuple[Any, Any]:
        file = tmp_path / "network.yaml"
        file.write_text(text, encoding="utf-8")
        cfg = make_cfg(network_config=str(file), **{"confidence_threshold": 0.3, "nms_threshold": 0.6, **keys})
        model = build_model(cfg).eval()
        for layer in model.backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.1)
                layer.momentum = 1.0
        model.backbone.train()(model.preprocess_image([network_input(picture(96, 128), cfg)]).tensor)
        model.eval()
        head, predictor = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
        mask_predictor = model.roi_heads.mask_head.predictor
        stds = {head.objectness_logits: 0.5, head.anchor_deltas: 0.05, predictor.cls_score: 0.3}
        for layer, std in {**stds, predictor.bbox_pred: 0.2, mask_predictor: 0.5}.items():
            nn.init.normal_(layer.weight, std=std)
        return model, cfg

    return make


def exported(model: Any, cfg: Any, **options: Any) -> Any:
    from active_learning.network.onnx_export import build_onnx

    return build_onnx(model, cfg, version="0.0", **options)


def session_of(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def picture(height: int, width: int) -> np.ndarray:
    import cv2

    coarse = np.random.default_rng(height).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("text", "changes"), CASES.values(), ids=CASES)
def test_the_same_is_detected_in_images_of_any_size(make, text: str, changes: dict[str, Any]):
    model, cfg = make(merged(text, changes))
    session = session_of(exported(model, cfg))
    detections = 0
    for height, width in SIZES:
        image = picture(height, width)
        found = run(session, image)
        assert (np.diff(found["scores"]) <= 0).all()
        apart = difference(detect(model, network_input(image, cfg)), found, 0.5)
        assert apart.unmatched == 0, (height, width)
        assert apart.boxes < 0.01 and apart.scores < 1e-4, (height, width, apart)
        # a pixel of a small mask may fall on a half
        assert apart.masks >= 0.99 or apart.pixels <= 1, (height, width, apart)
        detections += apart.detections
    assert detections > 8


def test_images_in_their_own_size_and_other_colours(make):
    model, cfg = make(merged(NETWORK, {}, INPUT={"MIN_SIZE_TEST": 0, "FORMAT": "RGB"}))
    image = picture(50, 70)
    apart = difference(detect(model, network_input(image, cfg)), run(session_of(exported(model, cfg)), image), 0.5)
    assert apart.detections > 3 and apart.unmatched == 0 and apart.boxes < 0.05


@pytest.mark.parametrize(("text", "changes", "side"), [(NETWORK, {}, 14), (NARROW, C4, 14), (NARROW, DC5, 14)],
                         ids=["FPN", "C4", "DC5"])  # fmt: skip
def test_nothing_detected(make, text: str, changes: dict[str, Any], side: int):
    model, cfg = make(merged(text, changes), confidence_threshold=1.0)
    found = run(session_of(exported(model, cfg, pasted_masks=True)), picture(40, 60))
    shapes = {name: value.shape for name, value in found.items()}
    masks = {"masks": (0, side, side), "pasted_masks": (0, 40, 60)}
    assert shapes == {"boxes": (0, 4), "scores": (0,), "classes": (0,), **masks}


def test_pasted_masks_are_those_of_the_network(make):
    model, cfg = make(NETWORK)
    image = picture(50, 70)
    found = run(session_of(exported(model, cfg, pasted_masks=True)), image)
    expected = detect(model, network_input(image, cfg)).pred_masks.numpy()
    assert found["pasted_masks"].dtype == bool and found["pasted_masks"].shape == expected.shape
    assert (found["pasted_masks"] != expected).mean() < 1e-4 < expected.mean()


def resizing(shorter: int, longest: int) -> Any:
    """A session of the resizing alone."""
    from onnx import helper

    from active_learning.network.onnx_graph import FLOAT, UINT8, Graph, Value
    from active_learning.network.onnx_network import Size, resized
    from detectron2.config import get_cfg

    cfg, graph = get_cfg(), Graph()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = shorter, longest
    image = Value(graph, "image")
    pixels, _ = resized(graph, image, Size(image.side(0), image.side(1)), cfg)
    wanted = helper.make_tensor_value_info("pixels", FLOAT, [3, None, None])
    given = helper.make_tensor_value_info("image", UINT8, ["height", "width", 3])
    return session_of(graph.model([given], [(pixels, wanted)], "", ""))


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (37, 53),
        (53, 37),
        (64, 64),
        (64, 20),
        (200, 300),
        (301, 999),
        (9, 400),
        (1, 1),
        (3, 1000),
        (151, 75),
        (900, 150),
    ],
)
def test_resized_as_pillow_does(height: int, width: int):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (pixels,) = resizing(64, 100).run(None, {"image": image})
    expected = T.ResizeShortestEdge(64, 100).get_transform(image).apply_image(image).transpose(2, 0, 1)
    assert pixels.shape == expected.shape
    assert np.array_equal(pixels, expected)


def test_sizes_round_as_in_training():
    """Also those that fall on a half, where float64 decides."""
    session = resizing(8, 13)
    halves = [(2 * side, side) for side in range(1, 60)] + [(side, 16) for side in range(1, 60)]
    others = np.random.default_rng(0).integers(1, 200, (200, 2)).tolist()
    for height, width in [*halves, *others, *((width, height) for height, width in halves)]:
        (pixels,) = session.run(None, {"image": np.zeros((height, width, 3), np.uint8)})
        assert pixels.shape[1:] == T.ResizeShortestEdge.get_output_shape(height, width, 8, 13), (height, width)


def operators(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators(attribute.g)


def test_the_operators_are_those_that_the_page_lists(make):
    import onnx

    documented = {name.strip("` ") for row in rows(ROOT / "ONNX.md", "operators") for name in row[0].split(",")}
    used: set[str] = set()
    for text, changes in ((NETWORK, {}), (NETWORK, {"ROI_BOX_HEAD": {"USE_SIGMOID_CE": True}}), (NARROW, C4)):
        model = exported(*make(merged(text, changes)), pasted_masks=True)
        used |= set(operators(model.graph))
        assert {opset.domain for opset in model.opset_import} == {""}
        onnx.checker.check_model(model, full_check=True)
    assert used == documented


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "cascade": ({"ROI_HEADS": {"NAME": "CascadeROIHeads"}, "ROI_BOX_HEAD": {"CLS_AGNOSTIC_BBOX_REG": True}}, "Cascade"),
    "group norm": ({"FPN": {"NORM": "GN", "OUT_CHANNELS": 32}}, "MODEL.FPN.NORM 'GN'"),
    "layer norm": ({"RESNETS": {"NORM": "LN"}}, "MODEL.RESNETS.NORM 'LN'"),
    "RoIPool": ({"ROI_BOX_HEAD": {"POOLER_TYPE": "ROIPool"}}, "MODEL.ROI_BOX_HEAD.POOLER_TYPE 'ROIPool'"),
    "deformable": ({"RESNETS": {"DEPTH": 50, "DEFORM_ON_PER_STAGE": [False, True, False, False]}}, "deformable"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_other_networks_are_refused(make_cfg, tmp_path: Path, changes: dict[str, Any], words: str):
    from active_learning.network.onnx_export import check_exportable

    file = tmp_path / "network.yaml"
    file.write_text(merged(NETWORK, changes), encoding="utf-8")
    with pytest.raises(MaskALError, match="cannot be exported to ONNX; what can is Mask R-CNN with FPN, C4") as error:
        check_exportable(make_cfg(network_config=str(file)), "network.yaml")
    assert words in str(error.value)


def test_a_layer_of_ones_own_is_named(make):
    class Own(nn.Conv2d):
        pass

    model, cfg = make(NETWORK)
    model.proposal_generator.rpn_head.anchor_deltas = Own(32, 4, 1)
    with pytest.raises(MaskALError, match="anchor_deltas: a layer Own cannot be exported"):
        exported(model, cfg)


def test_what_is_written_beside_it(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from active_learning.network.onnx_export import export_network

    model, cfg = make(NETWORK)
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    out = tmp_path / "out" / "robot.onnx"
    export_network(cfg, tmp_path / "w.pth", ["square", "disc", "nie"], out, version="1.2")
    facts = yaml.safe_load(out.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert facts["classes"] == ["square", "disc", "nie"]
    assert (facts["colour_order"], facts["score_threshold"], facts["nms_threshold"]) == ("BGR", 0.3, 0.6)
    assert facts["resized_inside_to"]["shorter_side"] == 64
    assert facts["made_with"]["maskal"] == "1.2" and facts["made_with"]["opset"] == 17
    image = picture(40, 60)
    found = run(session_of(exported(model, cfg)), image)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    again = run(session, image)
    assert all(np.array_equal(found[name], again[name]) for name in found) and set(found) == set(facts["outputs"])
    assert session.get_modelmeta().custom_metadata_map["fingerprint"] == facts["fingerprint"]
    export_network(cfg, tmp_path / "w.pth", ["square", "disc", "nie"], out, version="1.2")
    assert yaml.safe_load(out.with_suffix(".yaml").read_text(encoding="utf-8")) == facts
    export_network(cfg, tmp_path / "w.pth", ["disc", "square", "nie"], out, version="1.2")
    assert yaml.safe_load(out.with_suffix(".yaml").read_text(encoding="utf-8"))["fingerprint"] != facts["fingerprint"]
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for write in ("write_text", "write_bytes"):  # one export, both files, or none
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(Path, write, full)
            export_network(cfg, tmp_path / "w.pth", ["nie", "square", "disc"], out, version="1.2")
        assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.7])
def test_boxes_that_overlap_by_the_threshold_go_as_in_torchvision(threshold: float):
    """Whole numbers of pixels, as those of anchors, overlap by round numbers."""
    tenths = round(threshold * 10)
    apart = 10 - tenths  # of two boxes whose union is 10 wide, and of which 10 x threshold is shared
    pair = np.array([[0, 0, tenths + apart / 2, 8], [apart / 2, 0, 10, 8]], np.float32) * 16
    scores = np.array([0.9, 0.8], np.float32)
    kept = nms(torch.from_numpy(pair), torch.from_numpy(scores), threshold)
    names = ["boxes", "scores", "most", "overlap"]
    given = [pair[None], scores[None, None], np.array([10], np.int64), overlap_limit(threshold)]
    node = onnx.helper.make_node("NonMaxSuppression", names, ["kept"])
    of = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in given]
    inputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, of, strict=True)]
    outputs = [onnx.helper.make_tensor_value_info("kept", onnx.TensorProto.INT64, None)]
    graph = onnx.helper.make_graph([node], "suppression", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["kept"], dict(zip(names, given, strict=True)))
    assert found[:, 2].tolist() == kept.tolist()
