"""How many objects a set of proposed boxes covers, whatever their class."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detectron2.structures import Boxes, pairwise_iou

LIMITS = (100, 1000)
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
THRESHOLDS = torch.arange(0.5, 0.96, 0.05)

ProposalsAndObjects = tuple[Boxes, Boxes, torch.Tensor]


def average_recalls(images: Sequence[ProposalsAndObjects]) -> dict[str, float]:
    """AR@100, ARs@100, ARm@100, ARl@100 and the same @1000, in percent; NaN without objects of that size.

    The recall within the best 100 or 1000 proposals of an image, averaged over the IoU thresholds 0.5, 0.55, ..., 0.95
    (Hosang et al. 2015, arXiv 1502.05082). Objects of an image without any proposal count as missed. Upstream leaves
    such images out, which makes a detector the better the more images it proposes nothing in; elsewhere the numbers are
    upstream's.

    Args:
        images: for each its proposals, best first; its N objects; their N areas in square pixels.
    """
    return {
        f"AR{size}@{limit}": _average_recall(images, limit, *bounds)
        for limit in LIMITS
        for size, bounds in AREAS.items()
    }


def _average_recall(images: Sequence[ProposalsAndObjects], limit: int, smallest: float, largest: float) -> float:
    covered = [torch.zeros(0)]
    for proposals, objects, areas in images:
        wanted = (areas >= smallest) & (areas <= largest)
        covered.append(_best_overlaps(pairwise_iou(proposals[:limit], objects[wanted])))
    return (torch.cat(covered)[:, None] >= THRESHOLDS).float().mean().item() * 100


def _best_overlaps(overlaps: torch.Tensor) -> torch.Tensor:
    """Each object's IoU with its proposal, from all those of P proposals and G objects (PxG).

    The pairs are the best ones first, each proposal and each object in one pair at most; 0 for an object without.
    """
    best = torch.zeros(overlaps.shape[1])
    for _ in range(min(overlaps.shape)):
        proposal, found = divmod(int(overlaps.argmax()), overlaps.shape[1])
        best[found] = overlaps[proposal, found]
        overlaps[proposal], overlaps[:, found] = -1, -1
    return best
