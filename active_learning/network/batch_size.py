"""The largest batch that a training on a GPU has memory for, found by trial steps on images as large as they come."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from active_learning.network.training import MaskALTrainer
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from detectron2.utils.memory import none_if_cuda_oom

OBJECTS = 100  # in an image: more than most have
SHARE = 0.9  # of the GPU's memory: a long training has more gaps in it than a few steps
STEPS = 2  # the second also holds what the optimizer keeps
NEVER = 2**62


def largest_batch_that_fits(cfg: CfgNode, most: int) -> int:
    """Images in a step on the current device, at most `most`.

    Raises RuntimeError: there is no memory for one.
    """
    if cfg.MODEL.DEVICE != "cpu":
        torch.cuda.set_per_process_memory_fraction(SHARE)
    model: Any = MaskALTrainer.build_model(cfg)
    model.pixel_std.fill_(math.inf)  # all pixels become 0: in an untrained R_101, others leave the range of float16
    optimizer = MaskALTrainer.build_optimizer(cfg, model)
    trainer_type = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
    image = _largest_image(cfg)

    def steps(count: int) -> bool:
        options: dict[str, Any] = {"gather_metric_period": NEVER, "zero_grad_before_forward": True}
        trainer = trainer_type(model, [[image] * count], optimizer, **options)
        with EventStorage():
            for _ in range(STEPS):
                trainer.run_step()
        return True

    return largest(lambda count: bool(none_if_cuda_oom(steps, count)), most) or int(steps(1))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where those below it do too; 0: none does."""
    good, tried = 0, 1
    while tried <= most and fits(tried):
        good, tried = tried, tried * 2
    too_many = min(tried, most + 1)
    while too_many - good > 1:
        middle = (good + too_many) // 2
        if fits(middle):
            good = middle
        else:
            too_many = middle
    return good


def largest_size(cfg: CfgNode) -> tuple[int, int]:
    """(height, width) of the largest image, or tile, of a training."""
    longest = cfg.INPUT.MAX_SIZE_TRAIN
    shortest = min(max(cfg.INPUT.MIN_SIZE_TRAIN), longest)
    return shortest, shortest if cfg.INPUT.get("TILE_SIZE") else longest  # tiles are squares


def _largest_image(cfg: CfgNode) -> dict[str, Any]:
    """A model's input with squares in a row across it."""
    height, width = largest_size(cfg)
    left = torch.arange(OBJECTS) * (width / (OBJECTS + 1))
    boxes = torch.stack([left, left * 0, left + height / 4, left * 0 + height / 4], dim=1)
    boxes[:, 2].clamp_(max=width)
    objects = Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=torch.zeros(OBJECTS, dtype=torch.int64))
    masks = PolygonMasks([[box[[0, 1, 2, 1, 2, 3, 0, 3]].numpy()] for box in boxes])
    is_bitmask = cfg.INPUT.MASK_FORMAT == "bitmask"  # which are as large as the image, on the GPU
    objects.gt_masks = BitMasks.from_polygon_masks(masks, height, width) if is_bitmask else masks
    pixels = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": pixels, "height": height, "width": width, "instances": objects}
