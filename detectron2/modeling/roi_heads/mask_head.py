"""Masks inside boxes (He et al. 2017, arXiv 1703.06870).

M regions over the N images of a batch; masks are S x S inside their box; K classes, 1 where all share one mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ConvTranspose2d, ShapeSpec, cat
from detectron2.modeling.box_regression import weighted
from detectron2.modeling.roi_heads.box_head import conv3x3_norm_relu, initialize
from detectron2.structures import Instances
from detectron2.utils.errors import InputError
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.registry import Registry

__all__ = [
    "ROI_MASK_HEAD_REGISTRY", "BaseMaskRCNNHead", "MaskRCNNConvUpsampleHead", "build_mask_head",
    "mask_rcnn_inference", "mask_rcnn_loss",
]  # fmt: skip

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
ROI_MASK_HEAD_REGISTRY.__doc__ = """``(cfg, input_shape: ShapeSpec) -> nn.Module`` by ``MODEL.ROI_MASK_HEAD.NAME``.

The module works as :meth:`BaseMaskRCNNHead.forward`.
"""


def _masks_of_classes(pred_mask_logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(M, S, S) of (M, K, S, S): the channel of each region's class."""
    if pred_mask_logits.shape[1] == 1:
        return pred_mask_logits[:, 0]
    return pred_mask_logits[torch.arange(len(classes), device=classes.device), classes]


def mask_rcnn_loss(pred_mask_logits: torch.Tensor, instances: Sequence[Instances], vis_period: int = 0) -> torch.Tensor:
    """Mean binary cross entropy between the masks of the true classes and the ground truth cropped to the proposals.

    Args:
        pred_mask_logits: (M, K, S, S).
        instances: foreground proposals of each image, with ``proposal_boxes``, ``gt_classes`` and ``gt_masks``.
        vis_period: puts the masks into the event storage every so many iterations; 0 never.
    """
    height, width = pred_mask_logits.shape[-2:]
    if height != width:
        raise InputError(f"mask logits must be square, got {height} x {width}")
    found = [own for own in instances if len(own)]
    if not found:
        return pred_mask_logits.sum() * 0
    device = pred_mask_logits.device
    targets = cat([own.gt_masks.crop_and_resize(own.proposal_boxes.tensor, height) for own in found], dim=0).to(device)
    logits = _masks_of_classes(pred_mask_logits, cat([own.gt_classes for own in found], dim=0))
    is_set = targets if targets.dtype == torch.bool else targets > 0.5
    _put_mask_stats(logits > 0, is_set)
    storage = event_storage_or_new()
    if vis_period > 0 and storage.iter % vis_period == 0:
        pairs = torch.cat((logits.detach().sigmoid(), is_set.to(logits.dtype)), dim=2)
        for i, pair in enumerate(pairs):
            storage.put_image(f"Left: mask prediction;   Right: mask GT ({i})", pair.expand(3, -1, -1))
    return F.binary_cross_entropy_with_logits(logits, targets.to(torch.float32), reduction="mean")


def _put_mask_stats(predicted: torch.Tensor, is_set: torch.Tensor) -> None:
    wrong = predicted != is_set
    counts = torch.stack((wrong, wrong & ~is_set, wrong & is_set, is_set)).flatten(1).sum(dim=1)
    event_storage_or_new().put_from_device(counts, partial(_mask_stats, is_set.numel()))


def _mask_stats(count: int, numbers: list[float]) -> dict[str, float]:
    num_wrong, num_false_positive, num_false_negative, num_set = numbers
    return {
        "mask_rcnn/accuracy": 1 - num_wrong / max(count, 1),
        "mask_rcnn/false_positive": num_false_positive / max(count - num_set, 1),
        "mask_rcnn/false_negative": num_false_negative / max(num_set, 1),
    }


def mask_rcnn_inference(pred_mask_logits: torch.Tensor, pred_instances: Sequence[Instances]) -> None:
    """Give each image's instances, in place, ``pred_masks``: (n, 1, S, S) probabilities of their ``pred_classes``."""
    if not pred_instances:
        return
    classes = cat([own.pred_classes for own in pred_instances], dim=0)
    probs = _masks_of_classes(pred_mask_logits, classes).float().sigmoid().unsqueeze(1)
    for own_probs, own in zip(probs.split([len(own) for own in pred_instances]), pred_instances, strict=True):
        own.pred_masks = own_probs


class BaseMaskRCNNHead(nn.Module):
    """Loss and inference around ``layers``, which a subclass writes; see :func:`mask_rcnn_loss` for ``vis_period``."""

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        return {"vis_period": cfg.VIS_PERIOD}

    def forward(self, x: torch.Tensor, instances: list[Instances]) -> Any:
        """In training ``{"loss_mask": scalar}``; else ``instances``, with ``pred_masks`` added.

        Args:
            x: pooled features (M, C, H, W).
            instances: the M regions: foreground proposals with ground truth in training, detections at test.
        """
        logits = self.layers(x)
        if self.training:
            losses = {"loss_mask": mask_rcnn_loss(logits, instances, self.vis_period)}
            return weighted(losses, {"loss_mask": self.loss_weight})
        mask_rcnn_inference(logits, instances)
        return instances

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """Pooled features (M, C, H, W) -> mask logits (M, K or 1, S, S)."""
        raise NotImplementedError(f"{type(self).__name__} must define layers()")


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):  # type: ignore[misc]
    """3x3 convolutions (``mask_fcn1``, ...), a ``deconv`` that doubles the size, and the 1x1 ``predictor``.

    Args:
        num_classes: K, or 1 for a mask shared by all classes.
        conv_dims: output channels of the 3x3 convolutions and, last, of the deconvolution.
        conv_norm: norm of the 3x3 convolutions; "" gives them a bias instead.
        kwargs: of :class:`BaseMaskRCNNHead`.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: Sequence[int], conv_norm: str = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not conv_dims:
            raise InputError("MaskRCNNConvUpsampleHead: conv_dims is empty; its last value is the deconvolution's")
        channels = input_shape.channels or 0
        self.conv_norm_relus: list[nn.Module] = []
        for number, dim in enumerate(conv_dims[:-1], start=1):
            conv = conv3x3_norm_relu(channels, dim, conv_norm)
            self.add_module(f"mask_fcn{number}", conv)
            self.conv_norm_relus.append(conv)
            channels = dim
        self.deconv = ConvTranspose2d(channels, conv_dims[-1], kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU(inplace=True)
        self.predictor = Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        initialize([*self.conv_norm_relus, self.deconv])
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if head.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (head.NUM_CONV + 1),
            "conv_norm": head.NORM,
        }

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        return nn.Sequential.forward(self, x)


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> Any:
    """Build ``MODEL.ROI_MASK_HEAD.NAME`` for pooled features of this shape."""
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)
