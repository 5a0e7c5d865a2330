"""Hooks of MaskAL's training: the best weights, periodic checkpoints, whether the loss still falls, a progress bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from active_learning.network.evaluation import run_inference
from active_learning.network.image_faults import NamingLoader
from active_learning.network.weights_files import CLASSES, save_weights, trained_classes, write_failure_explained
from active_learning.system.files import file_stamp
from active_learning.system.log import logger
from active_learning.system.progress import progress
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

LEAST_FALL = 0.1  # of the loss, from one quarter of a training to the next
FEWEST_LOSSES = 20  # in a quarter


class KeepBest(hooks.EvalHook):
    """Evaluates the validation images every TEST.EVAL_PERIOD iterations and at the end; writes the best weights.

    Attributes:
        best_ap: the best mask AP so far, in percent.
        measured_on: stands for the validation images.
        why_not_taken: why the best AP of a checkpoint is not taken, "" where it is: it was measured on other images, or
            its weights are not there any more.
    """

    trainer: DefaultTrainer

    def __init__(self, cfg: CfgNode, best_model: Path, best_ap: float, measured_on: str = "") -> None:
        super().__init__(cfg.TEST.EVAL_PERIOD, self._validate)
        self.best_model = best_model
        self.best_ap = best_ap
        self.measured_on = measured_on
        self.why_not_taken = ""
        self._stamp = ""  # of the file, as it was last written or found
        self._validation: tuple[NamingLoader, DatasetEvaluator] | None = None

    def _validate(self) -> Mapping[str, Any]:
        # Made once: annotations are not read again, and the loader's workers stay.
        if self._validation is None:
            cfg, (name,) = self.trainer.cfg, self.trainer.cfg.DATASETS.TEST
            self._validation = self.trainer.build_test_loader(cfg, name), self.trainer.build_evaluator(cfg, name)
        loader, evaluator = self._validation
        self.trainer.optimizer.zero_grad()  # their memory is for the evaluation
        model = getattr(self.trainer.model, "module", self.trainer.model)  # without what several processes wrap around
        results = run_inference(model, self.trainer.cfg, loader, evaluator)
        if comm.is_main_process():
            self._keep_if_best(float(results.get("segm", {}).get("AP", math.nan)))
        return results

    def _keep_if_best(self, mask_ap: float) -> None:
        done, kept = min(self.trainer.iter + 1, self.trainer.max_iter), ""
        if mask_ap > self.best_ap:
            self.best_ap, kept = mask_ap, ", kept"
            save_weights(self.trainer.model, self.best_model, trained_classes(self.trainer.cfg))
            self.stamp_best_model()
        shown = 0.0 if math.isnan(mask_ap) else mask_ap  # not a number means that nothing was detected
        text = "Iteration %d: mask AP on the validation images %.1f (best %.1f)%s"
        logger.info(text, done, shown, self.best_ap, kept)

    def after_train(self) -> None:
        super().after_train()
        self._validation = None  # its processes and annotations are not needed any more

    def state_dict(self) -> dict[str, Any]:
        return {"best_ap": self.best_ap, "measured_on": self.measured_on, "best_model": self._stamp}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.stamp_best_model()  # an earlier version has left neither of the two
        if state_dict.get("measured_on", self.measured_on) != self.measured_on:
            self.why_not_taken = "The validation images are others than before"
        elif state_dict.get("best_model", self._stamp) != self._stamp:
            self.why_not_taken = f"{self.best_model}: is not what this training had kept"
        else:
            self.best_ap = state_dict["best_ap"]

    def stamp_best_model(self) -> None:
        """Notes that the file, as it is now, has `best_ap`."""
        self._stamp = file_stamp(self.best_model)


class KeepPeriodically(hooks.PeriodicCheckpointer):
    """Detectron2's checkpoints; MaskALError, with the file's folder, where one cannot be written."""

    trainer: DefaultTrainer

    def after_step(self) -> None:
        if (done := self.trainer.iter + 1) % self.period == 0 or done == self.trainer.max_iter:
            self.trainer.storage.settle()  # what a GPU reports late is no failure of the disk
        with write_failure_explained(Path(self.trainer.cfg.OUTPUT_DIR) / "model.pth"):
            super().after_step()

    def step(self, iteration: int, **kwargs: Any) -> None:
        super().step(iteration, **{CLASSES: trained_classes(self.trainer.cfg)}, **kwargs)


class LossTrend(HookBase):
    """Warns at the end of a training whose loss was still falling: a longer one may learn more.

    The loss of a training on few images falls long after the AP has stopped to rise: only a second training can tell.
    """

    def after_train(self) -> None:
        if self.trainer.iter < self.trainer.max_iter:  # it was stopped, or failed
            return
        history = self.trainer.storage.histories().get("total_loss")  # none in a training of no iterations
        losses = [loss for loss, _ in history.values()] if history else []
        if fall := still_falling(losses):
            logger.warning(
                "The loss was still falling when the training ended (%.3f in its third quarter, %.3f in its last). "
                "Choosing saves most where trainings are long enough (train_epochs, train_iterations_base): compare, "
                "once for your data, the AP of a training that is twice as long",
                *fall,
            )


def still_falling(losses: Sequence[float]) -> tuple[float, float] | None:
    """Mean losses of the third and the last quarter of a training, where the last is lower by more than chance and by
    more than LEAST_FALL of the third; None where it is not, or where there are too few to know."""
    quarter = len(losses) // 4
    if quarter < FEWEST_LOSSES:
        return None
    before, after = np.array(losses[-2 * quarter : -quarter]), np.array(losses[-quarter:])
    fall, chance = before.mean() - after.mean(), math.sqrt((before.var() + after.var()) / quarter)
    if fall < max(LEAST_FALL * before.mean(), 2 * chance):
        return None
    return float(before.mean()), float(after.mean())


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
