"""From the mask head's small squares to masks of the whole image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.utils.errors import InputError
from detectron2.utils.transfers import counting_waits

MOST_PIXELS = 2**26  # of the masks that a GPU computes at once: 256 MiB in float32


def paste_masks_in_image(masks: Tensor, boxes: Any, image_shape: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Resize each mask bilinearly to its box and place it in an image of zeros.

    Args:
        masks: NxMxM, probabilities.
        boxes: Boxes or Nx4 tensor, (x0, y0, x1, y1) in pixels; may reach outside the image. A box without area or with
            infinite or NaN corners gives an empty mask.
        image_shape: (height, width).
        threshold: probabilities at or above it are the object; negative for soft masks.

    Returns:
        NxHxW: bool, or for a negative threshold uint8 from 0 to 255.

    Beyond the result itself, memory is bounded: by the largest box on a processor, by MOST_PIXELS on a GPU.
    """
    if masks.dim() != 3 or masks.shape[-1] != masks.shape[-2]:
        raise InputError(f"masks have shape {tuple(masks.shape)}, expected (N, M, M)")
    corners: Tensor = boxes if isinstance(boxes, Tensor) else boxes.tensor
    if len(masks) != len(corners):
        raise InputError(f"{len(masks)} masks but {len(corners)} boxes")
    kind = torch.uint8 if threshold < 0 else torch.bool
    out = torch.full((len(masks), *image_shape), threshold == 0, dtype=kind, device=masks.device)
    if len(masks) == 0:
        return out
    paste = _paste_whole if counting_waits(masks) else _paste_windows
    paste(out, masks.float(), corners.to(masks.device, torch.float32), threshold)
    return out


def _paste_windows(out: Tensor, masks: Tensor, boxes: Tensor, threshold: float) -> None:
    """Only the pixels that a box can reach are computed, one instance at a time; their bounds are needed here."""
    _, height, width = out.shape
    columns = _sampling_positions(boxes[:, 0], boxes[:, 2], width)
    rows = _sampling_positions(boxes[:, 1], boxes[:, 3], height)
    for index, (x0, y0, x1, y1) in enumerate(_reached_pixels(boxes, masks.shape[-1], height, width)):
        shape = (y1 - y0, x1 - x0)
        if min(shape) <= 0:
            continue
        grid = torch.stack((columns[index, None, x0:x1].expand(shape), rows[index, y0:y1, None].expand(shape)), dim=-1)
        pasted = F.grid_sample(masks[index, None, None], grid[None], align_corners=False)[0, 0]
        out[index, y0:y1, x0:x1] = _thresholded(pasted, threshold)


def _paste_whole(out: Tensor, masks: Tensor, boxes: Tensor, threshold: float) -> None:
    """All pixels, as products of the interpolation's weights along rows and columns: a GPU is not waited for."""
    _, height, width = out.shape
    valid = boxes.isfinite().all(dim=1) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes = boxes.where(valid[:, None], 0.0)
    count = max(MOST_PIXELS // max(height * width, 1), 1)
    for target, own, corners in zip(out.split(count), masks.split(count), boxes.split(count), strict=True):
        rows = _weights(corners[:, 1], corners[:, 3], height, masks.shape[-1])
        columns = _weights(corners[:, 0], corners[:, 2], width, masks.shape[-1])
        with torch.autocast(out.device.type, enabled=False):
            target.copy_(_thresholded(rows @ own @ columns.transpose(1, 2), threshold))


def _thresholded(probabilities: Tensor, threshold: float) -> Tensor:
    return (probabilities * 255).to(torch.uint8) if threshold < 0 else probabilities >= threshold


def _weights(start: Tensor, end: Tensor, size: int, cells: int) -> Tensor:
    """Nxsizexcells: of each cell between `start` and `end` at each pixel centre; 0 where the interval is empty."""
    centres = (_sampling_positions(start, end, size) + 1) * (cells / 2) - 0.5
    distance = (centres[:, :, None] - torch.arange(cells, device=start.device)).abs()
    return (1 - distance).clamp(min=0).nan_to_num(0.0)


def _sampling_positions(start: Tensor, end: Tensor, size: int) -> Tensor:
    """Nxsize: where each pixel centre lies between `start` (-1) and `end` (1) of each of N intervals."""
    centres = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    return (centres - start[:, None]) / (end - start)[:, None] * 2 - 1


def _reached_pixels(boxes: Tensor, mask_size: int, height: int, width: int) -> list[list[int]]:
    """Half-open pixel windows (x0, y0, x1, y1) outside which a pasted mask is zero; empty for boxes without area."""
    # bilinear samples fade to zero half a mask pixel outside the box
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = (sides / (2 * mask_size)).repeat(1, 2) + 1
    valid = boxes.isfinite().all(dim=1) & (sides > 0).all(dim=1)
    reach = torch.cat(((boxes - margin)[:, :2].floor(), (boxes + margin)[:, 2:].ceil()), dim=1)
    reach = torch.where(valid[:, None], reach, 0)
    reach = torch.stack([reach[:, i].clamp(0, width if i % 2 == 0 else height) for i in range(4)], dim=1)
    return reach.long().tolist()
