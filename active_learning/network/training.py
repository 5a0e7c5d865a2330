"""Training of the network on a registered data set: keeps the weights that do best on the validation images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fvcore.common.param_scheduler import ExponentialParamScheduler
from torch import nn

from active_learning.network import dropout_heads  # noqa: F401  (registers the heads)
from active_learning.network.evaluation import coco_evaluator
from active_learning.network.image_faults import NamingLoader, evaluation_loader, train_loader
from active_learning.network.precision import use_exact_float32
from active_learning.network.resume_point import KEPT, ResumePoint
from active_learning.network.training_failures import failures_explained
from active_learning.network.training_hooks import KeepBest, KeepPeriodically, LossTrend, ProgressBar
from active_learning.network.weights_files import backbone_filled, begin_best, save_weights, trained_classes
from active_learning.system.disk_space import check_space
from active_learning.system.files import write_errors_named
from active_learning.system.log import logger
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import COCOEvaluator
from detectron2.solver import LRMultiplier, WarmupParamScheduler, build_lr_scheduler
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng


def register_dataset(name: str, json_file: Path, image_dir: Path, classes: Sequence[str]) -> None:
    """Makes a COCO json file known to Detectron2 as `name`; another one of that name is replaced."""
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_coco_instances(name, {"thing_classes": list(classes)}, os.fspath(json_file), os.fspath(image_dir))


def train(
    cfg: CfgNode,
    *,
    best_model: Path,
    best_ap: float,
    final_model: Path,
    best_before: Path | None = None,
    measured_on: str = "",
) -> float:
    """Trains by `cfg` (of `training_config`); a training that was interrupted goes on.

    Several GPUs share each batch; its size, and so the schedule, is that of a single one. Where they cannot share it
    equally, and on the CPU, the first process trains alone.

    Args:
        best_model: written whenever the mask AP on the validation images rises above the best so far.
        best_ap: the best so far, in percent.
        final_model: the weights of the last iteration.
        best_before: the weights that reached `best_ap`; `best_model` begins as a copy of them.
        measured_on: stands for the validation images; the best of an interrupted training on others does not count.

    Returns:
        The best so far after this training.

    Raises:
        MaskALError: an image cannot be used (it is named), the loss became infinite or NaN, the weights to start from
            cannot be read, or the GPU's memory or the disk is too small.
    """
    keep_best = partial(KeepBest, cfg, best_model, best_ap, measured_on)
    if reason := _why_single_process(cfg):
        logger.warning("%s: one of %d processes trains, the others wait", reason, comm.get_world_size())
        if not comm.is_main_process():
            return best_ap
        with comm.single_process():
            return _train(cfg, keep_best, final_model, best_before)
    return _train(cfg, keep_best, final_model, best_before)


def _why_single_process(cfg: CfgNode) -> str:
    """Empty where all processes train together, or where there is only one."""
    batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if processes == 1:
        return ""
    if cfg.MODEL.DEVICE == "cpu":
        # Processes share a processor's cores anyhow, and a run then is the same, to the last bit, as that of one.
        return "Training is on the CPU"
    if batch % processes:
        return f"train_batch_size {batch} is not a multiple of {processes}"
    return ""


def _train(cfg: CfgNode, keep_best: Callable[[], KeepBest], final_model: Path, best_before: Path | None) -> float:
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = _make_trainer(cfg, keep_best(), final_model)
    if comm.is_main_process():
        _check_space(cfg, trainer.model)
    goes_on = trainer.go_on()
    if not goes_on:
        if trainer.resume_point.damaged:
            trainer = _make_trainer(cfg, keep_best(), final_model)
        trainer.load_weights()
    elif reason := trainer.keep_best.why_not_taken:
        logger.info("%s: the best weights are those from here on", reason)
    if comm.is_main_process() and (not goes_on or trainer.keep_best.why_not_taken):
        begin_best(trainer.keep_best.best_model, best_before)
        trainer.keep_best.stamp_best_model()
    with write_errors_named(Path(cfg.OUTPUT_DIR)):  # of the engine's records of losses
        trainer.train()
    if comm.is_main_process():
        save_weights(trainer.model, final_model, trained_classes(cfg))
    return float(comm.all_gather(trainer.keep_best.best_ap)[0])


def _make_trainer(cfg: CfgNode, keep_best: KeepBest, final_model: Path) -> MaskALTrainer:
    # Random numbers differ between processes; that they agree on the order of the images is the sampler's part.
    seed_all_rng(cfg.SEED + comm.get_rank() if cfg.SEED >= 0 else None)
    trainer = MaskALTrainer(cfg, keep_best)
    if Path(cfg.MODEL.WEIGHTS) == final_model:
        trainer.resume_point.start = ""  # the training writes over what it started from
    return trainer


def _check_space(cfg: CfgNode, model: nn.Module) -> None:
    """For the weights and the checkpoints; a checkpoint holds the optimizer's state too, and is written as a draft."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    checkpoints = KEPT + 1 + (cfg.SOLVER.MAX_ITER // period if period > 0 else 0)
    folder = Path(cfg.OUTPUT_DIR)
    there = sum(file.stat().st_size for file in folder.rglob("*.pth"))
    needed = (3 + 2 * checkpoints) * weights - there
    check_space(folder, needed, "the weights and checkpoints of this training", "set weightsroot to another disk")


class MaskALTrainer(DefaultTrainer):
    """DefaultTrainer that keeps the best model, shows a progress bar, and goes on after an interruption."""

    def __init__(self, cfg: CfgNode, keep_best: KeepBest) -> None:
        self.keep_best = keep_best
        super().__init__(cfg)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Convolutions are faster with the channels last, on CPUs and in mixed precision on GPUs."""
        use_exact_float32()
        return super().build_model(cfg).to(memory_format=torch.channels_last)

    def build_hooks(self) -> list[HookBase | None]:
        """Standard order: what measures and checks comes before what writes it down."""
        main, period = comm.is_main_process(), self.cfg.SOLVER.CHECKPOINT_PERIOD
        self.resume_point = ResumePoint(self, self.cfg)
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            KeepPeriodically(self.checkpointer, period) if main and period > 0 else None,
            self.keep_best,
            self.resume_point,
            ProgressBar() if main else None,
            LossTrend() if main else None,
            hooks.PeriodicWriter(self.build_writers(), period=20) if main else None,
        ]

    def go_on(self) -> bool:
        """Whether there is the state of an interrupted training of this very config, which is loaded."""
        if not self.resume_point.load():
            return False
        self.start_iter = self.iter + 1
        logger.info("Going on with the interrupted training at iteration %d", self.start_iter)
        if self.resume_point.is_of_other_data:
            logger.warning(
                "Until there it was on other images or annotations, and goes on with what is there now; to train on "
                "that from the first iteration, stop MaskAL, delete %s and start again",
                self.resume_point.folder,
            )
        return True

    def load_weights(self) -> None:
        """Those that the config names. Raises MaskALError where they cannot be read, or are of another network."""
        with backbone_filled(self.checkpointer.model, self.cfg.MODEL.WEIGHTS):
            self.resume_or_load(resume=False)

    def train(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """A loss that a GPU reports late, and not to `run_step`, is explained, too: without the images at hand then."""
        try:
            return super().train()
        except FloatingPointError:
            with failures_explained(self.cfg, None, training=True):
                raise

    def run_step(self) -> None:
        with failures_explained(self.cfg, self.data_loader, training=True):
            super().run_step()

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> NamingLoader:
        return train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> NamingLoader:
        return evaluation_loader(cfg, dataset_name, "validating")

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> COCOEvaluator:
        return coco_evaluator(cfg, dataset_name)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Detectron2's schedules, and WarmupExponentialLR: a smooth fall to GAMMA ** NUM_DECAYS."""
        solver = cfg.SOLVER
        if solver.LR_SCHEDULER_NAME != "WarmupExponentialLR":
            return build_lr_scheduler(cfg, optimizer)
        fall = ExponentialParamScheduler(1.0, solver.GAMMA**solver.NUM_DECAYS)
        warmup = WarmupParamScheduler(
            fall, solver.WARMUP_FACTOR, min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0), solver.WARMUP_METHOD
        )
        return LRMultiplier(optimizer, multiplier=warmup, max_iter=solver.MAX_ITER)
