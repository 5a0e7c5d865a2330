"""Time and memory of a training step beside torchvision's Mask R-CNN R50-FPN, in pairs in one run; random weights.

    python benchmarks/training.py [--engine FOLDER] [--pairs N]

FOLDER holds another `detectron2` package, which is then measured instead of this repository's. Both train on the same
two drawn images of 640 x 480, enlarged to 800 x 1067, with the same objects. All batch norms are frozen, and so are the
stem and the first stage, as both engines do by default with ImageNet weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pairs import Call, compare

IMAGES, OBJECTS, CLASSES = 2, 10, 80
HEIGHT, WIDTH, SHORTEST = 480, 640, 800
RATE = 1e-12  # untrained weights must not diverge while they are timed
CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def drawn_objects(seed: int) -> list[tuple[int, Any]]:
    """Class and 20-point polygon (20, 2) of each object of an image, in pixels of 480 x 640."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = rng.uniform((70, 70), (WIDTH - 70, HEIGHT - 70), (OBJECTS, 2))
    return [(int(rng.integers(CLASSES)), centre + rng.uniform(20, 60) * circle) for centre in centres]


def pixels(seed: int) -> Any:
    """(3, 800, 1067) in 0..255."""
    scale = SHORTEST / HEIGHT
    shape = (3, SHORTEST, round(WIDTH * scale))
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.float32)


def engine_step(device: str) -> Call:
    import torch

    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.solver import build_optimizer
    from detectron2.structures import Boxes, Instances, PolygonMasks
    from detectron2.utils.events import EventStorage

    config = get_cfg()
    config.merge_from_file(model_zoo.get_config_file(CONFIG))
    config.MODEL.DEVICE, config.MODEL.WEIGHTS, config.SOLVER.BASE_LR = device, "", RATE
    model = build_model(config).train()
    optimizer = build_optimizer(config, model)
    batch = []
    for seed in range(IMAGES):
        image = torch.as_tensor(pixels(seed))
        polygons = [polygon * SHORTEST / HEIGHT for _, polygon in drawn_objects(seed)]
        corners = [[*polygon.min(0), *polygon.max(0)] for polygon in polygons]
        truth = Instances((image.shape[1], image.shape[2]))
        truth.gt_boxes = Boxes(torch.tensor(np.array(corners), dtype=torch.float32))
        truth.gt_classes = torch.tensor([label for label, _ in drawn_objects(seed)])
        truth.gt_masks = PolygonMasks([[polygon.reshape(-1)] for polygon in polygons])
        batch.append({"image": image, "instances": truth, "height": HEIGHT, "width": WIDTH})

    def step() -> None:
        with EventStorage(0):
            losses = sum(model(batch).values())
        _update(losses, optimizer)

    return step


def torchvision_step(device: str) -> Call:
    import cv2
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    # What maskrcnn_resnet50_fpn builds when it is given weights.
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    model = MaskRCNN(backbone, num_classes=CLASSES + 1, min_size=SHORTEST).train().to(device)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE, momentum=0.9)
    images, targets = [], []
    for seed in range(IMAGES):
        image = pixels(seed) / 255
        masks = []
        for _, polygon in drawn_objects(seed):
            canvas = np.zeros(image.shape[1:], np.uint8)
            masks.append(cv2.fillPoly(canvas, [(polygon * SHORTEST / HEIGHT).round().astype(np.int32)], 1))
        corners = [[*polygon.min(0), *polygon.max(0)] for _, polygon in drawn_objects(seed)]
        images.append(torch.as_tensor(image))
        targets.append(
            {
                "boxes": torch.tensor(np.array(corners) * SHORTEST / HEIGHT, dtype=torch.float32),
                "labels": torch.tensor([label + 1 for label, _ in drawn_objects(seed)]),
                "masks": torch.as_tensor(np.stack(masks)),
            }
        )

    def step() -> None:
        there = [image.to(device) for image in images]  # as the engine does in its step
        truth = [{name: value.to(device) for name, value in target.items()} for target in targets]
        _update(sum(model(there, truth).values()), optimizer)

    return step


def _update(losses: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    losses.backward()
    optimizer.step()


if __name__ == "__main__":
    title = f"Training step, {IMAGES} images of {SHORTEST} x 1067, Mask R-CNN R50-FPN, fp32, random weights"
    compare(title, __doc__, {"engine": engine_step, "torchvision": torchvision_step}, IMAGES)
