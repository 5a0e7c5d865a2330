"""What is predicted for proposed regions: class, box, mask.

N images; K foreground classes, the background is class K. Proposals and detections are Instances of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler, build_roi_pooler
from detectron2.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    Features,
    Losses,
    ROIHeads,
    build_roi_heads,
    required,
    select_foreground_proposals,
)
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import build_mask_head
from detectron2.modeling.roi_heads.res5_heads import Res5ROIHeads
from detectron2.structures import Boxes, ImageList, Instances

__all__ = [
    "ROI_HEADS_REGISTRY", "ROIHeads", "Res5ROIHeads", "StandardROIHeads", "build_roi_heads",
    "select_foreground_proposals",
]  # fmt: skip


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """A box head and, optionally, a mask head, each with its own pooler and layers.

    Args:
        box_in_features: names of the features that ``box_pooler`` takes.
        box_predictor: features of each box to scores and deltas, as FastRCNNOutputLayers.
        mask_in_features: None without masks. Without ``mask_pooler`` the mask head gets the dict of whole features.
        keypoint_in_features, keypoint_pooler, keypoint_head: not supported, must be None.
        train_on_pred_boxes: train the other heads on the predicted boxes instead of the proposals.
        kwargs: of :class:`ROIHeads`.
    """

    box_head: Any
    box_predictor: Any
    mask_head: Any

    @configurable
    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: Sequence[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: Any = None,
        keypoint_pooler: Any = None,
        keypoint_head: Any = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if any(part is not None for part in (keypoint_in_features, keypoint_pooler, keypoint_head)):
            raise ValueError("StandardROIHeads: keypoint heads are not supported")
        self.in_features = self.box_in_features = list(box_in_features)
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_on = mask_in_features is not None
        if mask_in_features is not None:
            self.mask_in_features = list(mask_in_features)
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        self.train_on_pred_boxes = train_on_pred_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        arguments = super().from_config(cfg)
        arguments["train_on_pred_boxes"] = cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
        arguments.update(cls._init_box_head(cfg, input_shape))
        arguments.update(cls._init_mask_head(cfg, input_shape))
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The ``box_*`` arguments; subclasses may override this."""
        pooler, pooled = build_roi_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        box_head = build_box_head(cfg, pooled)
        return {
            "box_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The ``mask_*`` arguments, none without ``MODEL.MASK_ON``; subclasses may override this."""
        if not cfg.MODEL.MASK_ON:
            return {}
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        pooler, pooled = None, {name: input_shape[name] for name in names}
        if cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE:
            pooler, pooled = build_roi_pooler(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)  # type: ignore[assignment]
        return {"mask_in_features": names, "mask_pooler": pooler, "mask_head": build_mask_head(cfg, pooled)}  # type: ignore[arg-type]

    def forward(
        self, images: ImageList, features: Features, proposals: Any, targets: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], Losses]:
        if not self.training:
            return self.forward_with_given_boxes(features, self._forward_box(features, proposals)), {}
        sampled = self.label_and_sample_proposals(proposals, required(targets))
        return sampled, {**self._forward_box(features, sampled), **self._forward_mask(features, sampled)}

    def forward_with_given_boxes(self, features: Features, instances: list[Instances]) -> list[Instances]:
        """Add the masks to detections that have ``pred_boxes`` and ``pred_classes``; only at test."""
        self._require_eval("forward_with_given_boxes")
        return self._forward_mask(features, instances)

    def _forward_box(self, features: Features, proposals: Sequence[Instances]) -> Any:
        """In training the losses, else the detections."""
        maps = [features[name] for name in self.box_in_features]
        predictions = self.box_predictor(self.box_head(self.box_pooler(maps, [p.proposal_boxes for p in proposals])))
        if not self.training:
            return self.box_predictor.inference(predictions, proposals)[0]
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
            for own, own_boxes in zip(proposals, boxes, strict=True):
                own.proposal_boxes = Boxes(own_boxes)
        return losses

    def _forward_mask(self, features: Features, instances: Any) -> Any:
        """In training the losses for the foreground of sampled proposals, else the detections with their masks."""
        if not self.mask_on:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_pooler is None:
            return self.mask_head({name: features[name] for name in self.mask_in_features}, instances)
        boxes = [own.proposal_boxes if self.training else own.pred_boxes for own in instances]
        return self.mask_head(self.mask_pooler([features[name] for name in self.mask_in_features], boxes), instances)
