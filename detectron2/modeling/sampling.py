"""Random subsets of labelled samples."""

from __future__ import annotations

import torch

from detectron2.layers import nonzero_tuple


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
    positive = nonzero_tuple((labels != -1) & (labels != bg_label))[0]
    negative = nonzero_tuple(labels == bg_label)[0]
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return _sample(positive, num_positive), _sample(negative, num_negative)


def _sample(indices: torch.Tensor, count: int) -> torch.Tensor:
    return indices[torch.randperm(indices.numel(), device=indices.device)[:count]]
