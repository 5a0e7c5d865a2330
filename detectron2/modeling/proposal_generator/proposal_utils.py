"""Choosing and extending proposals.

N images, L feature levels, K_l candidates of level l; boxes are (x0, y0, x1, y1) in pixels of the input image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from detectron2.layers import nms_by_image
from detectron2.layers.nms import MOST_BOXES
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import last_corners
from detectron2.utils.errors import InputError
from detectron2.utils.transfers import counting_waits

__all__ = ["add_ground_truth_to_proposals", "find_top_rpn_proposals"]

# The logit of a probability of almost 1.
GROUND_TRUTH_LOGIT = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


def top_indices(logits: torch.Tensor, count: int) -> torch.Tensor:
    """(N, min(count, K)) indices of the highest of (N, K) logits, falling; on a processor the first of equal ones."""
    available: Any = logits.shape[1]
    # Under torch.jit.trace it is a tensor, and must stay one to hold for other inputs too.
    number = available.clamp(max=count) if isinstance(available, torch.Tensor) else min(available, count)
    best, indices = logits.topk(number, dim=1)  # type: ignore[arg-type]
    if counting_waits(logits) or torch.jit.is_tracing():
        return indices
    return torch.stack([_first_of_equal(*own) for own in zip(logits, best, indices, strict=True)])


def _first_of_equal(logits: torch.Tensor, best: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Indices of the highest of (K,) logits where `topk` took any of those that are equal.

    That many are equal is common: where all hidden units of the head are off, its biases alone are left.
    """
    above = indices[~(best <= best[-1:])]  # a NaN counts as the highest
    tied = (logits == best[-1:]).nonzero().squeeze(1)[: len(best) - len(above)]
    rows = torch.cat((above, tied)).sort().values
    return rows[logits[rows].sort(descending=True, stable=True).indices]


def find_top_rpn_proposals(
    proposals: Sequence[torch.Tensor],
    pred_objectness_logits: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Instances of each image with ``proposal_boxes`` and ``objectness_logits``, best first, after suppression.

    Args:
        proposals: L tensors (N, K_l, 4).
        pred_objectness_logits: L tensors (N, K_l).
        image_sizes: (height, width) of each image; those of the first images only give only their proposals.
        nms_thresh: IoU above which the lower of two boxes of a level is suppressed.
        pre_nms_topk: candidates a level and image that enter suppression.
        post_nms_topk: proposals an image that are kept, over all levels.
        min_box_size: boxes whose width or height, clipped to the image, is not above this are dropped.
        training: whether boxes that are not finite are an error (True) or dropped.
    """
    boxes, logits = [], []
    for own_boxes, own_logits in zip(proposals, pred_objectness_logits, strict=True):
        index = top_indices(own_logits, pre_nms_topk)
        logits.append(own_logits.gather(1, index))
        boxes.append(own_boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4)))
    return suppress_proposals(boxes, logits, image_sizes, nms_thresh, post_nms_topk, min_box_size, training)


def suppress_proposals(
    boxes: Sequence[torch.Tensor],
    logits: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """The second half of :func:`find_top_rpn_proposals`: candidates are already the best of their level."""
    levels = torch.cat([torch.full_like(own[0], i, dtype=torch.int64) for i, own in enumerate(logits)])
    count = len(image_sizes)
    all_boxes, all_logits = torch.cat(list(boxes), dim=1)[:count], torch.cat(list(logits), dim=1)[:count]
    finite = (all_boxes.abs() < math.inf).all(dim=2) & (all_logits.abs() < math.inf)  # a NaN is not below it either
    all_boxes, all_logits = all_boxes.masked_fill(~finite.unsqueeze(2), 0.0), all_logits.masked_fill(~finite, 0.0)
    limits = (len(logits), nms_thresh, post_nms_topk, min_box_size, training)
    results, at_once = [], max(MOST_BOXES // max(int(all_logits.shape[1]), 1), 1)
    for first in range(0, count, at_once):
        part = slice(first, first + at_once)
        results += _suppress(all_boxes[part], all_logits[part], finite[part], levels, image_sizes[part], *limits)
    return results


def _suppress(
    boxes: torch.Tensor,
    logits: torch.Tensor,
    finite: torch.Tensor,
    levels: torch.Tensor,
    image_sizes: Sequence[tuple[int, int]],
    level_count: int,
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Of images with K candidates each: (N, K, 4), (N, K), (N, K) bool, (K,)."""
    count = len(image_sizes)
    boxes = boxes.clamp(min=0).minimum(last_corners(image_sizes, boxes).unsqueeze(1))
    candidates = Boxes(boxes.flatten(0, 1))
    valid = candidates.nonempty(threshold=min_box_size).view_as(finite) & finite
    images = torch.arange(count, device=finite.device).unsqueeze(1).expand_as(finite)
    if training:
        # One image more takes what is not finite: so that is known when the proposals are, without another wait.
        images, valid = images.where(finite, count), valid | ~finite
    flat = (logits.flatten(), valid.flatten(), images.flatten(), count + training, levels.repeat(count), level_count)
    kept = nms_by_image(candidates.tensor, *flat, nms_thresh)
    if training and len(kept.pop()):
        raise FloatingPointError(
            "the proposal network's boxes or scores are infinite or NaN: training has diverged; "
            "lower SOLVER.BASE_LR, warm up longer, or turn on SOLVER.CLIP_GRADIENTS"
        )
    best = [rows[:post_nms_topk] for rows in kept]
    return [
        Instances(image_size, proposal_boxes=candidates[rows], objectness_logits=flat[0][rows])
        for rows, image_size in zip(best, image_sizes, strict=True)
    ]


def add_ground_truth_to_proposals(gt: Sequence[Instances | Boxes], proposals: Sequence[Instances]) -> list[Instances]:
    """The proposals of each image followed by its ground-truth boxes, with a logit of almost certain objectness.

    ``gt`` (Boxes, or Instances with ``gt_boxes``) must have all fields of ``proposals`` besides boxes and logits, else
    an InputError is raised.
    """
    if len(gt) != len(proposals):
        raise InputError(f"ground truth of {len(gt)} images for proposals of {len(proposals)}")
    return [_with_ground_truth(truth, own) for truth, own in zip(gt, proposals, strict=True)]


def _with_ground_truth(truth: Instances | Boxes, proposals: Instances) -> Instances:
    fields = truth.get_fields() if isinstance(truth, Instances) else {"gt_boxes": truth}
    logits = proposals.objectness_logits.new_full((len(truth),), GROUND_TRUTH_LOGIT)
    fields = {**fields, "proposal_boxes": fields["gt_boxes"], "objectness_logits": logits}
    missing = sorted(set(proposals.get_fields()) - set(fields))
    if missing:
        raise InputError(f"proposals have the fields {missing}, which the ground truth lacks")
    own = {name: fields[name] for name in proposals.get_fields()}
    return Instances.cat([proposals, Instances(proposals.image_size, **own)])
