"""Random subsets of labelled samples.

A GPU must be waited for before it is known how many samples have a label. There, selections are of fixed size and say
which of their elements count; this module alone decides which form is taken.
"""

from __future__ import annotations

from typing import Any

import torch

from detectron2.layers import nonzero_tuple
from detectron2.utils.transfers import host_copies


def counting_waits(tensor: torch.Tensor) -> bool:
    """Whether the processor must wait to know how many elements of the tensor have a property."""
    return tensor.device.type != "cpu"


def subsample_labels(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample at random with about the wanted share of foreground.

    Args:
        labels: (N,) class indices; -1 is ignored, ``bg_label`` is background, all others are foreground.
        num_samples: at most so many; fewer where there are not enough.
        positive_fraction: foreground takes at most this share; background fills up what it leaves.

    Returns:
        Indices of the foreground and of the background samples, int64, in random order.
    """
    if counting_waits(labels):
        rows, counts = _fixed_size_sample(labels, num_samples, positive_fraction, bg_label)
        num_positive, num_negative = host_copies([counts])[0].tolist()
        return rows[:num_positive], rows[num_positive : num_positive + num_negative]
    positive = nonzero_tuple((labels != -1) & (labels != bg_label))[0]
    negative = nonzero_tuple(labels == bg_label)[0]
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return _sample(positive, num_positive), _sample(negative, num_negative)


def _sample(indices: torch.Tensor, count: int) -> torch.Tensor:
    return indices[torch.randperm(indices.numel(), device=indices.device)[:count]]


def subsample_rows(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`subsample_labels`, without a wait for a GPU: rows (S,), foreground first, and the label of each.

    On a GPU S is ``num_samples`` (N where there are fewer); rows that are too many come last, with the label -1.
    """
    if not counting_waits(labels):
        rows = torch.cat(subsample_labels(labels, num_samples, positive_fraction, bg_label))
        return rows, labels[rows]
    rows, counts = _fixed_size_sample(labels, num_samples, positive_fraction, bg_label)
    unused = torch.arange(len(rows), device=rows.device) >= counts.sum()
    return rows, labels[rows].masked_fill(unused, -1)


def _fixed_size_sample(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (S,): the foreground, the background, any rows; and how many are of the first two kinds, (2,)."""
    negative = labels == bg_label
    positive = (labels != -1) & ~negative
    order = torch.rand(labels.shape, device=labels.device)  # those with the highest numbers are taken
    size = min(num_samples, len(labels))
    most_positive = min(int(num_samples * positive_fraction), size)
    best, positive_rows = order.masked_fill(~positive, -1.0).topk(most_positive)
    rest, negative_rows = order.masked_fill(~negative, -1.0).topk(size)
    num_positive = (best >= 0).sum()
    num_negative = (rest >= 0).sum().minimum(num_samples - num_positive)
    # Position i takes foreground i, or background i - num_positive.
    place = torch.arange(size, device=labels.device)
    from_negative = negative_rows[(place - num_positive).clamp(min=0)]
    if most_positive:
        from_positive = positive_rows[place.clamp(max=most_positive - 1)]
        from_negative = torch.where(place < num_positive, from_positive, from_negative)
    return from_negative, torch.stack((num_positive, num_negative))


def rows_where(mask: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
    """Index of the elements where ``mask`` (N,) holds, and None; on a GPU the index of all, and the mask as weights.

    A sum over what the index selects, each times its weight, is the same in both forms.
    """
    return (slice(None), mask) if counting_waits(mask) else (nonzero_tuple(mask)[0], None)
