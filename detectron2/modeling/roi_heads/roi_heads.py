"""What is predicted for proposed regions: class, box, mask.

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
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import build_mask_head
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "StandardROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
]

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = """
Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> ROIHeads``, found by ``MODEL.ROI_HEADS.NAME``.
"""

Features = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build ``MODEL.ROI_HEADS.NAME`` for these features.

    Raises:
        KeyError: no heads of this name are registered.
    """
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
        proposal_matcher: labels proposals by their IoU with the ground truth.
        proposal_append_gt: add the ground-truth boxes to the proposals in training, so that even an untrained proposal
            network gives the heads something to learn from.
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

        Args:
            proposals: with ``proposal_boxes`` and ``objectness_logits``.
            targets: with ``gt_boxes``, ``gt_classes`` and more ``gt_*`` fields.

        Returns:
            Proposals with ``gt_classes`` (K for background) and, where the image has objects, the other ``gt_*``
            fields; those of background proposals mean nothing.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled = [self._label_and_sample(own, truth) for own, truth in zip(proposals, targets, strict=True)]
        total = sum(len(own) for own in sampled)
        background = [(own.gt_classes == self.num_classes).sum() for own in sampled]
        num_background = int(torch.stack(background).sum()) if background else 0
        storage = get_event_storage()
        storage.put_scalar("roi_head/num_fg_samples", (total - num_background) / max(len(sampled), 1))
        storage.put_scalar("roi_head/num_bg_samples", num_background / max(len(sampled), 1))
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
        self,
        images: ImageList,
        features: Features,
        proposals: Sequence[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], Losses]:
        """In training the sampled proposals and the losses; else the detections and no losses."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """A box head and, optionally, a mask head, each with its own pooler and layers.

    Args:
        box_in_features: names of the features that ``box_pooler`` takes.
        box_head: pooled features to features of each box.
        box_predictor: those to scores and deltas; with ``losses`` and ``inference``, as FastRCNNOutputLayers.
        mask_in_features, mask_pooler, mask_head: the same for masks; all None without. Without ``mask_pooler`` the mask
            head gets the dict of whole features.
        keypoint_in_features, keypoint_pooler, keypoint_head: not supported, must be None.
        train_on_pred_boxes: train the other heads on the predicted boxes instead of the proposals.
        kwargs: of :class:`ROIHeads`.
    """

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
        keypoint_in_features: Sequence[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
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
        if cfg.MODEL.KEYPOINT_ON:
            raise ValueError("MODEL.KEYPOINT_ON: keypoint heads are not supported, set it to False")
        arguments = super().from_config(cfg)
        arguments["train_on_pred_boxes"] = cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
        arguments.update(cls._init_box_head(cfg, input_shape))
        arguments.update(cls._init_mask_head(cfg, input_shape))
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The ``box_*`` arguments; subclasses may override this."""
        pooler, pooled = _configured_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        box_head: Any = build_box_head(cfg, pooled)
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
        if not cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE:
            names = cfg.MODEL.ROI_HEADS.IN_FEATURES
            head = build_mask_head(cfg, {name: input_shape[name] for name in names})  # type: ignore[arg-type]
            return {"mask_in_features": names, "mask_pooler": None, "mask_head": head}
        pooler, pooled = _configured_pooler(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        return {
            "mask_in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "mask_pooler": pooler,
            "mask_head": build_mask_head(cfg, pooled),
        }

    def forward(
        self,
        images: ImageList,
        features: Features,
        proposals: Sequence[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], Losses]:
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        if targets is None:
            raise ValueError("ROI heads in training need the ground truth: each input must have 'instances'")
        sampled = self.label_and_sample_proposals(proposals, targets)
        losses = self._forward_box(features, sampled)
        losses.update(self._forward_mask(features, sampled))
        return sampled, losses

    def forward_with_given_boxes(self, features: Features, instances: list[Instances]) -> list[Instances]:
        """Add the masks to detections that have ``pred_boxes`` and ``pred_classes``; only at test."""
        if self.training:
            raise RuntimeError("forward_with_given_boxes: the model is in training mode, call eval() before")
        return self._forward_mask(features, instances)

    def _forward_box(self, features: Features, proposals: Sequence[Instances]) -> Any:
        """In training the losses, else the detections."""
        maps = [features[name] for name in self.box_in_features]
        predictions = self.box_predictor(self.box_head(self.box_pooler(maps, [p.proposal_boxes for p in proposals])))
        if not self.training:
            return self.box_predictor.inference(predictions, proposals)[0]  # type: ignore[operator]
        losses = self.box_predictor.losses(predictions, proposals)  # type: ignore[operator]
        if self.train_on_pred_boxes:
            self._move_to_predictions(predictions, proposals)
        return losses

    @torch.no_grad()
    def _move_to_predictions(self, predictions: Any, proposals: Sequence[Instances]) -> None:
        boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)  # type: ignore[operator]
        for own, own_boxes in zip(proposals, boxes, strict=True):
            own.proposal_boxes = Boxes(own_boxes)

    def _forward_mask(self, features: Features, instances: Any) -> Any:
        """In training the losses for the foreground of sampled proposals, else the detections with their masks."""
        if not self.mask_on:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_pooler is None:
            return self.mask_head({name: features[name] for name in self.mask_in_features}, instances)  # type: ignore[misc]
        boxes = [own.proposal_boxes if self.training else own.pred_boxes for own in instances]
        pooled = self.mask_pooler([features[name] for name in self.mask_in_features], boxes)
        return self.mask_head(pooled, instances)  # type: ignore[misc]


def _configured_pooler(cfg: CfgNode, head: CfgNode, input_shape: dict[str, ShapeSpec]) -> tuple[ROIPooler, ShapeSpec]:
    """The pooler of a head over ``MODEL.ROI_HEADS.IN_FEATURES``, and the shape it pools to."""
    shapes = [input_shape[name] for name in cfg.MODEL.ROI_HEADS.IN_FEATURES]
    channels = {shape.channels for shape in shapes}
    if len(channels) != 1:
        raise ValueError(f"MODEL.ROI_HEADS.IN_FEATURES: the features differ in channels: {sorted(map(str, channels))}")
    size = head.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=[1.0 / (shape.stride or 1) for shape in shapes],
        sampling_ratio=head.POOLER_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
    )
    return pooler, ShapeSpec(channels=channels.pop(), height=size, width=size)
