"""Greedy non-maximum suppression of boxes.

How many boxes are left is known only to the device, and whoever asks a GPU waits for it. So there all images and groups
take part in one suppression, and what must not take part is suppressed too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import batched_nms as _batched_nms
from torchvision.ops import nms

from detectron2.utils.transfers import counting_waits

__all__ = ["batched_nms", "nms", "nms_by_image"]

MOST_BOXES = 2**15  # in one suppression on a GPU, which compares each with each: 128 MiB of bits


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes (Nx4, (x0, y0, x1, y1)) within each group of equal `idxs` (N); kept indices, best score first.

    Works in float32 whatever the types of both: the offsets that keep groups apart do not fit half precision.
    """
    return _batched_nms(boxes.float(), scores.float(), idxs, iou_threshold)


def nms_by_image(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    images: Tensor,
    image_count: int,
    groups: Tensor | None,
    group_count: int,
    iou_threshold: float,
) -> list[Tensor]:
    """Suppress boxes within each group of each image; for each image the kept indices, best score first.

    Waits for a GPU once where there is one image, else twice.

    Args:
        boxes: Mx4, (x0, y0, x1, y1), finite and not negative, of all images.
        scores: (M,), finite.
        valid: (M,) bool, which boxes take part.
        images: (M,) int64, whose box it is, below `image_count`.
        groups: (M,) int64, below `group_count`; None where an image is one group.
    """
    form = _together if counting_waits(boxes) and len(boxes) <= MOST_BOXES else _one_by_one
    return form(boxes.float(), scores.float(), valid, images, image_count, groups, group_count, iou_threshold)


def _one_by_one(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    images: Tensor,
    image_count: int,
    groups: Tensor | None,
    group_count: int,
    iou_threshold: float,
) -> list[Tensor]:
    own = [(valid & (images == index)).nonzero().squeeze(1) for index in range(image_count)]
    if groups is None:
        return [rows[nms(boxes[rows], scores[rows], iou_threshold)] for rows in own]
    return [rows[batched_nms(boxes[rows], scores[rows], groups[rows], iou_threshold)] for rows in own]


def _together(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    images: Tensor,
    image_count: int,
    groups: Tensor | None,
    group_count: int,
    iou_threshold: float,
) -> list[Tensor]:
    cells = images if groups is None else images * group_count + groups
    keep = _nms_of_cells(boxes, scores, valid, cells, image_count * group_count, iou_threshold)
    if image_count == 1:
        return [keep]
    owners = images[keep]
    counts = (owners == torch.arange(image_count, device=owners.device)[:, None]).sum(dim=1).tolist()
    return list(keep[owners.argsort(stable=True)].split(counts))


def _nms_of_cells(
    boxes: Tensor, scores: Tensor, valid: Tensor, cells: Tensor, cell_count: int, iou_threshold: float
) -> Tensor:
    """Kept indices, best score first, where only valid boxes of the same cell suppress each other; one wait.

    Cells are laid out in a square, far enough from each other: in a row, coordinates would be larger, and rounded more.
    What is not valid takes the place of a decoy that has the highest score, and is suppressed by it.
    """
    if iou_threshold >= 1 or len(boxes) == 0:  # nothing is suppressed
        order = scores.argsort(descending=True, stable=True)
        return order[valid[order].nonzero().squeeze(1)]
    side = math.isqrt(cell_count - 1) + 1
    place = torch.stack((cells % side, cells // side), dim=1).repeat(1, 2)
    boxes = boxes.masked_fill(~valid[:, None], 0.0)
    decoy = boxes.new_full((1, 4), -2.0)
    decoy[:, 2:] = -1.0
    apart = torch.where(valid[:, None], boxes + place * (boxes.amax() + 1), decoy)
    ranked = torch.cat((scores.new_full((1,), math.inf), scores.masked_fill(~valid, -math.inf)))
    return nms(torch.cat((decoy, apart)), ranked, iou_threshold)[1:] - 1
