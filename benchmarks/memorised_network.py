"""A network for benchmarks without trained weights: it has learned the objects of one drawn image by heart.

Its trunk is random, its proposals are anchors; the box head is trained, with dropout, so that about ten of the
proposals are objects and the others are not, which decides what the sampling costs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou, nms

CLASSES = 5
OBJECTS = 10
STEPS = 160
BACKGROUND_A_STEP = 128
Given = dict[str, Any]


def config(name: str, dropout_probability: float = 0.25) -> Any:
    """A Mask R-CNN config with dropout heads and thresholds as MaskAL has them, in float32."""
    from active_learning.network.network_config import network_config
    from active_learning.settings import Settings

    settings = Settings.model_validate(
        {
            "classes": [f"class {index}" for index in range(CLASSES)],
            "network_config": name,
            "pretrained_weights": "",
            "dropout_probability": dropout_probability,
            "precision": "fp32",
        }
    )
    return network_config(settings, settings.experiments()[0])


def drawn_image(height: int, width: int, file_height: int, file_width: int) -> Given:
    """Soft blobs as the network's input of height x width pixels, from a file of another size."""
    blobs = torch.rand(1, 3, height // 15, width // 15, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(blobs, size=(height, width), mode="bicubic")[0].clamp(0, 1) * 255
    return {"image": pixels, "height": file_height, "width": file_width}


def memorised_network(cfg: Any, given: Given, steps: int = STEPS) -> Any:
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    model: Any = build_model(cfg).eval()
    head = model.proposal_generator.rpn_head
    torch.nn.init.zeros_(head.anchor_deltas.weight)
    torch.nn.init.normal_(head.objectness_logits.weight, std=0.3)
    with torch.no_grad():
        proposals, pooled = _pool(model, given)
        # Without biases the random trunk is linear in the scale of its input.
        model.pixel_std *= pooled.std()
        proposals, pooled = _pool(model, given)
    _learn(model.roi_heads, pooled, _labels(proposals), steps)
    predictor = model.roi_heads.mask_head.predictor
    torch.nn.init.normal_(predictor.weight, std=0.3)
    torch.nn.init.ones_(predictor.bias)
    return model.eval()


def _pool(model: Any, given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    images = model.preprocess_image([given])
    features = model.backbone(images.tensor)
    (proposals,), _ = model.proposal_generator(images, features, None)
    return proposals.proposal_boxes.tensor, model.roi_heads.box_features(features, proposals.proposal_boxes)


def _labels(boxes: torch.Tensor) -> torch.Tensor:
    """(R,) class of each proposal; proposals of a middling size that lie apart are the objects."""
    sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
    middling = ((sides > sides.median()) & (sides < 4 * sides.median())).nonzero().flatten()
    if len(middling) == 0:  # those of a C4 network are nearly all of one size
        middling = torch.arange(len(boxes), device=boxes.device)
    order = torch.rand(len(middling), device=boxes.device)
    objects = middling[nms(boxes[middling], order, 0.01)][:OBJECTS]
    overlap, nearest = box_iou(boxes, boxes[objects]).max(dim=1)
    return torch.where(overlap > 0.5, nearest % CLASSES, CLASSES)


def _learn(heads: Any, pooled: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    box_head = getattr(heads, "box_head", torch.nn.Identity())  # C4 networks have none
    layers = torch.nn.ModuleList([box_head, heads.box_predictor]).train()
    optimizer = torch.optim.Adam(layers.parameters(), lr=5e-4)
    objects, background = (labels < CLASSES).nonzero().flatten(), (labels == CLASSES).nonzero().flatten()
    for _ in range(steps):
        others = background[torch.randperm(len(background), device=pooled.device)[:BACKGROUND_A_STEP]]
        rows = torch.cat([objects, others])
        loss = F.cross_entropy(heads.box_predictor(box_head(pooled[rows]))[0], labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
