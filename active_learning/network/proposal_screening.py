"""Proposal screening: those that cannot become detections in a pass with dropout need no passes.

R: proposals. T: passes. K: foreground classes; the background is class K.
"""

from __future__ import annotations

import math

import torch

SMALLEST, LARGEST = 1e-12, 1 - 1e-6  # probabilities with a finite logarithm in float32


def log_odds(probabilities: torch.Tensor) -> torch.Tensor:
    """(..., K + 1) -> (...): of the best foreground class. On this scale dropout adds about as much noise to an
    unlikely proposal as to a likely one."""
    best = probabilities[..., :-1].amax(dim=-1).clamp(SMALLEST, LARGEST)
    return torch.logit(best)


def noise(plain: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor:
    """() root mean square of what dropout does to log odds: (R,) without it, (T, R) with it."""
    return (sampled - plain).square().mean().sqrt().double()


def screened(plain: torch.Tensor, threshold: float, reach: torch.Tensor) -> torch.Tensor:
    """Indices of the proposals that may come above a probability in a pass.

    Args:
        plain: (R,) log odds without dropout.
        reach: () how far, in log odds, dropout may lift them; NaN keeps all.
    """
    if threshold <= 0:
        return torch.arange(len(plain), device=plain.device)
    bound = math.log(threshold) - math.log1p(-threshold) if threshold < 1 else math.inf
    return (~(plain < bound - reach)).nonzero().flatten()
