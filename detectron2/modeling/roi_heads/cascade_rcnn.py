"""Cascade R-CNN: box heads in a row, each correcting the boxes of the one before (Cai & Vasconcelos 2018, 1712.00726).

N images, S stages; R boxes of one image; K foreground classes, the background is class K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler, build_roi_pooler
from detectron2.modeling.roi_heads import roi_heads as base
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.errors import InputError
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.transfers import host_copies, to_device

__all__ = ["CascadeROIHeads"]

# What one stage predicted, and the proposals it predicted that for.
StageOutput = tuple[Any, Sequence[Instances]]


@base.ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(base.StandardROIHeads):
    """Box heads of rising IoU thresholds in a row; the rest is that of :class:`StandardROIHeads`.

    The first stage gets the sampled proposals, each later one the corrected boxes, matched anew; the mask head is
    trained on the sampled proposals. Losses are named ``loss_cls_stage0``, ...; events are named ``stage0/``, ...

    Args:
        box_heads, box_predictors, proposal_matchers: one a stage; boxes are shared by all classes.
        kwargs: of :class:`StandardROIHeads`, without ``proposal_matcher``: the first of ``proposal_matchers`` serves.

    Raises:
        ValueError: the three lists differ in length, or ``proposal_matcher`` is given.
    """

    @configurable
    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        proposal_matchers: Sequence[Matcher],
        **kwargs: Any,
    ) -> None:
        if "proposal_matcher" in kwargs:
            raise InputError("CascadeROIHeads takes proposal_matchers, one a stage, not one proposal_matcher")
        counts = [len(box_heads), len(box_predictors), len(proposal_matchers)]
        if len(set(counts)) != 1:
            raise InputError(
                f"CascadeROIHeads: {counts} box_heads, box_predictors, proposal_matchers; make them as many"
            )
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.num_cascade_stages = len(box_heads)
        self.proposal_matchers = list(proposal_matchers)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        arguments = super().from_config(cfg, input_shape)
        del arguments["proposal_matcher"]
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        _check_cascade_config(cfg)
        cascade = cfg.MODEL.ROI_BOX_CASCADE_HEAD
        pooler, pooled = build_roi_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        heads = [build_box_head(cfg, pooled) for _ in cascade.IOUS]
        predictors = [
            FastRCNNOutputLayers(cfg, head.output_shape, box2box_transform=Box2BoxTransform(weights=weights))
            for head, weights in zip(heads, cascade.BBOX_REG_WEIGHTS, strict=True)
        ]
        return {
            "box_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "box_pooler": pooler,
            "box_heads": heads,
            "box_predictors": predictors,
            "proposal_matchers": [Matcher([iou], [0, 1], allow_low_quality_matches=False) for iou in cascade.IOUS],
        }

    def forward(
        self, images: ImageList, features: base.Features, proposals: Any, targets: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], base.Losses]:
        if not self.training:
            return super().forward(images, features, proposals)
        sampled = self.label_and_sample_proposals(proposals, base.required(targets))
        return sampled, {**self._forward_box(features, sampled, targets), **self._forward_mask(features, sampled)}

    def _forward_box(
        self, features: base.Features, proposals: Sequence[Instances], targets: Sequence[Instances] | None = None
    ) -> Any:
        maps = [features[name] for name in self.box_in_features]
        image_sizes = [own.image_size for own in proposals]
        outputs: list[StageOutput] = []
        for stage in range(self.num_cascade_stages):
            if stage > 0:
                boxes = self.box_predictor[stage - 1].predict_boxes(*outputs[-1])
                proposals = self._create_proposals_from_boxes(boxes, image_sizes)
                if self.training:
                    proposals = self._match_and_label_boxes(proposals, stage, base.required(targets))
            outputs.append((self._run_stage(maps, proposals, stage), proposals))
        return self._stage_losses(outputs) if self.training else self._detections(outputs)

    def _run_stage(self, features: list[torch.Tensor], proposals: Sequence[Instances], stage: int) -> Any:
        pooled = self.box_pooler(features, [own.proposal_boxes for own in proposals])
        if pooled.requires_grad:
            # The losses of all stages are added: shared layers would get S times the gradient of a single head.
            pooled.register_hook(self._mean_over_stages)
        return self.box_predictor[stage](self.box_head[stage](pooled))

    def _mean_over_stages(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (1.0 / self.num_cascade_stages)

    def _create_proposals_from_boxes(
        self, boxes: Sequence[torch.Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """Boxes (R, 4) of each image as proposals of the next stage: inside the image, and without gradient.

        In training those without area are dropped; at test they stay, as the stages' scores are averaged row by row.
        """
        clipped = [Boxes(own.detach()) for own in boxes]
        for own, image_size in zip(clipped, image_sizes, strict=True):
            own.clip(image_size)
        if self.training:
            kept = host_copies([own.nonempty() for own in clipped])
            clipped = [_rows(own, is_kept) for own, is_kept in zip(clipped, kept, strict=True)]
        sized = zip(clipped, image_sizes, strict=True)
        return [Instances(image_size, proposal_boxes=own) for own, image_size in sized]

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: Sequence[Instances]
    ) -> list[Instances]:
        """Give all proposals, in place, the ``gt_classes`` and ``gt_boxes`` that the stage's own threshold finds."""
        found = []
        for own, truth in zip(proposals, targets, strict=True):
            matches, labels = self.proposal_matchers[stage](pairwise_iou(truth.gt_boxes, own.proposal_boxes))
            own.gt_classes = torch.full_like(matches, self.num_classes)
            if len(truth):
                own.gt_classes = torch.where(labels == 0, own.gt_classes, truth.gt_classes[matches])
                own.gt_boxes = truth.gt_boxes[matches]
            found.append((labels == 1).sum())
        base.put_sample_counts(f"stage{stage}/roi_head", found, proposals)
        return proposals

    def _stage_losses(self, outputs: Sequence[StageOutput]) -> base.Losses:
        losses = {}
        for stage, (predictor, output) in enumerate(zip(self.box_predictor, outputs, strict=True)):
            with event_storage_or_new().name_scope(f"stage{stage}"):
                own = predictor.losses(*output)
            losses.update({f"{name}_stage{stage}": loss for name, loss in own.items()})
        return losses

    def _detections(self, outputs: Sequence[StageOutput]) -> list[Instances]:
        """The last stage's boxes with the mean of all stages' probabilities."""
        last = self.box_predictor[-1]
        stages = [p.predict_probs(*output) for p, output in zip(self.box_predictor, outputs, strict=True)]
        probs = [torch.stack(own).mean(dim=0) for own in zip(*stages, strict=True)]
        image_sizes = [own.image_size for own in outputs[-1][1]]
        limits = (last.test_score_thresh, last.test_nms_thresh, last.test_topk_per_image)
        return fast_rcnn_inference(last.predict_boxes(*outputs[-1]), probs, image_sizes, *limits)[0]


def _rows(boxes: Boxes, is_kept: torch.Tensor) -> Boxes:
    """The boxes of which the processor knows that they are kept, usually all."""
    return boxes if bool(is_kept.all()) else boxes[to_device(is_kept.nonzero().flatten(), boxes.device)]


def _check_cascade_config(cfg: CfgNode) -> None:
    cascade, first = cfg.MODEL.ROI_BOX_CASCADE_HEAD, cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[0]
    weights, ious = len(cascade.BBOX_REG_WEIGHTS), len(cascade.IOUS)
    if weights != ious:
        raise InputError(f"MODEL.ROI_BOX_CASCADE_HEAD: {weights} BBOX_REG_WEIGHTS for {ious} IOUS")
    if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
        raise InputError("CascadeROIHeads shares boxes between classes: set MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG")
    if cascade.IOUS[0] != first:
        raise InputError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS begins with {cascade.IOUS[0]}, MODEL.ROI_HEADS.IOU_THRESHOLDS with "
            f"{first}; the first stage uses both, make them equal"
        )
