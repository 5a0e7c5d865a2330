"""Region proposal network (Ren et al. 2015, arXiv 1506.01497).

N images, L feature levels, A anchors a pixel of a level, R anchors over all levels of an image; boxes are
(x0, y0, x1, y1) in pixels of the input image. Anchor labels: 1 object, 0 background, -1 not used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, cat
from detectron2.layers.cpu import rpn_head_gradient
from detectron2.layers.derived import Derived
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator, build_anchor_generator
from detectron2.modeling.box_regression import Box2BoxTransform, box_regression_loss, weighted
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.proposal_utils import suppress_proposals, top_indices
from detectron2.modeling.sampling import rows_where, subsample_mask
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.errors import InputError
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.memory import retry_if_cuda_oom
from detectron2.utils.registry import Registry

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
RPN_HEAD_REGISTRY.__doc__ = """``(cfg, input_shape: list[ShapeSpec]) -> nn.Module`` by ``MODEL.RPN.HEAD_NAME``.

The module maps L feature maps to L maps of objectness logits and L maps of anchor deltas.
"""


def build_rpn_head(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> nn.Module:
    """Build ``MODEL.RPN.HEAD_NAME`` for these feature maps."""
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)


def _same(values: Sequence[Any], what: str) -> Any:
    if len(set(values)) != 1:
        raise InputError(f"the RPN head is shared by all levels: {what} must be the same, got {list(values)}")
    return values[0]


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3x3 convolutions of ``conv_dims`` channels (-1: the input's), then 1x1 to objectness and deltas of A anchors."""

    cpu_kernels = True

    @configurable
    def __init__(
        self, *, in_channels: int, num_anchors: int, box_dim: int = 4, conv_dims: Sequence[int] = (-1,)
    ) -> None:
        super().__init__()
        channels = [in_channels]
        for dim in conv_dims:
            channels.append(channels[-1] if dim == -1 else dim)
        if not conv_dims or min(channels) <= 0:
            raise InputError(f"MODEL.RPN.CONV_DIMS is {list(conv_dims)}; it needs numbers above 0, or -1")
        relu = nn.ReLU(inplace=True)
        convs = [Conv2d(a, b, kernel_size=3, padding=1, activation=relu) for a, b in pairwise(channels)]
        names = [f"conv{i}" for i in range(len(convs))]
        self.conv = convs[0] if len(convs) == 1 else nn.Sequential(OrderedDict(zip(names, convs, strict=True)))
        self.objectness_logits = nn.Conv2d(channels[-1], num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(channels[-1], num_anchors * box_dim, kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        anchors: Any = build_anchor_generator(cfg, input_shape)
        return {
            "in_channels": _same([shape.channels for shape in input_shape], "channels"),
            "num_anchors": _same(anchors.num_anchors, "anchors a pixel"),
            "box_dim": anchors.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """L maps (N, C, H, W) -> L logits (N, A, H, W) and L deltas (N, A * 4, H, W)."""
        if self._can_take_sparse_gradient(features):
            layers = (self.conv, self.objectness_logits, self.anchor_deltas)
            parameters = [parameter for layer in layers for parameter in layer.parameters()]  # weight, bias of each
            maps = [rpn_head_gradient.with_sparse_gradient(self._maps, feature, parameters) for feature in features]
        else:
            maps = [self._maps(feature) for feature in features]
        return [logits for logits, _ in maps], [deltas for _, deltas in maps]

    def _maps(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.conv(feature)
        return self.objectness_logits(hidden), self.anchor_deltas(hidden)

    def _can_take_sparse_gradient(self, features: Sequence[torch.Tensor]) -> bool:
        """Not on a GPU, which would have to wait for the number of positions, and not with hooks or other layers."""
        layers = (self.conv, self.objectness_logits, self.anchor_deltas)
        plain = [type(layer) for layer in layers] == [Conv2d, nn.Conv2d, nn.Conv2d]
        hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
        return (
            self.cpu_kernels
            and torch.is_grad_enabled()
            and plain
            and not hooked
            and not any(one._backward_hooks for one in (*layers, *self.parameters()))
            and all(feature.device.type == "cpu" and feature.dtype == torch.float32 for feature in features)
            and not torch.is_autocast_enabled("cpu")
        )


def _in_float32(levels: list[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors (N, K_l, ...) in float32; those of 16 bits together, in one pass and so in one of the gradient."""
    if levels[0].dtype is torch.float32:
        return levels
    return list(cat(levels, dim=1).float().split([own.shape[1] for own in levels], dim=1))


def _put_anchor_counts(labels: torch.Tensor, count: int) -> None:
    """Write how many anchors of an image are sampled, from the labels of `count` images."""

    def means(numbers: list[float]) -> dict[str, float]:
        return {"rpn/num_pos_anchors": numbers[0] / count, "rpn/num_neg_anchors": numbers[1] / count}

    event_storage_or_new().put_from_device(torch.stack((labels == 1, labels == 0)).sum(dim=1), means)


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Labels, losses and proposals around an RPN head.

    Args:
        in_features: names of the L feature maps, in the order of the anchor generator's strides.
        batch_size_per_image, positive_fraction: anchors an image in the losses, and the largest share of objects.
        pre_nms_topk, post_nms_topk: (in training, at test) candidates a level and proposals an image.
        nms_thresh, min_box_size: see :func:`find_top_rpn_proposals`.
        anchor_boundary_thresh: anchors that stick out of the image by more pixels are not used; below 0 all are.
        loss_weight: one for both losses, or by name (loss_rpn_cls, loss_rpn_loc).
        box_reg_loss_type, smooth_l1_beta: see :func:`box_regression_loss`.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = list(in_features)
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = dict(zip((True, False), pre_nms_topk, strict=True))  # by self.training
        self.post_nms_topk = dict(zip((True, False), post_nms_topk, strict=True))
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        names = ("loss_rpn_cls", "loss_rpn_loc")
        self.loss_weight = loss_weight if isinstance(loss_weight, dict) else dict.fromkeys(names, loss_weight)
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta
        self._kept_anchors: Derived[list[torch.Tensor]] = Derived()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        rpn = cfg.MODEL.RPN
        shapes = [input_shape[name] for name in rpn.IN_FEATURES]
        return {
            "in_features": rpn.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(rpn.IOU_THRESHOLDS, rpn.IOU_LABELS, allow_low_quality_matches=True),
            "box2box_transform": Box2BoxTransform(weights=rpn.BBOX_REG_WEIGHTS),
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
            "pre_nms_topk": (rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": rpn.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": rpn.LOSS_WEIGHT,
                "loss_rpn_loc": rpn.BBOX_REG_LOSS_WEIGHT * rpn.LOSS_WEIGHT,
            },
            "box_reg_loss_type": rpn.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": rpn.SMOOTH_L1_BETA,
        }

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], gt_instances: Sequence[Instances] | None = None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Proposals of each image (``proposal_boxes``, ``objectness_logits``) and, in training, the losses."""
        maps = [features[name] for name in self.in_features]
        anchors = self._anchors_of(maps)
        logit_maps, delta_maps = self.rpn_head(maps)
        # (N, A * D, H, W) -> (N, H * W * A, D): the order of the anchors.
        logits = _in_float32([x.permute(0, 2, 3, 1).flatten(1) for x in logit_maps])
        deltas = _in_float32([x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for x in delta_maps])
        losses = {}
        if self.training:
            if gt_instances is None:
                raise InputError("RPN in training needs the ground truth: each input must have 'instances'")
            labels, matched = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, labels, deltas, matched)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    def _anchors_of(self, maps: Sequence[torch.Tensor]) -> list[Boxes]:
        """Those of the last maps where the sizes are the same; other generators may look at more than sizes."""
        if type(self.anchor_generator) is not DefaultAnchorGenerator:
            return self.anchor_generator(maps)
        generator, sizes = self.anchor_generator, [one.shape[-2:] for one in maps]
        kept = self._kept_anchors.get(generator.cell_anchors, lambda: [own.tensor for own in generator(maps)], sizes)
        return [Boxes(own) for own in kept]

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """For each image the labels (R,) int8 of a random sample of anchors, and each one's ground-truth box (R, 4)."""
        all_anchors = Boxes.cat(list(anchors))
        labels, matched = [], []
        for truth in gt_instances:
            quality = retry_if_cuda_oom(pairwise_iou)(truth.gt_boxes, all_anchors)
            indices, own_labels = retry_if_cuda_oom(self.anchor_matcher)(quality)
            own_labels = own_labels.to(all_anchors.device)
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(truth.image_size, self.anchor_boundary_thresh)  # type: ignore[arg-type]
                own_labels = own_labels.masked_fill(~inside, -1)
            labels.append(own_labels)
            boxes = truth.gt_boxes.tensor
            matched.append(boxes[indices.to(boxes.device)] if len(boxes) else torch.zeros_like(all_anchors.tensor))
        all_labels = torch.stack(labels)
        sampled = subsample_mask(all_labels, self.batch_size_per_image, self.positive_fraction, 0)
        return list(torch.where(sampled, all_labels, -1)), matched

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[torch.Tensor],
        gt_labels: Sequence[torch.Tensor],
        pred_anchor_deltas: Sequence[torch.Tensor],
        gt_boxes: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Binary cross entropy of the sampled anchors and box loss of the objects among them, over the batch size.

        Args:
            anchors: of each of the L levels.
            pred_objectness_logits, pred_anchor_deltas: L tensors (N, K_l) and (N, K_l, 4).
            gt_labels, gt_boxes: N tensors (R,) and (R, 4) from :meth:`label_and_sample_anchors`.
        """
        count, labels = len(gt_labels), torch.cat(list(gt_labels))
        sampled, weights = rows_where(labels >= 0)
        targets = labels[sampled].to(torch.float32)
        logits = cat(list(pred_objectness_logits), dim=1).flatten()[sampled]
        # Labels of -1, whose weight is 0, must be none that makes the loss infinite.
        cls_loss = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), weights, reduction="sum")
        objects, is_object = rows_where(labels == 1)
        loc_loss = box_regression_loss(
            self.box2box_transform,
            cat(list(pred_anchor_deltas), dim=1).flatten(0, 1)[objects],
            Boxes.cat(list(anchors)).tensor.expand(count, -1, -1).flatten(0, 1)[objects],
            torch.cat(list(gt_boxes))[objects],
            self.box_reg_loss_type,
            self.smooth_l1_beta,
            is_object,
        )
        _put_anchor_counts(labels, count)
        normalizer = self.batch_size_per_image * count
        losses = {"loss_rpn_cls": cls_loss / normalizer, "loss_rpn_loc": loc_loss / normalizer}
        return weighted(losses, self.loss_weight)

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[torch.Tensor],
        pred_anchor_deltas: Sequence[torch.Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Proposals of each image; no gradient flows through their boxes.

        Only the candidates that can survive ``pre_nms_topk`` are decoded.
        """
        chosen, deltas, logits = [], [], []
        for level, scores, own_deltas in zip(anchors, pred_objectness_logits, pred_anchor_deltas, strict=True):
            index = top_indices(scores, self.pre_nms_topk[self.training])
            chosen.append(level.tensor[index])
            deltas.append(own_deltas.gather(1, index.unsqueeze(-1).expand(-1, -1, 4)))
            logits.append(scores.gather(1, index))
        candidates = cat(deltas, dim=1)
        boxes = self.box2box_transform.apply_deltas(candidates.flatten(0, 1), cat(chosen, dim=1).flatten(0, 1))
        limits = (self.nms_thresh, self.post_nms_topk[self.training], self.min_box_size, self.training)
        return suppress_proposals([boxes.view_as(candidates)], logits, image_sizes, *limits)
