"""A training that was stopped and resumed equals one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.utils.env import seed_all_rng

ITERATIONS = 6


class Losses(HookBase):
    """What each iteration gave; fails once at `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.of: dict[int, dict[str, float]] = {}

    def before_step(self) -> None:
        if self.trainer.iter == self.stop_at:
            raise KeyboardInterrupt

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        self.of[self.trainer.iter] = {name: latest[name][0] for name in latest if "loss" in name or name == "lr"}


class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        np.random.rand(7)  # an evaluation that samples must not change the training
        torch.rand(3)
        return COCOEvaluator(dataset_name)


def run(cfg, *, seed: int, resume: bool = False, stop_at: int | None = None) -> tuple[Trainer, Losses]:
    seed_all_rng(seed)
    trainer, losses = Trainer(cfg), Losses(stop_at)
    trainer.register_hooks([losses])
    trainer.resume_or_load(resume=resume)
    if stop_at is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer, losses


@pytest.mark.parametrize(
    "overrides",
    [
        ["DATALOADER.ASPECT_RATIO_GROUPING", False, "MODEL.MASK_ON", False],
        ["DATALOADER.ASPECT_RATIO_GROUPING", True, "DATALOADER.NUM_WORKERS", 2],
        ["SOLVER.AMP.ENABLED", True, "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
        ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", "SOLVER.STEPS", (4,)],
    ],
    ids=["plain batches", "grouped by workers", "bfloat16, repeat factors", "clipped, grouped"],
)
def test_losses_after_a_resume_are_those_of_an_uninterrupted_training(make_cfg, mixed_images, tmp_path, overrides):
    common = ["SOLVER.MAX_ITER", ITERATIONS, "SOLVER.CHECKPOINT_PERIOD", 3, "TEST.EVAL_PERIOD", 3]
    varied = ["INPUT.MIN_SIZE_TRAIN", (48, 64, 72), "DATALOADER.REPEAT_THRESHOLD", 0.9]
    cfg = make_cfg(mixed_images, *common, *varied, *overrides)
    whole, expected = run(cfg, seed=1)
    cfg.OUTPUT_DIR = str(tmp_path / "stopped")
    _, first = run(cfg, seed=1, stop_at=5)
    resumed, second = run(cfg, seed=2, resume=True)
    assert list(first.of) == [0, 1, 2, 3, 4]
    assert list(second.of) == [3, 4, 5]
    assert {**first.of, **second.of} == expected.of
    weights = whole.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in resumed.model.state_dict().items())


class Noisy(nn.Module):
    """A loss that depends on the batch, on dropout, and on a draw of numpy's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        x = torch.tensor([[item["random"]] for item in batch], dtype=torch.float32)
        noise = nn.functional.dropout(torch.ones(len(batch), 1)) + np.random.rand()
        return {"loss": (self.layer(x) - noise).square().mean()}


def _draw(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "random": float(np.random.rand())}


def make_simple_trainer(folder: Path, batches: Any = None) -> tuple[SimpleTrainer, Losses, DetectionCheckpointer]:
    loader = batches or build_detection_train_loader(
        [{"id": i, "width": 1 + i % 3, "height": 2} for i in range(9)], mapper=_draw, total_batch_size=2
    )
    model = Noisy()
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    losses = Losses()
    trainer.register_hooks([losses])
    return trainer, losses, DetectionCheckpointer(model, str(folder), trainer=trainer)


@pytest.mark.parametrize("batches", [None, [[{"random": 0.5}]]], ids=["our loader", "a list"])
def test_a_simple_trainer_resumes(tmp_path, batches):
    seed_all_rng(3)
    trainer, expected, checkpointer = make_simple_trainer(tmp_path, batches)
    trainer.train(0, 5)
    checkpointer.save("middle")
    trainer.train(5, 12)
    seed_all_rng(4)
    resumed, losses, checkpointer = make_simple_trainer(tmp_path, batches)
    checkpointer.resume_or_load("", resume=True)
    resumed.train(resumed.iter, 12)
    assert losses.of == {number: expected.of[number] for number in range(5, 12)}


def test_another_number_of_processes_is_reported(tmp_path, caplog):
    trainer, _, _ = make_simple_trainer(tmp_path)
    trainer.train(0, 2)
    states = trainer.process_states()
    before = torch.get_rng_state()
    trainer.load_process_states(states * 2)
    assert "2 process(es), this training has 1" in caplog.text
    assert torch.equal(torch.get_rng_state(), before)
    trainer.train(2, 3)


def test_another_loader_is_read_from_its_start(tmp_path):
    trainer, _, _ = make_simple_trainer(tmp_path)
    trainer.train(0, 1)
    trainer.data_loader = [[{"random": 9.0}]]
    assert trainer.next_batch() == [{"random": 9.0}]
    assert next(trainer._data_loader_iter, None) is None
