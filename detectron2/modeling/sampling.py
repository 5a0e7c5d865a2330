"""Random subsets of labelled samples.

A GPU must be waited for before it is known how many samples have a label. There, selections are of fixed size and say
which of their elements count; `counting_waits` decides which form is taken.
"""

from __future__ import annotations

from typing import Any

import torch

from detectron2.layers import nonzero_tuple
from detectron2.utils.transfers import counting_waits, host_copies


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
        keys, rows = _keys(labels, num_samples, positive_fraction, bg_label).topk(min(num_samples, len(labels)))
        counts = torch.stack(((keys >= 1).sum(), (keys >= 0).sum()))
        num_positive, num_sampled = host_copies([counts])[0].tolist()
        return rows[:num_positive], rows[num_positive:num_sampled]
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
    keys, rows = _keys(labels, num_samples, positive_fraction, bg_label).topk(min(num_samples, len(labels)))
    return rows, labels[rows].masked_fill(keys < 0, -1)


def subsample_mask(labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int) -> torch.Tensor:
    """Which samples :func:`subsample_labels` takes of each row of labels (B, N), (B, N) bool; no wait for a GPU."""
    if not counting_waits(labels):
        sampled = torch.zeros(labels.shape, dtype=torch.bool)
        for own, own_labels in zip(sampled, labels, strict=True):
            rows = subsample_labels(own_labels, num_samples, positive_fraction, bg_label)
            own.index_fill_(0, torch.cat(rows), True)
        return sampled
    return _largest(_keys(labels, num_samples, positive_fraction, bg_label), num_samples)


def _largest(keys: torch.Tensor, count: int) -> torch.Tensor:
    """Which are among the ``count`` largest of each row (..., N), and not negative."""
    if count <= 0 or keys.shape[-1] == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    least = keys.topk(min(count, keys.shape[-1])).values[..., -1:]
    return keys >= least.clamp(min=0)


def _keys(labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int) -> torch.Tensor:
    """(..., N) numbers whose ``num_samples`` largest that are not negative are the sample; from 1 on of foreground.

    They are random, of so many bits that none are equal.
    """
    order = torch.rand(labels.shape, dtype=torch.float64, device=labels.device)
    no_background, ignored = labels != bg_label, labels == -1
    keys = order.masked_fill(no_background, -1.0)
    positive = order.masked_fill(no_background == ignored, -1.0)  # as what is ignored is no background
    return torch.where(_largest(positive, int(num_samples * positive_fraction)), order + 1, keys)


def rows_where(mask: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
    """Index of the elements where ``mask`` (N,) holds, and None; on a GPU the index of all, and the mask as weights.

    A sum over what the index selects, each times its weight, is the same in both forms.
    """
    return (slice(None), mask) if counting_waits(mask) else (nonzero_tuple(mask)[0], None)
