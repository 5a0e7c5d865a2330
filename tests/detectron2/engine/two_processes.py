"""Run by test_two_processes.py in one process and in two: everything that must not depend on their number.

Under torchrun, as a script with an output folder as its argument, only what does not need a network is done.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, create_ddp_model, launch
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.layers import get_norm
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

DATASET = "two_processes_shapes"
OPTIONS = {"zero_grad_before_forward": True, "async_write_metrics": True}


class Losses(HookBase):
    def __init__(self) -> None:
        self.of: list[float] = []

    def after_step(self) -> None:
        self.of.append(self.trainer.storage.latest()["total_loss"][0])


def sampler_orders() -> dict[str, list[list[int]]]:
    """What each process gets of 30 positions of an endless order, or of 11 images."""
    share = 30 // comm.get_world_size()
    factors = torch.linspace(1, 2.5, 11)
    samplers = {
        "training": TrainingSampler(11),
        "repeat": RepeatFactorTrainingSampler(factors),
        "inference": InferenceSampler(11),
    }
    return {name: comm.all_gather(list(itertools.islice(iter(one), share))) for name, one in samplers.items()}


def train(cfg: CfgNode, seed: int, resume: bool) -> list[float]:
    seed_all_rng(seed + comm.get_rank())
    trainer, losses = DefaultTrainer(cfg), Losses()
    trainer.register_hooks([losses])
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return losses.of


def nearly_right(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ground truth of images, shifted by up to 4 pixels, found with a score of its own; nothing in image 3."""
    outputs = []
    for one in inputs:
        number, height, width = one["image_id"], one["height"], one["width"]
        x, y, w, h = DatasetCatalog.get(DATASET)[number]["annotations"][0]["bbox"]
        x0, y0 = int(x) + number % 5, int(y)
        masks = torch.zeros(1, height, width, dtype=torch.bool)
        masks[0, y0 : y0 + int(h), x0 : x0 + int(w)] = True
        found = Instances((height, width), pred_masks=masks, scores=torch.tensor([0.9 - number / 20]))
        found.pred_boxes = Boxes([[x0, y0, x0 + w, y0 + h]])
        found.pred_classes = torch.tensor([number % 2])
        outputs.append({"instances": found[torch.tensor([number != 3])]})
    return outputs


def evaluate(cfg: CfgNode) -> dict[str, Any]:
    """The results of all processes together, and those of this one on all images."""
    alone = build_detection_test_loader(cfg, DATASET, sampler=range(len(DatasetCatalog.get(DATASET))))
    return {
        "together": inference_on_dataset(
            nearly_right, build_detection_test_loader(cfg, DATASET), COCOEvaluator(DATASET)
        ),
        "alone": inference_on_dataset(nearly_right, alone, COCOEvaluator(DATASET, distributed=False)),
    }


def sync_bn_error() -> str:
    try:
        create_ddp_model(nn.Sequential(nn.Conv2d(3, 4, 1), get_norm("SyncBN", 4)))
    except ValueError as error:
        return str(error)
    return ""


class Distance(nn.Module):
    """The squared distance of its weight, 0 at first, to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_a": (self.weight - x).square(), "loss_b": 0 * self.weight}


def step_of_all(**options: Any) -> list[dict[str, float]]:
    """Who each process is, and its weight and loss after a step: rank 0 pulls to 1, rank 1 to 3."""
    model = create_ddp_model(Distance())
    batch = torch.tensor(1.0 + 2 * comm.get_rank())
    trainer = SimpleTrainer(model, [batch], torch.optim.SGD(model.parameters(), lr=0.5), **options)
    trainer.train(0, 1)
    own = {
        "rank": comm.get_rank(),
        "local_rank": comm.get_local_rank(),
        "world": comm.get_world_size(),
        "local_size": comm.get_local_size(),
        "weight": next(model.parameters()).item(),
        "loss": trainer.storage.latest()["total_loss"][0],
    }
    return comm.all_gather(own)


def write(output: str, facts: dict[str, Any]) -> None:
    if comm.is_main_process():
        Path(output, "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def small(output: str) -> None:
    torch.set_num_threads(1)
    write(output, {"step": step_of_all(), "step_with_options": step_of_all(**OPTIONS)})


def main(config_file: str, images: str, output: str) -> None:
    torch.set_num_threads(1)
    seed_all_rng(comm.get_rank())
    facts: dict[str, Any] = {"orders": sampler_orders(), "sync_bn": sync_bn_error(), "step": step_of_all()}
    register_coco_instances(DATASET, {}, f"{images}/dataset.json", images)
    cfg = get_cfg()
    cfg.merge_from_file(config_file)
    cfg.OUTPUT_DIR = output
    facts["losses"] = train(cfg, seed=1, resume=False)
    facts["results"] = evaluate(cfg)
    if comm.is_main_process():
        Path(output, "last_checkpoint").write_text("model_0000009.pth", encoding="utf-8")
    comm.synchronize()
    facts["resumed_losses"] = train(cfg, seed=5, resume=True)
    write(output, facts)


if __name__ == "__main__":
    launch(small, 2, dist_url="auto", args=(sys.argv[1],))
