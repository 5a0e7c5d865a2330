"""Mask R-CNN heads with dropout, registered for Detectron2 configs.

They have the weights, and the weight names, of the heads without dropout. Dropout is active in training, off in plain
inference, and drawn from a generator of our own in Monte-Carlo passes (mc_dropout.py).

R: proposals. K: foreground classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, nms
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.structures import Boxes, Instances

DROPOUT_HEADS = {
    "StandardROIHeads": "DropoutROIHeads",
    "FastRCNNConvFCHead": "DropoutBoxHead",
    "MaskRCNNConvUpsampleHead": "DropoutMaskHead",
}


def add_dropout_config(cfg: CfgNode) -> None:
    """Adds MODEL.ROI_HEADS.DROPOUT_PROBABILITY, the share of activations that dropout sets to zero."""
    cfg.MODEL.ROI_HEADS.DROPOUT_PROBABILITY = 0.0


class SeededDropout(nn.Dropout):
    """nn.Dropout that, given a generator, is active outside training too and draws from it (Gal & Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.generator is None or self.p == 0:
            return super().forward(x)
        dropped = _random_bits16(x.shape, self.generator) < round(self.p * 2**16) - 2**15
        return x.masked_fill(dropped, 0.0).mul_(1 / (1 - self.p))


def _random_bits16(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Uniform int16. One draw of 64 bits serves four activations: drawing dominates the cost of dropout."""
    numel = shape.numel()
    bits = torch.empty(math.ceil(numel / 4), dtype=torch.int64, device=generator.device)
    return bits.random_(-(2**63), None, generator=generator).view(torch.int16)[:numel].view(shape)


class WithDropout(nn.Module):
    """What the three heads share; a base class before the head's own. `dropout_probability` comes from the config."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, dropout_probability: float, **kwargs: Any) -> None:
        super().__init__(input_shape, **kwargs)
        self.dropout = SeededDropout(dropout_probability)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        return {
            **super().from_config(cfg, input_shape),  # type: ignore[misc]
            "dropout_probability": cfg.MODEL.ROI_HEADS.DROPOUT_PROBABILITY,
        }


@ROI_BOX_HEAD_REGISTRY.register()
class DropoutBoxHead(WithDropout, FastRCNNConvFCHead):
    """FastRCNNConvFCHead with dropout before every fully connected layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            if layer is not self.dropout:
                x = layer(self.dropout(x) if isinstance(layer, nn.Linear) else x)
        return x


@ROI_MASK_HEAD_REGISTRY.register()
class DropoutMaskHead(WithDropout, MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """MaskRCNNConvUpsampleHead with dropout before the deconvolution and before the predictor."""

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            if layer is not self.dropout:
                x = layer(self.dropout(x) if layer in (self.deconv, self.predictor) else x)
        return x


class DropoutBoxPredictor(WithDropout, FastRCNNOutputLayers):
    """FastRCNNOutputLayers with dropout before `cls_score`, its output dropped once more before `bbox_pred`.

    Non-maximum suppression goes across classes, and detections also have `softmaxes` (see `inference`).
    """

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (R, C, ...) -> class logits (R, K + 1), box deltas (R, 4K or 4)."""
        dropped = self.dropout(x.flatten(start_dim=1))
        return self.cls_score(dropped), self.bbox_pred(self.dropout(dropped))

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Detections of each image in order of falling score, and the proposals' indices they come from.

        An object is detected once, whatever its class. `softmaxes` (n, K) are the class probabilities of a
        detection's proposal without the background's, not renormalised.
        """
        boxes = self.predict_boxes(predictions, proposals)
        probabilities = self.predict_probs(predictions, proposals)
        found = [
            self._detections(boxes_of_image, probabilities_of_image[:, :-1], image.image_size)
            for boxes_of_image, probabilities_of_image, image in zip(boxes, probabilities, proposals, strict=True)
        ]
        return [detections for detections, _ in found], [rows for _, rows in found]

    def _detections(
        self, boxes: torch.Tensor, probabilities: torch.Tensor, image_size: tuple[int, int]
    ) -> tuple[Instances, torch.Tensor]:
        """boxes (R, 4K or 4), probabilities (R, K)."""
        # A training that diverged gives boxes that are not finite; they are no detections.
        finite = boxes.isfinite().all(dim=1) & probabilities.isfinite().all(dim=1)
        above = (probabilities > self.test_score_thresh) & finite[:, None]
        rows, classes = above.nonzero(as_tuple=True)
        boxes = boxes.view(len(boxes), -1, 4)
        candidates = Boxes(boxes[rows, classes if boxes.shape[1] > 1 else torch.zeros_like(classes)])
        candidates.clip(image_size)
        scores = probabilities[rows, classes]
        keep = nms(candidates.tensor, scores, self.test_nms_thresh)[: self.test_topk_per_image]
        detections = Instances(image_size)
        detections.pred_boxes = candidates[keep]
        detections.scores = scores[keep]
        detections.pred_classes = classes[keep]
        detections.softmaxes = probabilities[rows[keep]]
        return detections, rows[keep]


@ROI_HEADS_REGISTRY.register()
class DropoutROIHeads(StandardROIHeads):
    """StandardROIHeads with the box predictor above; box and mask head come from the config by their names."""

    @classmethod
    def from_config(  # type: ignore[override]
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        arguments = super().from_config(cfg, input_shape)
        arguments["box_predictor"] = DropoutBoxPredictor(cfg, arguments["box_head"].output_shape)
        return arguments
