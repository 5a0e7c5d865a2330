"""Features of objects as the box head has them, before it decides on class and box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from detectron2.structures import Boxes


@torch.no_grad()
def object_features(model: nn.Module, given: Mapping[str, Any], boxes: torch.Tensor) -> torch.Tensor:
    """(n, C) features of boxes (n, 4), xyxy in pixels of the image file, without dropout.

    Where a network has several box heads (Cascade) those of the last; where it has none (C4) what its predictor takes.

    Args:
        given: what `read_input` gave for the image.
    """
    trunk: Any = model.eval()
    images = trunk.preprocess_image([given])
    maps = trunk.backbone(images.tensor)
    height, width = images.image_sizes[0]
    scale = boxes.new_tensor([width / given["width"], height / given["height"]]).repeat(2)
    heads = trunk.roi_heads
    pooled = heads.box_features(maps, Boxes((boxes * scale).to(images.tensor.device)))
    head = getattr(heads, "box_head", None)
    if head is None:
        return pooled
    return head[-1](pooled) if isinstance(head, nn.ModuleList) else head(pooled)
