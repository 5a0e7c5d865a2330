"""What all heads for proposed regions share: labels and samples of the proposals.

N images; K foreground classes, the background is class K. Proposals and detections are Instances of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, nonzero_tuple
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry

__all__ = ["ROI_HEADS_REGISTRY", "ROIHeads", "build_roi_heads", "select_foreground_proposals"]

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = "``(cfg, input_shape: dict[str, ShapeSpec]) -> ROIHeads`` by ``MODEL.ROI_HEADS.NAME``."

Features = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build ``MODEL.ROI_HEADS.NAME`` for these features; KeyError for a name that is not registered."""
    name = cfg.MODEL.ROI_HEADS.NAME
    if name not in ROI_HEADS_REGISTRY:
        known = sorted(registered for registered, _ in ROI_HEADS_REGISTRY)
        raise KeyError(f"MODEL.ROI_HEADS.NAME is '{name}'; known heads: {', '.join(known)}")
    return ROI_HEADS_REGISTRY.get(name)(cfg, input_shape)


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Of each image the proposals whose ``gt_classes`` is neither ``bg_label`` nor -1, and their (R,) bool mask."""
    masks = [(own.gt_classes != -1) & (own.gt_classes != bg_label) for own in proposals]
    return [own[nonzero_tuple(mask)[0]] for own, mask in zip(proposals, masks, strict=True)], masks


class ROIHeads(nn.Module):
    """Labels and samples proposals for training; a subclass predicts.

    Args:
        num_classes: K.
        batch_size_per_image, positive_fraction: proposals an image in the losses, and the largest share of objects.
        proposal_append_gt: add the ground-truth boxes to the proposals in training, for a start before they are good.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        if cfg.MODEL.KEYPOINT_ON:
            raise ValueError("MODEL.KEYPOINT_ON: keypoint heads are not supported, set it to False")
        heads = cfg.MODEL.ROI_HEADS
        return {
            "num_classes": heads.NUM_CLASSES,
            "batch_size_per_image": heads.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": heads.POSITIVE_FRACTION,
            "proposal_append_gt": heads.PROPOSAL_APPEND_GT,
            "proposal_matcher": Matcher(heads.IOU_THRESHOLDS, heads.IOU_LABELS, allow_low_quality_matches=False),
        }

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: Sequence[Instances], targets: Sequence[Instances]
    ) -> list[Instances]:
        """A random sample of each image's proposals with the ground truth they are matched with.

        They get ``gt_classes`` (K for background) and, where the image has objects, the other ``gt_*`` fields of
        ``targets``; those of background proposals mean nothing.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled = [self._label_and_sample(own, truth) for own, truth in zip(proposals, targets, strict=True)]
        put_sample_counts("roi_head", [(own.gt_classes != self.num_classes).sum() for own in sampled], sampled)
        return sampled

    def _label_and_sample(self, proposals: Instances, targets: Instances) -> Instances:
        matches, labels = self.proposal_matcher(pairwise_iou(targets.gt_boxes, proposals.proposal_boxes))
        rows, gt_classes = self._sample_proposals(matches, labels, targets.gt_classes)
        sampled = proposals[rows]
        sampled.gt_classes = gt_classes
        if len(targets):
            fields = targets.get_fields().items()
            truth = {name: value for name, value in fields if name.startswith("gt_") and not sampled.has(name)}
            matched = Instances(targets.image_size, **truth)[matches[rows]]
            for name, value in matched.get_fields().items():
                sampled.set(name, value)
        return sampled

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sampled rows, and their classes."""
        background = torch.full_like(matched_idxs, self.num_classes)
        classes = gt_classes[matched_idxs] if gt_classes.numel() else background
        classes = torch.where(matched_labels == 0, background, classes).masked_fill(matched_labels == -1, -1)
        chosen = subsample_labels(classes, self.batch_size_per_image, self.positive_fraction, self.num_classes)
        rows = torch.cat(chosen)
        return rows, classes[rows]

    def forward(
        self, images: ImageList, features: Features, proposals: Any, targets: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], Losses]:
        """In training the sampled proposals and the losses; else the detections and no losses."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def _require_eval(self, method: str) -> None:
        if self.training:
            raise RuntimeError(f"{method}: the model is in training mode, call eval() before")


def put_sample_counts(scope: str, foreground: Sequence[torch.Tensor], sampled: Sequence[Instances]) -> None:
    """Write how many of the proposals of an image are foreground and background, from each image's foreground ()."""
    found, images = int(sum(foreground)), max(len(sampled), 1)
    storage = get_event_storage()
    storage.put_scalar(f"{scope}/num_fg_samples", found / images)
    storage.put_scalar(f"{scope}/num_bg_samples", (sum(len(own) for own in sampled) - found) / images)


def required(targets: Sequence[Instances] | None) -> Sequence[Instances]:
    """The ground truth of a training step, or ValueError where there is none."""
    if targets is None:
        raise ValueError("ROI heads in training need the ground truth: each input must have 'instances'")
    return targets
