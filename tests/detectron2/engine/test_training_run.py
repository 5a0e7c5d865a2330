"""Whole trainings of a tiny Mask R-CNN: what they write, and in which order their hooks do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detectron2.engine import BestCheckpointer, DefaultTrainer, HookBase
from detectron2.utils.env import seed_all_rng

LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
METRICS = {
    "iteration",
    "total_loss",
    "lr",
    "time",
    "data_time",
    "eta_seconds",
    "fast_rcnn/cls_accuracy",
    "fast_rcnn/fg_cls_accuracy",
    "fast_rcnn/false_negative",
    "mask_rcnn/accuracy",
    "mask_rcnn/false_positive",
    "mask_rcnn/false_negative",
    "roi_head/num_fg_samples",
    "roi_head/num_bg_samples",
    "rpn/num_pos_anchors",
    "rpn/num_neg_anchors",
    *LOSSES,
}


class Trainer(DefaultTrainer):
    """Its evaluations give the numbers of `scores` in turn."""

    scores: list[float] = []

    @classmethod
    def test(cls, cfg: Any, model: Any, evaluators: Any = None) -> dict[str, Any]:
        return {"segm": {"AP": cls.scores.pop(0)}}


class Weights(HookBase):
    """The weight of a layer after each iteration."""

    def __init__(self) -> None:
        self.of: dict[int, torch.Tensor] = {}

    def after_step(self) -> None:
        weight = self.trainer.model.roi_heads.box_predictor.cls_score.weight
        self.of[self.trainer.iter] = weight.detach().clone()


def lines_of(cfg: Any) -> list[dict[str, float]]:
    text = Path(cfg.OUTPUT_DIR, "metrics.json").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_a_training_lowers_its_loss_and_writes_all_metrics(make_cfg, square_images, amp):
    seed_all_rng(0)
    iterations = 41
    cfg = make_cfg(square_images, "SOLVER.MAX_ITER", iterations, "SOLVER.AMP.ENABLED", amp, "DATASETS.TEST", ())
    trainer = DefaultTrainer(cfg)
    trainer.train()
    lines = lines_of(cfg)
    assert [line["iteration"] for line in lines] == [19, 39, 40]
    assert all(set(line) == METRICS for line in lines)
    last = lines[-1]
    assert last["lr"] == cfg.SOLVER.BASE_LR
    assert last["total_loss"] == pytest.approx(sum(last[name] for name in LOSSES), rel=0.3)
    totals = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert sum(totals[-5:]) < 0.8 * sum(totals[:5])
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_the_best_checkpoint_has_the_weights_that_were_evaluated(make_cfg, square_images, tmp_path):
    cfg = make_cfg(square_images, "SOLVER.MAX_ITER", 6, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 100)
    Trainer.scores = [10.0, 30.0, 20.0]
    trainer, weights = Trainer(cfg), Weights()
    best = BestCheckpointer(cfg.TEST.EVAL_PERIOD, trainer.checkpointer, "segm/AP")
    trainer.register_hooks([weights, best])
    trainer.train()
    assert Trainer.scores == []
    assert (best.best_metric, best.best_iter) == (30.0, 3)
    checkpoint = torch.load(Path(cfg.OUTPUT_DIR, "model_best.pth"), weights_only=True)
    assert checkpoint["iteration"] == 3
    assert torch.equal(checkpoint["model"]["roi_heads.box_predictor.cls_score.weight"], weights.of[3])
    written = {line["iteration"]: line.get("segm/AP") for line in lines_of(cfg)}
    # The evaluation after the last step is written too, with the number of iterations as its own.
    assert written[6] == 20.0
