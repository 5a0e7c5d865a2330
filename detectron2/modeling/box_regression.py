"""Boxes as corrections of other boxes, and the losses on them.

R boxes, (x0, y0, x1, y1) in pixels; deltas are (dx, dy, dw, dh) (Girshick et al. 2014, arXiv 1311.2524, appendix C).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torchvision.ops import generalized_box_iou_loss

from detectron2.layers import ciou_loss, diou_loss

# A box grows at most 62.5-fold: exp() of a wild dw would overflow.
DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)

IOU_LOSSES = {"giou": generalized_box_iou_loss, "diou": diou_loss, "ciou": ciou_loss}


def _centre_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and sizes, each (..., 2) as (x, y)."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


class Box2BoxTransform:
    """Shift of the centre in units of the size, and log ratio of the sizes, each scaled by a weight.

    Args:
        weights: of dx, dy, dw, dh; larger weights give larger deltas to learn.
        scale_clamp: upper bound of dw and dh when deltas are applied.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = DEFAULT_SCALE_CLAMP) -> None:
        self.weights = tuple(weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Deltas (R, 4) that turn each source box into its target; both (R, 4), sources with positive sizes."""
        (src_centre, src_size), (centre, size) = _centre_size(src_boxes), _centre_size(target_boxes)
        deltas = *((centre - src_centre) / src_size).unbind(-1), *torch.log(size / src_size).unbind(-1)
        weighed = zip(self.weights, deltas, strict=True)
        return torch.stack([delta if weight == 1 else weight * delta for weight, delta in weighed], dim=-1)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (R, 4 k) in float32 from ``deltas`` (R, 4 k), k corrections of each of ``boxes`` (R, 4)."""
        centre, size = _centre_size(boxes.unsqueeze(1))
        weighed = zip(
            self.weights, deltas.float().reshape(deltas.shape[0], deltas.shape[1] // 4, 4).unbind(-1), strict=True
        )
        dx, dy, dw, dh = (delta if weight == 1 else delta / weight for weight, delta in weighed)
        x = centre[..., 0] + dx * size[..., 0]
        y = centre[..., 1] + dy * size[..., 1]
        half_w = 0.5 * size[..., 0] * torch.exp(dw.clamp(max=self.scale_clamp))
        half_h = 0.5 * size[..., 1] * torch.exp(dh.clamp(max=self.scale_clamp))
        return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), dim=-1).flatten(1)


def weighted(losses: dict[str, torch.Tensor], weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Each loss times its weight, 1 where it has none."""
    factors = {name: weights.get(name, 1.0) for name in losses}
    return {name: loss if factors[name] == 1 else loss * factors[name] for name, loss in losses.items()}


def box_regression_loss(
    transform: Box2BoxTransform,
    deltas: torch.Tensor,
    boxes: torch.Tensor,
    target_boxes: torch.Tensor,
    loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
    is_counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum over the boxes of the loss of ``deltas`` (R, 4), which correct ``boxes`` towards ``target_boxes``.

    Args:
        loss_type: "smooth_l1" compares deltas; "giou", "diou" and "ciou" compare boxes.
        smooth_l1_beta: where smooth L1 turns from quadratic to linear; 0 is plain L1.
        is_counted: (R,) bool, which boxes are part of the sum; all where None.
    """
    reduction = "sum" if is_counted is None else "none"
    if is_counted is not None:  # whatever the others' targets are, their loss must be finite
        target_boxes = torch.where(is_counted.unsqueeze(1), target_boxes, boxes)
    if loss_type == "smooth_l1":
        targets = transform.get_deltas(boxes, target_boxes)
        loss = F.smooth_l1_loss(deltas, targets, reduction=reduction, beta=smooth_l1_beta)
    elif loss_type in IOU_LOSSES:
        loss = IOU_LOSSES[loss_type](transform.apply_deltas(deltas, boxes), target_boxes, reduction=reduction)
    else:
        raise ValueError(f"BBOX_REG_LOSS_TYPE is '{loss_type}'; it can be one of {['smooth_l1', *IOU_LOSSES]}")
    if is_counted is None:
        return loss
    return (loss.sum(dim=1) if loss.dim() > 1 else loss).masked_fill(~is_counted, 0.0).sum()
