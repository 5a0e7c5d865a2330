"""The tensors of several passes as detections in memory: each mask cut to what it holds.

The only module of this package that needs PyTorch; what works with detections alone is imported without it.
T passes, n detections in one of them (another n in each), K foreground classes, an image of H x W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from active_learning.sampling.observations import Detection, Mask

_ROUNDING = 1e-3  # of probabilities in 16 bits
Passes = Sequence[tuple[Tensor, Tensor, Tensor]]
"""One tuple a pass: masks (n, H, W) bool, boxes (n, 4) as (x0, y0, x1, y1) in pixels, probabilities (n, K) of the
foreground classes; detections in order of falling score, as the network gives them."""


def read_passes(passes: Passes) -> list[list[Detection]]:
    """The detections of each pass.

    Raises:
        ValueError: a tensor has another shape or type than that of `Passes`, or values that are no boxes or shares.
    """
    passes = list(passes)
    for index, one_pass in enumerate(passes):
        _check_shapes(index, one_pass)
    filled = [one_pass for one_pass in passes if len(one_pass[0])]
    if not filled:
        return [[] for _ in passes]
    _check_agreement(filled)
    masks = [Mask.cut(0, 0, mask) for stack, _, _ in filled for mask in stack.cpu().numpy()]
    boxes = torch.cat([box for _, box, _ in filled]).detach().cpu().double().numpy()
    probabilities = torch.cat([row for _, _, row in filled]).detach().cpu().double().numpy()
    if not (np.isfinite(boxes).all() and np.isfinite(probabilities).all()):
        raise ValueError("boxes or probabilities hold NaN or infinity; the network that gave them is unusable")
    _check_values(boxes, probabilities)
    detections = (Detection(*row) for row in zip(masks, boxes, probabilities, strict=True))
    return [list(itertools.islice(detections, len(one_pass[0]))) for one_pass in passes]


def _check_values(boxes: np.ndarray, probabilities: np.ndarray) -> None:
    lowest, highest = probabilities.min(), probabilities.max()
    if not -_ROUNDING <= lowest <= highest <= 1 + _ROUNDING:
        raise ValueError(f"probabilities must be from 0 to 1, not {lowest:g} to {highest:g}; logits go through softmax")
    if (wrong := boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)]).size:
        raise ValueError(f"boxes must be x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, not {wrong[0].tolist()}")


def _check_shapes(index: int, one_pass: Any) -> None:
    if not isinstance(one_pass, (tuple, list)) or [isinstance(one, Tensor) for one in one_pass] != [True] * 3:
        kinds = ", ".join(type(one).__name__ for one in one_pass) if isinstance(one_pass, (tuple, list)) else ""
        found = f"({kinds})" if kinds else type(one_pass).__name__
        raise ValueError(f"pass {index}: must be masks, boxes and probabilities, three tensors of PyTorch, not {found}")
    masks, boxes, probabilities = one_pass
    count = len(masks) if masks.dim() else -1
    if any(not one.dim() or len(one) != count for one in one_pass):
        shapes = f"{tuple(masks.shape)}, {tuple(boxes.shape)} and {tuple(probabilities.shape)}"
        raise ValueError(f"pass {index}: masks, boxes and probabilities must be equally many, not of shape {shapes}")
    if count == 0:
        return
    if masks.dim() != 3 or masks.dtype != torch.bool:
        raise ValueError(f"pass {index}: masks must be (n, H, W) bool, not {tuple(masks.shape)} {masks.dtype}")
    if boxes.shape != (count, 4):
        raise ValueError(f"pass {index}: boxes must be (n, 4), not {tuple(boxes.shape)}")
    if probabilities.dim() != 2 or probabilities.shape[1] == 0:
        raise ValueError(f"pass {index}: probabilities must be (n, K) with K >= 1, not {tuple(probabilities.shape)}")


def _check_agreement(passes: Passes) -> None:
    sizes = {tuple(masks.shape[1:]) for masks, _, _ in passes}
    classes = {probabilities.shape[1] for _, _, probabilities in passes}
    if len(sizes) > 1:
        raise ValueError(f"masks must be of one size (H, W) in all passes, not {sorted(sizes)}")
    if len(classes) > 1:
        raise ValueError(f"probabilities must have one number of classes in all passes, not {sorted(classes)}")
