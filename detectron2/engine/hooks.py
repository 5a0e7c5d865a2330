"""Hooks of a training: timing, learning rate, checkpoints, evaluation, writers."""

from __future__ import annotations

import logging
import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn

from detectron2.engine.train_loop import HookBase, TrainerBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.env import random_states_kept
from detectron2.utils.errors import InputError
from detectron2.utils.events import EventStorage, EventWriter

__all__ = [
    "BestCheckpointer", "CallbackHook", "EvalHook", "IterationTimer", "LRScheduler", "PeriodicCheckpointer",
    "PeriodicWriter", "PreciseBN",
]  # fmt: skip

logger = logging.getLogger(__name__)

Callback = Callable[[TrainerBase], None]


def _forgotten(*_: Any) -> Any:
    """In place of a user's function after a training: it may be a closure that holds the trainer, and its memory."""
    raise InputError("hooks forget their functions after a training, which may hold the trainer: make a new trainer")


class CallbackHook(HookBase):
    """Calls functions, each with the trainer as its argument. They are forgotten after one training."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
    ) -> None:
        self._callbacks: dict[str, Callback | None] = {
            "before_train": before_train,
            "after_train": after_train,
            "before_step": before_step,
            "after_step": after_step,
        }

    def _call(self, moment: str) -> None:
        callback = self._callbacks[moment]
        if callback is not None:
            callback(self.trainer)

    def before_train(self) -> None:
        self._call("before_train")

    def after_train(self) -> None:
        try:
            self._call("after_train")
        finally:
            self._callbacks = dict.fromkeys(self._callbacks, _forgotten)

    def before_step(self) -> None:
        self._call("before_step")

    def after_step(self) -> None:
        self._call("after_step")


class IterationTimer(HookBase):
    """Writes the seconds of each iteration as `time`; logs at the end how long the whole training took.

    The first `warmup_iter` iterations are slower and left out.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter

    def before_train(self) -> None:
        self._step_start = self._train_start = time.perf_counter()
        self._seconds_in_steps = 0.0
        self._steps = 0

    def before_step(self) -> None:
        self._step_start = time.perf_counter()

    def after_step(self) -> None:
        seconds = time.perf_counter() - self._step_start
        if self.trainer.iter - self.trainer.start_iter < self._warmup_iter:
            return
        self._steps += 1
        self._seconds_in_steps += seconds
        self.trainer.storage.put_scalars(time=seconds)

    def after_train(self) -> None:
        if not self._steps:
            return
        spent = (self._seconds_in_steps, time.perf_counter() - self._train_start)
        in_steps, total = (timedelta(seconds=int(seconds)) for seconds in spent)
        mean = self._seconds_in_steps / self._steps
        logger.info("%d iterations in %s (%.4f s an iteration); with hooks %s", self._steps, in_steps, mean, total)


class PeriodicWriter(HookBase):
    """Has each writer write every `period` iterations and at the end, where it also closes them."""

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        wrong = [type(writer).__name__ for writer in writers if not isinstance(writer, EventWriter)]
        if wrong:
            raise TypeError(f"PeriodicWriter needs EventWriter objects, not {', '.join(wrong)}")
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            writer.write()  # what hooks before this one put into the storage after the last step
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's PeriodicCheckpointer as a hook: a checkpoint every `period` iterations, and `<prefix>_final`."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0 or done >= self.trainer.max_iter:
            self.trainer.storage.settle()  # a loss that is not finite must stop the training before this is saved
        self.step(self.trainer.iter)


class _Periodic(HookBase):
    """Acts every `period` iterations (0 or less: never) and after the last one of a training that did not fail."""

    _period: int

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._act()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._act()

    def _act(self) -> None:
        raise NotImplementedError


class BestCheckpointer(_Periodic):
    """Keeps a checkpoint `<file_prefix>.pth` of the iteration that did best on a metric.

    Register it after the EvalHook of the same period, which puts the metric into the storage.

    Args:
        eval_period: iterations between evaluations; 0 or less compares at the end only.
        val_metric: name in the storage, such as "segm/AP".
        mode: "max" where higher is better, else "min".
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise InputError(f"BestCheckpointer: mode must be 'max' or 'min', not '{mode}'")
        self._period = eval_period
        self._checkpointer = checkpointer
        self._val_metric = val_metric
        self._better = operator.gt if mode == "max" else operator.lt
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def _act(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning("No metric '%s' was written: the best checkpoint cannot be kept", self._val_metric)
            return
        value, iteration = latest
        is_best = self.best_metric is None or self._better(value, self.best_metric)
        if not math.isfinite(value) or not is_best:
            return
        logger.info("%s %.5f at iteration %d is the best so far", self._val_metric, value, iteration)
        self.best_metric, self.best_iter = value, iteration
        self._checkpointer.save(self._file_prefix, iteration=iteration)

    def state_dict(self) -> dict[str, Any]:
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.best_metric, self.best_iter = state_dict["best_metric"], state_dict["best_iter"]


class LRScheduler(HookBase):
    """Steps a learning-rate schedule after each iteration and writes the rate as `lr`.

    `optimizer` and `scheduler` are the trainer's where not given. A ParamScheduler of fvcore is taken as a factor of
    each parameter group's rate over the iterations 0 to max_iter.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | ParamScheduler | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._group = 0

    def before_train(self) -> None:
        self._optimizer = self._optimizer or getattr(self.trainer, "optimizer", None)
        if self._optimizer is None:
            raise InputError("LRScheduler: neither the hook nor the trainer has an optimizer")
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer, self.scheduler, self.trainer.max_iter, last_iter=self.trainer.iter - 1
            )
        self._group = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """The first parameter group with the rate that most parameters have; the log shows it for all."""
        parameters: Counter[float] = Counter()
        for group in optimizer.param_groups:
            parameters[group["lr"]] += len(group["params"])
        return [group["lr"] for group in optimizer.param_groups].index(parameters.most_common(1)[0][0])

    def after_step(self) -> None:
        if self._optimizer is None or not isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            raise TypeError(f"LRScheduler: not a schedule of learning rates: {self.scheduler!r}")
        self.trainer.storage.put_scalar("lr", self._optimizer.param_groups[self._group]["lr"], smoothing_hint=False)
        self.scheduler.step()

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler | ParamScheduler | None:
        return self._scheduler or getattr(self.trainer, "scheduler", None)

    def state_dict(self) -> dict[str, Any]:
        scheduler = self.scheduler
        return scheduler.state_dict() if isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler) else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            logger.info("Loading the state of the learning-rate schedule")
            self.scheduler.load_state_dict(dict(state_dict))


class PreciseBN(HookBase):
    """Replaces the running averages of batch norms by the statistics of batches under the weights as they now are.

    Done every `period` iterations (0 or less: not) and after the last one. Register it before the hooks that save
    and evaluate. Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.
    """

    def __init__(self, period: int, model: nn.Module, data_loader: Iterable[Any], num_iter: int) -> None:
        """`data_loader` gives training batches, `num_iter` or more in a pass."""
        from fvcore.nn.precise_bn import get_bn_modules  # slow, and warns of what is old in it

        if not get_bn_modules(model):
            logger.warning("PreciseBN has nothing to do: no batch norm of the model is in training mode")
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.update_stats()

    def update_stats(self) -> None:
        """Measure and set the statistics now."""
        from fvcore.nn.precise_bn import update_bn_stats

        # Must change neither the metrics nor the random numbers of the training.
        with EventStorage(self.trainer.iter), random_states_kept():
            update_bn_stats(self._model, self._data_loader, self._num_iter)


class EvalHook(_Periodic):
    """Calls `eval_function` every `eval_period` iterations and at the end; its results go into the storage.

    The function is forgotten after one training.

    Args:
        eval_period: 0 or less evaluates at the end only.
        eval_function: takes nothing, returns a dict of numbers, nested dicts are named "a/b". Called in every process.
        eval_after_train: whether to evaluate after the last iteration. Not done after a failed training.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Mapping[str, Any] | None], eval_after_train: bool = True
    ) -> None:
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def before_train(self) -> None:
        if self._func is _forgotten:  # now, and not at the first evaluation
            _forgotten()

    def after_train(self) -> None:
        try:
            if self._eval_after_train:
                super().after_train()
        finally:
            self._func = _forgotten

    def _act(self) -> None:
        self.trainer.storage.settle()  # a loss that is not finite must stop the training before this is evaluated
        # A training does not depend on when it is evaluated: a resumed one leaves out the evaluations before.
        with random_states_kept():
            results = self._func()
        for name, value in flat_numbers(results or {}).items():
            self.trainer.storage.put_scalar(name, value, smoothing_hint=False)
        comm.synchronize()  # one process must not train on while another still evaluates


def flat_numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """{"segm": {"AP": 40}} -> {"segm/AP": 40.0}; ValueError for a value that is no number."""
    flat = {}
    for name, value in flatten_results_dict(results).items():
        try:
            flat[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the evaluation must return numbers; '{name}' is {value!r}") from error
    return flat
