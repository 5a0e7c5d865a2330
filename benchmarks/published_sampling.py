"""The sampling as published (Blok et al. 2022), in plain code: what the fast one is measured against and tested with.

One image after the other, one pass after the other, every proposal in every pass, all masks at full resolution.

T: passes. n: members of an observation. K: foreground classes. H, W: height, width of the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import nn

from detectron2.modeling import detector_postprocess
from detectron2.modeling.poolers import ROIPooler

Passes = Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
MODES: dict[str, Callable[..., Any]] = {"mean": np.mean, "min": np.min, "max": np.max}


@dataclass(frozen=True)
class Member:
    mask: npt.NDArray[np.bool_]  # (H, W)
    box: npt.NDArray[np.float64]  # (4,)
    probabilities: npt.NDArray[np.float64]  # (K,)


def on_upstream(model: nn.Module) -> nn.Module:
    """The network, changed to what upstream's engine has: the channels first, and torchvision's RoIAlign."""
    for module in list(model.modules()):
        if isinstance(module, ROIPooler):
            module.level_poolers = nn.ModuleList(
                torchvision.ops.RoIAlign(own.output_size, own.spatial_scale, own.sampling_ratio, aligned=own.aligned)
                for own in module.level_poolers
            )
    return model.to(memory_format=torch.contiguous_format)


@torch.no_grad()
def passes_as_published(model: Any, given: Mapping[str, Any], passes: int) -> Passes:
    """T forward passes of the network with dropout heads; random numbers from PyTorch's own generator."""
    images = model.preprocess_image([given])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    dropout = [layer for layer in model.modules() if isinstance(layer, nn.Dropout)]
    seen = []
    for _ in range(passes):
        for layer in dropout:
            layer.train()
        (found,), _ = model.roi_heads(images, features, proposals, None)
        for layer in dropout:
            layer.eval()
        full = detector_postprocess(found, given["height"], given["width"])
        seen.append((full.pred_masks, full.pred_boxes.tensor, full.softmaxes))
    return seen


def certainty_as_published(passes: Passes, iou_threshold: float, mode: str) -> float:
    """Of an image; NaN where nothing was seen."""
    values = [certainty(group, len(passes)) for group in observations(passes, iou_threshold)]
    return float(MODES[mode](values)) if values else math.nan


def observations(passes: Passes, iou_threshold: float) -> list[list[Member]]:
    """A detection joins the first observation whose first member's mask overlaps its own enough."""
    groups: list[list[Member]] = []
    for masks, boxes, rows in passes:
        arrays = masks.cpu().numpy(), boxes.cpu().double().numpy(), rows.cpu().double().numpy()
        for member in (Member(*each) for each in zip(*arrays, strict=True)):
            for group in groups:
                if mask_iou(group[0].mask, member.mask) > iou_threshold:
                    group.append(member)
                    break
            else:
                groups.append([member])
    return groups


def certainty(group: Sequence[Member], passes: int) -> float:
    """Semantic x mask x box x occurrence."""
    n = len(group)
    mean_mask = np.mean([member.mask for member in group], axis=0) >= 0.25
    mean_box = np.mean([member.box for member in group], axis=0)
    parts = (
        sum(semantic(member.probabilities) for member in group) / n,
        sum(mask_iou(member.mask, mean_mask) for member in group) / n,
        sum(box_iou(member.box, mean_box) for member in group) / n,
        n / passes,
    )
    return math.prod(min(max(part, 0.0), 1.0) for part in parts)


def semantic(row: npt.NDArray[np.float64]) -> float:
    if len(row) == 1:
        return float(row[0])
    p = row / row.sum()
    return 1 + sum(float(x) * math.log(x) for x in p if x > 0) / math.log(len(p))


def mask_iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 0.0


def box_iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return width * height / (area_a + area_b - width * height)
