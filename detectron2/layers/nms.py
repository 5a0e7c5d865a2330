"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import batched_nms as _batched_nms
from torchvision.ops import nms

__all__ = ["batched_nms", "nms"]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes (Nx4, (x0, y0, x1, y1)) within each group of equal `idxs` (N); kept indices, best score first.

    Works in float32 whatever the boxes' type: the offsets that keep groups apart do not fit half precision.
    """
    return _batched_nms(boxes.float(), scores, idxs, iou_threshold)
