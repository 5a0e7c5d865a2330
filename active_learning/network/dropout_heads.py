"""Mask R-CNN heads with dropout, registered for Detectron2 configs.

They have the weights, and the weight names, of the heads without dropout. Dropout is active in training, off in plain
inference, and decided by a hash of seed and place in Monte-Carlo passes (seeded_dropout.py, mc_dropout.py).

R: proposals, of one image or of several passes over it. K: foreground classes; the background is class K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from active_learning.network.seeded_dropout import SeededDropout
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    Res5ROIHeads,
    StandardROIHeads,
    detect_objects,
)
from detectron2.structures import Boxes, ImageList, Instances

Features: TypeAlias = dict[str, Tensor]


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

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            if layer is not self.dropout:
                x = layer(self.dropout(x) if isinstance(layer, nn.Linear) else x)
        return x


@ROI_MASK_HEAD_REGISTRY.register()
class DropoutMaskHead(WithDropout, MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """MaskRCNNConvUpsampleHead with dropout before the deconvolution and before the predictor."""

    def layers(self, x: Tensor) -> Tensor:
        for layer in self.children():
            if layer is not self.dropout:
                x = layer(self.dropout(x) if layer in (self.deconv, self.predictor) else x)
        return x


class DropoutBoxPredictor(WithDropout, FastRCNNOutputLayers):
    """FastRCNNOutputLayers with dropout before `cls_score`, its output dropped once more before `bbox_pred`.

    Non-maximum suppression goes across classes, and detections also have `softmaxes` (see `inference`).
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (R, C, ...) -> class logits (R, K + 1), box deltas (R, 4K or 4)."""
        # Where the box head calculates in 16 bits, class and box still get all of theirs: it costs next to nothing.
        dropped = self.dropout(x.flatten(start_dim=1).to(self.cls_score.weight.dtype))
        return self.cls_score(dropped), self.bbox_pred(self.dropout(dropped))

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of each image in order of falling score, and the proposals' indices they come from.

        An object is detected once, whatever its class. `softmaxes` (n, K) are the class probabilities of a
        detection's proposal without the background's, not renormalised.
        """
        boxes = self.predict_boxes(predictions, proposals)
        probabilities = self.predict_probs(predictions, proposals)
        return self.detections(boxes, probabilities, [image.image_size for image in proposals])

    def detections(
        self, boxes: Sequence[Tensor], probabilities: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> tuple[list[Instances], list[Tensor]]:
        """What `inference` finds in each image, or in each pass: boxes (R, 4K or 4), probabilities (R, K + 1)."""
        limits = (self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image)
        found, rows = detect_objects(boxes, probabilities, image_sizes, *limits, across_classes=True)
        for detections, own, kept in zip(found, probabilities, rows, strict=True):
            detections.softmaxes = own[kept, :-1]
        return found, rows


class RepeatedHeads:
    """What Monte-Carlo passes need of ROI heads: the box branch in two halves, before dropout and from there on.

    `box_features` gives what all passes share; `classify` takes its rows, as often as there are passes.
    """

    box_predictor: Any

    def box_features(self, features: Features, boxes: Boxes) -> Tensor:
        """(R, ...) features of each of R boxes of the one image whose maps `features` are."""
        raise NotImplementedError

    def classify(self, features: Features, pooled: Tensor, proposals: Instances) -> tuple[Tensor, Tensor]:
        """Rows of `box_features` and their R proposals -> boxes (R, 4K or 4), probabilities (R, K + 1)."""
        raise NotImplementedError

    @property
    def last_predictor(self) -> DropoutBoxPredictor:
        """The one that decides on detections."""
        predictor: DropoutBoxPredictor = self.box_predictor
        return predictor

    def detections(
        self, boxes: Sequence[Tensor], probabilities: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """What each pass, or a plain inference of each image, finds, by boxes (R, 4K or 4) and probabilities (R, K + 1)
        of each; see DropoutBoxPredictor.inference."""
        return self.last_predictor.detections(boxes, probabilities, image_sizes)[0]


def _predict(predictor: Any, x: Tensor, proposals: Instances) -> tuple[Tensor, Tensor]:
    predictions = predictor(x)
    return predictor.predict_boxes(predictions, [proposals])[0], predictor.predict_probs(predictions, [proposals])[0]


@ROI_HEADS_REGISTRY.register()
class DropoutROIHeads(RepeatedHeads, StandardROIHeads):
    """StandardROIHeads with the box predictor above; box and mask head come from the config by their names."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        arguments = super().from_config(cfg, input_shape)
        arguments["box_predictor"] = DropoutBoxPredictor(cfg, arguments["box_head"].output_shape)
        return arguments

    def box_features(self, features: Features, boxes: Boxes) -> Tensor:
        pooled: Tensor = self.box_pooler([features[name] for name in self.box_in_features], [boxes])
        return pooled.contiguous()  # as the box head flattens them

    def classify(self, features: Features, pooled: Tensor, proposals: Instances) -> tuple[Tensor, Tensor]:
        return _predict(self.box_predictor, self.box_head(pooled), proposals)


@ROI_HEADS_REGISTRY.register()
class DropoutRes5ROIHeads(RepeatedHeads, Res5ROIHeads):
    """Res5ROIHeads (C4 networks) with the box predictor above. They have no fully connected box head to drop in."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        arguments = super().from_config(cfg, input_shape)
        channels = arguments["box_predictor"].cls_score.in_features
        arguments["box_predictor"] = DropoutBoxPredictor(cfg, ShapeSpec(channels=channels, height=1, width=1))
        return arguments

    def box_features(self, features: Features, boxes: Boxes) -> Tensor:
        pooled: Tensor = self.res5(self.pooler([features[name] for name in self.in_features], [boxes]))
        return pooled.mean(dim=(2, 3))

    def classify(self, features: Features, pooled: Tensor, proposals: Instances) -> tuple[Tensor, Tensor]:
        return _predict(self.box_predictor, pooled, proposals)


@ROI_HEADS_REGISTRY.register()
class DropoutCascadeROIHeads(RepeatedHeads, CascadeROIHeads):
    """CascadeROIHeads with the box predictor above, and dropout, in every stage."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        arguments = super().from_config(cfg, input_shape)
        stages = zip(arguments["box_heads"], arguments["box_predictors"], strict=True)
        arguments["box_predictors"] = [
            DropoutBoxPredictor(cfg, head.output_shape, box2box_transform=predictor.box2box_transform)
            for head, predictor in stages
        ]
        return arguments

    def forward(
        self,
        images: ImageList,
        features: Features,
        proposals: Sequence[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        if self.training:
            return super().forward(images, features, proposals, targets)
        classified = []
        for index, own in enumerate(proposals):
            maps = {name: map_of_batch[index : index + 1] for name, map_of_batch in features.items()}
            classified.append(self.classify(maps, self.box_features(maps, own.proposal_boxes), own))
        boxes, probabilities = zip(*classified, strict=True)
        found = self.detections(boxes, probabilities, [own.image_size for own in proposals])
        return self.forward_with_given_boxes(features, found), {}

    def box_features(self, features: Features, boxes: Boxes) -> Tensor:
        pooled: Tensor = self.box_pooler([features[name] for name in self.box_in_features], [boxes])
        return pooled

    def classify(self, features: Features, pooled: Tensor, proposals: Instances) -> tuple[Tensor, Tensor]:
        """The last stage's boxes, and the mean of all stages' probabilities (Cai & Vasconcelos 2018)."""
        probabilities = []
        for stage, (head, predictor) in enumerate(zip(self.box_head, self.box_predictor, strict=True)):
            if stage > 0:
                pooled = self.box_features(features, proposals.proposal_boxes)
            boxes, own = _predict(predictor, head(pooled), proposals)
            probabilities.append(own)
            corrected = Boxes(boxes)
            corrected.clip(proposals.image_size)
            proposals = Instances(proposals.image_size, proposal_boxes=corrected)
        return boxes, torch.stack(probabilities).mean(dim=0)

    @property
    def last_predictor(self) -> DropoutBoxPredictor:
        predictor: DropoutBoxPredictor = self.box_predictor[-1]
        return predictor
