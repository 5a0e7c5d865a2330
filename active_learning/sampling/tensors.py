"""The tensors of several passes as detections in memory: each mask cut to what it holds.

The only module of this package that needs PyTorch; what works with detections alone is imported without it.
T passes, n detections in one of them (another n in each), K foreground classes, an image of H x W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from active_learning.sampling.observations import Detection, Mask

Passes = Sequence[tuple[Tensor, Tensor, Tensor]]
"""One tuple a pass: masks (n, H, W) bool, boxes (n, 4) as (x0, y0, x1, y1) in pixels, probabilities (n, K) of the
foreground classes; detections in order of falling score, as the network gives them."""


def read_passes(passes: Passes) -> list[list[Detection]]:
    """The detections of each pass.

    Raises:
        ValueError: a tensor has another shape or type than that of `Passes`.
    """
    for index, one_pass in enumerate(passes):
        _check_shapes(index, one_pass)
    filled = [one_pass for one_pass in passes if len(one_pass[0])]
    if not filled:
        return [[] for _ in passes]
    _check_agreement(filled)
    masks = _cut_masks([mask for mask, _, _ in filled])
    boxes = torch.cat([box for _, box, _ in filled]).detach().cpu().double().numpy()
    probabilities = torch.cat([row for _, _, row in filled]).detach().cpu().double().numpy()
    if not (np.isfinite(boxes).all() and np.isfinite(probabilities).all()):
        raise ValueError("boxes or probabilities hold NaN or infinity; the network that gave them is unusable")
    detections = (Detection(*row) for row in zip(masks, boxes, probabilities, strict=True))
    return [list(itertools.islice(detections, len(one_pass[0]))) for one_pass in passes]


def _check_shapes(index: int, one_pass: tuple[Tensor, Tensor, Tensor]) -> None:
    masks, boxes, probabilities = one_pass
    count = len(masks)
    if len(boxes) != count or len(probabilities) != count:
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


def _cut_masks(masks: Sequence[Tensor]) -> list[Mask]:
    """Two transfers from the device for all masks of all passes: their extents, then what lies inside them."""
    extents = torch.cat([_extents(stack) for stack in masks]).tolist()
    every = [mask for stack in masks for mask in stack]
    pieces = [mask[y0:y1, x0:x1].reshape(-1) for mask, (x0, y0, x1, y1) in zip(every, extents, strict=True)]
    flat = torch.cat(pieces).cpu().numpy()
    ends = np.cumsum([len(piece) for piece in pieces])
    cut = []
    for (x0, y0, x1, y1), end in zip(extents, ends, strict=True):
        pixels = flat[end - (y1 - y0) * (x1 - x0) : end].reshape(y1 - y0, x1 - x0)
        cut.append(Mask(x0, y0, pixels, int(np.count_nonzero(pixels))))
    return cut


def _extents(masks: Tensor) -> Tensor:
    """Masks (n, H, W) bool to (n, 4) (x0, y0, x1, y1), the columns x0..x1-1 and rows y0..y1-1 that hold a pixel."""
    pixels = masks.view(torch.uint8)  # amax of bytes is many times faster than any() of booleans
    x0, x1 = _first_and_end(pixels.amax(1))
    y0, y1 = _first_and_end(pixels.amax(2))
    return torch.stack([x0, y0, x1, y1], dim=1)


def _first_and_end(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of 0 and 1: index of the first 1 and one past the last; 0, 0 where there is none."""
    any_there = occupied.amax(1)
    end = occupied.shape[1] - occupied.flip(1).argmax(1)
    return occupied.argmax(1), end * any_there
