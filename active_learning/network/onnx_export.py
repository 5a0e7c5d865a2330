"""Writes a trained network as ONNX, and beside it what is to be known of it (`describe`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from active_learning.errors import MaskALError
from active_learning.network.detection_crops import MASK_THRESHOLD
from active_learning.network.inference_copy import inference_copy
from active_learning.network.model_input import is_tiled, tile_settings
from active_learning.network.prediction import load_network
from active_learning.system.written_files import only_writer, own_draft
from detectron2.config import CfgNode

FINGERPRINT = "fingerprint"
# Of MODEL: what an exported network has.
_EXPORTED: dict[str, tuple[object, ...]] = {
    "ROI_HEADS.NAME": ("DropoutROIHeads", "DropoutRes5ROIHeads"),
    "ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "RESNETS.NORM": ("BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "FrozenBN"),
}
_LAYER_NORMS = ("FPN.NORM", "ROI_BOX_HEAD.NORM", "ROI_MASK_HEAD.NORM")


def check_exportable(cfg: CfgNode, name: str) -> None:
    """Of a config of `network_config`, whose `name` is for the message.

    Raises:
        MaskALError: such a network is not exported.
    """
    known = {**_EXPORTED, **dict.fromkeys(_LAYER_NORMS, ("", *_EXPORTED["RESNETS.NORM"]))}
    for key, values in known.items():
        section, _, entry = key.partition(".")
        if (value := cfg.MODEL[section][entry]) not in values:
            raise _not_exported(name, f"MODEL.{key} {str(value).removeprefix('Dropout')!r}")
    if any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
        raise _not_exported(name, "deformable convolutions (MODEL.RESNETS.DEFORM_ON_PER_STAGE)")


def _not_exported(name: str, what: str) -> MaskALError:
    return MaskALError(
        f"network_config: {name}: {what} cannot be exported to ONNX; what can is Mask R-CNN with FPN, C4 or DC5 on a "
        "ResNet-18 to ResNeXt-101 with batch normalisation, and with ROIAlign"
    )


def export_network(
    cfg: CfgNode, weights: Path | str, classes: Sequence[str], out: Path, *, version: str, pasted_masks: bool = False
) -> None:
    """Writes `out`, and the yaml file beside it.

    Args:
        cfg: of `network_config`, for the processor.
        weights, classes: as `load_network` takes them.
        version: of MaskAL, for the files.
        pasted_masks: a further output, masks in the size of the image.

    Raises:
        MaskALError: there are no such weights, or a part of the network is not exported.
        SettingsError: the weights were trained on other classes.
    """
    model = build_onnx(load_network(cfg, weights, classes), cfg, version=version, pasted_masks=pasted_masks)
    facts = describe(cfg, classes, out.name, pasted_masks=pasted_masks)
    # In both files: an export that was killed, or two at a time, may leave one of each, and classes be misread.
    facts[FINGERPRINT] = hashlib.blake2b(repr(facts).encode() + model.SerializeToString(), digest_size=16).hexdigest()
    model.metadata_props.add(key=FINGERPRINT, value=facts[FINGERPRINT])
    made_of = {"maskal": version, "torch": str(torch.__version__), "opset": model.opset_import[0].version}
    text = yaml.safe_dump({**facts, "made_with": made_of}, sort_keys=False, allow_unicode=True)
    # A disk that is full fails before the first of them has its name.
    with only_writer(out.parent), own_draft(out) as draft, own_draft(out.with_suffix(".yaml")) as twin:
        twin.write_text(f"{_HEADER}{text}", encoding="utf-8", newline="\n")
        draft.write_bytes(model.SerializeToString())


_HEADER = (
    "# What is to be known of the network in the .onnx file beside this one; written by MaskAL's export_onnx.py.\n"
)


def build_onnx(model: Any, cfg: CfgNode, *, version: str, pasted_masks: bool = False) -> Any:
    """The onnx.ModelProto of a network in evaluation mode.

    Input `image` (height, width, 3) uint8; outputs `boxes` (n, 4), `scores` (n,), `classes` (n,), `masks` (n, S, S)
    and, where wanted, `pasted_masks` (n, height, width).

    Raises:
        MaskALError: a part of it is not exported.
    """
    from onnx import helper

    from active_learning.network.onnx_graph import BOOL, FLOAT, INT64, UINT8, Graph, Value
    from active_learning.network.onnx_network import OnnxNetwork, Size, pasted

    graph, side = Graph(), mask_side(cfg)
    image = Value(graph, "image")
    size = Size(image.side(0), image.side(1))
    with torch.no_grad():
        found = OnnxNetwork(graph, inference_copy(model.cpu(), half=False), cfg).detections(image, size)
    n = "detections"
    outputs = [
        (found.boxes, helper.make_tensor_value_info("boxes", FLOAT, [n, 4])),
        (found.scores, helper.make_tensor_value_info("scores", FLOAT, [n])),
        (found.classes, helper.make_tensor_value_info("classes", INT64, [n])),
        (found.masks, helper.make_tensor_value_info("masks", FLOAT, [n, side, side])),
    ]
    if pasted_masks:
        whole = helper.make_tensor_value_info("pasted_masks", BOOL, [n, "height", "width"])
        outputs.append((pasted(graph, found, size, side), whole))
    given = helper.make_tensor_value_info("image", UINT8, ["height", "width", 3])
    return graph.model([given], outputs, f"Mask R-CNN of MaskAL; image in {cfg.INPUT.FORMAT}", version)


def mask_side(cfg: CfgNode) -> int:
    """S, in cells: the mask head doubles what its pooler gives; in C4 networks res5 halves it before."""
    side = int(cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION) * 2
    if cfg.MODEL.ROI_HEADS.NAME == "DropoutRes5ROIHeads":
        side = (int(cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION) + 1) // 2 * 2
    return side


def describe(cfg: CfgNode, classes: Sequence[str], file: str, *, pasted_masks: bool) -> dict[str, Any]:
    """What the yaml file holds, but for versions."""
    heads, side = cfg.MODEL.ROI_HEADS, mask_side(cfg)
    outputs = {
        "boxes": "detections x 4, float32: x0, y0, x1, y1 in pixels of the image",
        "scores": "detections, float32: 0 to 1, falling",
        "classes": "detections, int64: place in `classes`, from 0",
        "masks": f"detections x {side} x {side}, float32: probabilities inside the box",
    }
    if pasted_masks:
        outputs["pasted_masks"] = "detections x height x width, bool: masks in the image"
    return {
        "model": file,
        "classes": list(classes),
        "input": {"name": "image", "shape": "height x width x 3, any size", "type": "uint8"},
        "colour_order": str(cfg.INPUT.FORMAT),
        "resized_inside_to": {"shorter_side": cfg.INPUT.MIN_SIZE_TEST, "longer_side_at_most": cfg.INPUT.MAX_SIZE_TEST},
        "score_threshold": heads.SCORE_THRESH_TEST,
        "nms_threshold": heads.NMS_THRESH_TEST,
        "mask_threshold": MASK_THRESHOLD,
        "most_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        **({"tiles": dict(zip(("size", "overlap"), tile_settings(cfg), strict=True))} if is_tiled(cfg) else {}),
        "outputs": outputs,
    }
