"""Heads behind a stage of the backbone that runs on each region (He et al. 2016, arXiv 1512.03385, appendix A).

M regions over the N images of a batch. Proposals and detections are Instances of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from detectron2.modeling.poolers import ROIPooler, build_roi_pooler
from detectron2.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    Features,
    Losses,
    ROIHeads,
    required,
    select_foreground_proposals,
)
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import build_mask_head
from detectron2.structures import Boxes, ImageList, Instances

__all__ = ["Res5ROIHeads"]


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
            raise ValueError(f"MODEL.ROI_HEADS.IN_FEATURES is {list(names)}; Res5ROIHeads takes one feature")
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
            raise ValueError("MODEL.RESNETS.DEFORM_ON_PER_STAGE: the res5 of Res5ROIHeads cannot be deformable")
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
            foreground, masks = select_foreground_proposals(proposals, self.num_classes)
            losses.update(self.mask_head(regions[torch.cat(masks)], foreground))
        return list(proposals), losses

    def forward_with_given_boxes(self, features: Features, instances: list[Instances]) -> list[Instances]:
        """Add the masks to detections that have ``pred_boxes`` and ``pred_classes``; only at test."""
        self._require_eval("forward_with_given_boxes")
        if not self.mask_on:
            return instances
        maps = [features[name] for name in self.in_features]
        return self.mask_head(self._shared_roi_transform(maps, [own.pred_boxes for own in instances]), instances)
