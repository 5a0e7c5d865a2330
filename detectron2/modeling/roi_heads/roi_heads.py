"""What is predicted for proposed regions: class, box, mask; which proposals that is trained on.

N images, M regions over all of them; K foreground classes, the background is class K. Proposals and detections are
Instances of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler, build_roi_pooler
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import build_mask_head
from detectron2.modeling.roi_heads.proposal_samples import (
    ProposalSample,
    foreground_of,
    foreground_rows,
    put_sample_counts,
    sampled_proposals,
    select_foreground_proposals,
)
from detectron2.modeling.sampling import subsample_rows
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.errors import InputError
from detectron2.utils.registry import Registry
from detectron2.utils.transfers import host_copy, to_device

__all__ = [
    "ROI_HEADS_REGISTRY", "ROIHeads", "Res5ROIHeads", "StandardROIHeads", "build_roi_heads",
    "select_foreground_proposals",
]  # fmt: skip

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
            raise InputError("MODEL.KEYPOINT_ON: keypoint heads are not supported, set it to False")
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
        samples = [self._label_and_sample(own, truth) for own, truth in zip(proposals, targets, strict=True)]
        sampled = sampled_proposals(proposals, targets, samples)
        classes = [host_copy(own.gt_classes) for own in sampled]
        put_sample_counts("roi_head", [(own != self.num_classes).sum() for own in classes], sampled)
        return sampled

    def _label_and_sample(self, proposals: Instances, targets: Instances) -> ProposalSample:
        matches, labels = self.proposal_matcher(pairwise_iou(targets.gt_boxes, proposals.proposal_boxes))
        rows, gt_classes = self._sample_proposals(matches, labels, targets.gt_classes)
        return ProposalSample(rows, matches[rows], gt_classes, proposals.proposal_boxes.tensor[rows])

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sampled rows, and their classes: on a GPU as :func:`subsample_rows` gives them."""
        classes = gt_classes[matched_idxs] if gt_classes.numel() else torch.full_like(matched_idxs, self.num_classes)
        classes = classes.masked_fill(matched_labels == 0, self.num_classes).masked_fill(matched_labels == -1, -1)
        return subsample_rows(classes, self.batch_size_per_image, self.positive_fraction, self.num_classes)

    def forward(
        self, images: ImageList, features: Features, proposals: Any, targets: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], Losses]:
        """In training the sampled proposals and the losses; else the detections and no losses."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def _require_eval(self, method: str) -> None:
        if self.training:
            raise RuntimeError(f"{method}: the model is in training mode, call eval() before")


def required(targets: Sequence[Instances] | None) -> Sequence[Instances]:
    """The ground truth of a training step, or ValueError where there is none."""
    if targets is None:
        raise InputError("ROI heads in training need the ground truth: each input must have 'instances'")
    return targets


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """The last stage of a ResNet run on each region, before both the box and the mask head (the C4 networks).

    Args:
        in_features: name of the one feature that ``pooler`` takes.
        res5: pooled features (M, C, H, W) to those that ``mask_head`` gets, and their mean over H, W ``box_predictor``.
        kwargs: of :class:`ROIHeads`.
    """

    box_predictor: Any
    mask_head: Any

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        pooler: ROIPooler,
        res5: nn.Module | Sequence[nn.Module],
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = list(in_features)
        self.pooler = pooler
        self.res5 = res5 if isinstance(res5, nn.Module) else nn.Sequential(*res5)
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if self.mask_on:
            self.mask_head = mask_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:  # type: ignore[override]
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        if len(names) != 1:
            raise InputError(f"MODEL.ROI_HEADS.IN_FEATURES is {list(names)}; Res5ROIHeads takes one feature")
        arguments = super().from_config(cfg)
        pooler, pooled = build_roi_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        res5, channels = cls._build_res5_block(cfg)
        predictor = FastRCNNOutputLayers(cfg, ShapeSpec(channels=channels, height=1, width=1))
        arguments.update(in_features=names, pooler=pooler, res5=res5, box_predictor=predictor)
        if cfg.MODEL.MASK_ON:
            # Height and width are by convention those before res5, which halves them.
            shape = ShapeSpec(channels=channels, height=pooled.height, width=pooled.width)
            arguments["mask_head"] = build_mask_head(cfg, shape)
        return arguments

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        """The stage and its output channels; subclasses may override this."""
        options = cfg.MODEL.RESNETS
        if options.DEFORM_ON_PER_STAGE[-1]:
            raise InputError("MODEL.RESNETS.DEFORM_ON_PER_STAGE: the res5 of Res5ROIHeads cannot be deformable")
        channels = options.RES2_OUT_CHANNELS * 8
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            stride_per_block=[2, 1, 1],
            in_channels=channels // 2,
            out_channels=channels,
            bottleneck_channels=options.NUM_GROUPS * options.WIDTH_PER_GROUP * 8,
            num_groups=options.NUM_GROUPS,
            norm=options.NORM,
            stride_in_1x1=options.STRIDE_IN_1X1,
        )
        return nn.Sequential(*blocks), channels

    def _shared_roi_transform(self, features: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Takes the maps of `in_features`; subclasses call and override this."""
        return self.res5(self.pooler(features, boxes))

    def forward(
        self, images: ImageList, features: Features, proposals: Any, targets: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], Losses]:
        if self.training:
            proposals = self.label_and_sample_proposals(proposals, required(targets))
        maps = [features[name] for name in self.in_features]
        regions = self._shared_roi_transform(maps, [own.proposal_boxes for own in proposals])
        predictions = self.box_predictor(regions.mean(dim=(2, 3)))
        if not self.training:
            detections = self.box_predictor.inference(predictions, proposals)[0]
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            foreground = foreground_of(proposals, self.num_classes)
            losses.update(self.mask_head(regions[self._foreground_regions(proposals)], foreground))
        return list(proposals), losses

    def _foreground_regions(self, proposals: Sequence[Instances]) -> torch.Tensor:
        """Rows with an object among the regions of all images."""
        rows = foreground_rows(proposals, self.num_classes)
        first = accumulate((len(own) for own in proposals), initial=0)
        all_rows = torch.cat([own + start for own, start in zip(rows, first, strict=False)])
        return to_device(all_rows, proposals[0].gt_classes.device)

    def forward_with_given_boxes(self, features: Features, instances: list[Instances]) -> list[Instances]:
        """Add the masks to detections that have ``pred_boxes`` and ``pred_classes``; only at test."""
        self._require_eval("forward_with_given_boxes")
        if not self.mask_on:
            return instances
        maps = [features[name] for name in self.in_features]
        return self.mask_head(self._shared_roi_transform(maps, [own.pred_boxes for own in instances]), instances)


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
            raise InputError("StandardROIHeads: keypoint heads are not supported")
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
            instances = foreground_of(instances, self.num_classes)
        if self.mask_pooler is None:
            return self.mask_head({name: features[name] for name in self.mask_in_features}, instances)
        boxes = [own.proposal_boxes if self.training else own.pred_boxes for own in instances]
        return self.mask_head(self.mask_pooler([features[name] for name in self.mask_in_features], boxes), instances)
