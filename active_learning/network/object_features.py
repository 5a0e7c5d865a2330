"""Features of objects as the box head has them, before it decides on class and box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from detectron2.structures import Boxes


@torch.no_grad()
def object_features(model: nn.Module, model_input: Mapping[str, Any], boxes: torch.Tensor) -> torch.Tensor:
    """(n, C) features of boxes (n, 4), xyxy in pixels of the image file, without dropout.

    Where a network has several box heads (Cascade) those of the last; where it has none (C4) what its predictor takes.

    Args:
        model_input: what `read_input` gives for the image.
    """
    trunk: Any = model.eval()
    images = trunk.preprocess_image([model_input])
    maps = trunk.backbone(images.tensor)
    height, width = images.image_sizes[0]
    scale = boxes.new_tensor([width / model_input["width"], height / model_input["height"]]).repeat(2)
    heads = trunk.roi_heads
    pooled = heads.box_features(maps, Boxes((boxes * scale).to(images.tensor.device)))
    head = getattr(heads, "box_head", None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    features: torch.Tensor = pooled if head is None else head(pooled)
    return features
