"""Hooks of MaskAL's training: the best model, a point to go on from after an interruption, a progress bar."""

from __future__ import annotations

import hashlib
import math
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from active_learning.log import logger
from active_learning.progress import progress
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.utils import comm


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes {"model": state dict}; the file holds the old or the new weights at every moment."""
    model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    draft = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict()}, draft)
    draft.replace(path)


class KeepBest(hooks.EvalHook):
    """Evaluates the validation images every TEST.EVAL_PERIOD iterations and at the end; writes the best weights.

    Attributes:
        best_ap: the best mask AP so far, in percent.
    """

    trainer: DefaultTrainer

    def __init__(self, cfg: CfgNode, best_model: Path, best_ap: float) -> None:
        super().__init__(cfg.TEST.EVAL_PERIOD, self._validate)
        self.best_model = best_model
        self.best_ap = best_ap

    def _validate(self) -> Mapping[str, Any]:
        results = self.trainer.test(self.trainer.cfg, self.trainer.model)
        if comm.is_main_process():
            self._keep_if_best(float(results.get("segm", {}).get("AP", math.nan)))
        return results

    def _keep_if_best(self, mask_ap: float) -> None:
        done = min(self.trainer.iter + 1, self.trainer.max_iter)
        # Not a number means that nothing was detected.
        is_best = mask_ap > self.best_ap
        if is_best:
            self.best_ap = mask_ap
            save_weights(self.trainer.model, self.best_model)
        logger.info(
            "Iteration %d: mask AP on the validation images %.1f (best %.1f)%s",
            done,
            0.0 if math.isnan(mask_ap) else mask_ap,
            self.best_ap,
            ", kept" if is_best else "",
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best_ap": self.best_ap}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.best_ap = state_dict["best_ap"]


class ResumePoint(HookBase):
    """Keeps one checkpoint of everything, renewed with each evaluation, from which the same training can go on.

    It belongs to one config: a training with another one (another loop, other settings) does not take it up.
    """

    def __init__(self, trainer: DefaultTrainer, cfg: CfgNode) -> None:
        self._folder = Path(cfg.OUTPUT_DIR) / "resume"
        self._prefix = hashlib.sha256(cfg.dump().encode()).hexdigest()[:12]
        self._period = cfg.TEST.EVAL_PERIOD
        self._checkpointer = DetectionCheckpointer(
            trainer.checkpointer.model, str(self._folder), trainer=weakref.proxy(trainer)
        )

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 and done < self.trainer.max_iter:
            self._save(f"{self._prefix}_{self.trainer.iter:07d}")
            comm.synchronize()

    def _save(self, name: str) -> None:
        if not comm.is_main_process():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._checkpointer.save(name)
        for old in self._folder.glob("*.pth"):
            if old.stem != name:
                old.unlink()

    def load(self) -> bool:
        """Whether there was a point of this config; sets the trainer's `iter` to the last iteration that was done."""
        if not self._checkpointer.has_checkpoint():
            return False
        latest = Path(self._checkpointer.get_checkpoint_file())
        if not latest.name.startswith(self._prefix) or not latest.is_file():
            return False
        self._checkpointer.resume_or_load("", resume=True)
        return True

    def remove(self) -> None:
        """Called when the training is done."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)


class ProgressBar(HookBase):
    """A bar with iterations, time left and loss."""

    def before_train(self) -> None:
        self._bar = progress(
            what="training", unit="iteration", total=self.trainer.max_iter, start=self.trainer.start_iter
        )

    def after_step(self) -> None:
        if self.trainer.iter % 20 == 0:
            loss = self.trainer.storage.history("total_loss").median(20)
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update(1)

    def after_train(self) -> None:
        self._bar.close()
