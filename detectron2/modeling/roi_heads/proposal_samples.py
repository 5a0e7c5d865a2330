"""Sampled proposals with their ground truth.

A GPU is waited for once, when the proposals of all images are sampled. What the processor then knows (see
`transfers.host_copy`) serves the mask head, its targets and the event storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from detectron2.layers import nonzero_tuple
from detectron2.structures import Instances
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.transfers import host_copies, host_copy, keep_host_copy, to_device


class ProposalSample(NamedTuple):
    """Of the sampled proposals of an image: rows that are too many come last."""

    rows: torch.Tensor  # (S,) of the proposals
    matches: torch.Tensor  # (S,) rows of the targets
    gt_classes: torch.Tensor  # (S,), -1 of a row too many
    boxes: torch.Tensor  # (S, 4)


def sampled_proposals(
    proposals: Sequence[Instances], targets: Sequence[Instances], samples: Sequence[ProposalSample]
) -> list[Instances]:
    """The sample of each image with the ``gt_*`` fields of its targets; waits for a GPU once for all images."""
    known, width = host_copies([tensor for sample in samples for tensor in sample]), len(ProposalSample._fields)
    on_host = [ProposalSample(*known[start : start + width]) for start in range(0, len(known), width)]
    return [_with_ground_truth(*own) for own in zip(proposals, targets, samples, on_host, strict=True)]


def _with_ground_truth(
    proposals: Instances, targets: Instances, sample: ProposalSample, on_host: ProposalSample
) -> Instances:
    """The sampled proposals with the fields of their targets."""
    count = int((on_host.gt_classes >= 0).sum())
    rows, matches, gt_classes, _ = (tensor[:count] for tensor in sample)
    for tensor, copy in zip((rows, matches, gt_classes), on_host, strict=False):
        keep_host_copy(tensor, copy[:count])
    sampled = proposals[rows]
    keep_host_copy(sampled.proposal_boxes.tensor, on_host.boxes[:count])
    sampled.gt_classes = gt_classes
    if len(targets):
        fields = targets.get_fields().items()
        truth = {name: value for name, value in fields if name.startswith("gt_") and not sampled.has(name)}
        for name, value in Instances(targets.image_size, **truth)[matches].get_fields().items():
            sampled.set(name, value)
    return sampled


def put_sample_counts(scope: str, foreground: Sequence[torch.Tensor], sampled: Sequence[Instances]) -> None:
    """Write how many of the proposals of an image are foreground and background, from each image's foreground ()."""
    images, proposals = max(len(sampled), 1), sum(len(own) for own in sampled)

    def means(found: list[float]) -> dict[str, float]:
        background = (proposals - sum(found)) / images
        return {f"{scope}/num_fg_samples": sum(found) / images, f"{scope}/num_bg_samples": background}

    counts = torch.stack(list(foreground)) if foreground else torch.zeros(0)
    event_storage_or_new().put_from_device(counts, means)


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Of each image the proposals whose ``gt_classes`` is neither ``bg_label`` nor -1, and their (R,) bool mask."""
    masks = [(own.gt_classes != -1) & (own.gt_classes != bg_label) for own in proposals]
    return foreground_of(proposals, bg_label), masks


def foreground_of(proposals: Sequence[Instances], bg_label: int) -> list[Instances]:
    """The first result of :func:`select_foreground_proposals`."""
    rows = foreground_rows(proposals, bg_label)
    return [_selected(own, chosen) for own, chosen in zip(proposals, rows, strict=True)]


def foreground_rows(proposals: Sequence[Instances], bg_label: int) -> list[torch.Tensor]:
    """Of each image the rows with an object, on the processor."""
    classes = [host_copy(own.gt_classes) for own in proposals]
    return [nonzero_tuple((own != -1) & (own != bg_label))[0] for own in classes]


def _selected(proposals: Instances, rows: torch.Tensor) -> Instances:
    """Rows that the processor knows; the foreground of a sample comes first, and then needs no index."""
    if not torch.equal(rows, torch.arange(len(rows))):
        return proposals[to_device(rows, proposals.gt_classes.device)]
    chosen = proposals[: len(rows)]
    if chosen.has("proposal_boxes"):
        boxes = host_copy(proposals.proposal_boxes.tensor)
        keep_host_copy(chosen.proposal_boxes.tensor, boxes[: len(rows)])
    return chosen
