"""The training loop: an iteration counter that calls hooks around `run_step`, and the usual steps for it."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import nn

from detectron2.engine.losses import Losses, as_numbers, metrics_on_device
from detectron2.utils import comm
from detectron2.utils.env import random_states, random_states_kept, set_random_states
from detectron2.utils.errors import InputError
from detectron2.utils.events import EventStorage, get_event_storage

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]

logger = logging.getLogger(__name__)


class HookBase:
    """Something to do around the steps of a training: override any of the methods.

    `trainer` is set on registration. Order: before_train, (before_step, run_step, after_step) for each iteration,
    after_train (also after a failure). A hook with a state that a resumed training needs also has `state_dict` and
    `load_state_dict`.
    """

    trainer: TrainerBase

    def before_train(self) -> None:
        """Called once before the first iteration."""

    def after_train(self) -> None:
        """Called once after the last iteration, or after an exception."""

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_step(self) -> None:
        """Called after each iteration; `self.trainer.iter` is its number, from 0."""

    def state_dict(self) -> dict[str, Any]:
        return {}


class TrainerBase:
    """Counts iterations and calls hooks; what an iteration does is `run_step` of a subclass.

    `iter` counts from 0, or from `start_iter` where resumed, to `max_iter - 1`; `storage` holds the metrics.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int = 0
        self.storage: EventStorage

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Append hooks, which are called in the order of registration; None is passed over."""
        for hook in hooks:
            if hook is None:
                continue
            hook.trainer = weakref.proxy(self)  # a plain reference would keep the trainer's memory alive
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations `start_iter` to `max_iter - 1`."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.storage.settle()
                # Distinguishes a finished training from one that stopped in its last iteration.
                self.iter = max(start_iter, max_iter)
            except Exception as error:
                logger.error("Training stopped at iteration %d: %s", self.iter, error)
                with suppress(RuntimeError):  # of a GPU that has failed, and from which nothing can be fetched
                    self.storage.settle()  # raises what went wrong an iteration earlier, and led to this
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def before_step(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_step(self) -> None:
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no run_step")

    def state_dict(self) -> dict[str, Any]:
        """{"iteration": int, "hooks": {class name: state}}; "hooks" only where a hook has a state."""
        state: dict[str, Any] = {"iteration": self.iter}
        hooks = {type(hook).__qualname__: hook.state_dict() for hook in self._hooks}
        hooks = {name: hook_state for name, hook_state in hooks.items() if hook_state}
        return {**state, "hooks": hooks} if hooks else state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.iter = state_dict["iteration"]
        by_name = {type(hook).__qualname__: hook for hook in self._hooks}
        for name, hook_state in state_dict.get("hooks", {}).items():
            load = getattr(by_name.get(name), "load_state_dict", None)
            if load is None:
                logger.warning("The checkpoint has a state of hook '%s', this training has no such hook", name)
            else:
                load(hook_state)


class SimpleTrainer(TrainerBase):
    """One optimizer step on one batch an iteration.

    `model(batch)` must return a dict of losses (or one loss); `data_loader` yields batches, and starts over where it
    is finite. Losses are averaged over processes and written as `total_loss` and by their names; `data_time` is the
    seconds the loop waited for data, of the slowest process. A loss that is not finite stops the training where it is
    written.

    The state holds the random generators, and the place in the data of a loader with `state_dict` and
    `load_state_dict` (those of detectron2.data have them): a resumed training is then equal to an uninterrupted one.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        """
        Args:
            gather_metric_period: write losses and data time every so many iterations. Each time, the processes wait for
                one another and the processor for its GPU.
            zero_grad_before_forward: free the gradients before the forward pass, which then has their memory, instead
                of after it.
            async_write_metrics: wait for the losses in a thread, while the next iteration begins. They are in the
                storage before anyone reads it, and an error is raised an iteration later at the latest.
        """
        super().__init__()
        if gather_metric_period < 1:
            raise InputError(f"gather_metric_period is {gather_metric_period}; it must be at least 1")
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self._metrics_thread = ThreadPoolExecutor(1, "metrics") if async_write_metrics else None
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self._is_resumed = False
        self._gathered: list[dict[str, Any]] = []

    @property
    def data_loader(self) -> Iterable[Any]:
        return self._data_loader

    @data_loader.setter
    def data_loader(self, loader: Iterable[Any]) -> None:
        self._data_loader = loader
        self._batches: Iterator[Any] | None = None

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        # Many users' own run_step reads it, private as it is.
        if self._batches is None:
            # Starting a pass samples random numbers, which the checkpoint's generators have behind them already.
            with random_states_kept() if self._is_resumed else nullcontext():
                self._batches = iter(self.data_loader)
            self._is_resumed = False
        return self._batches

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Go on with the loader that the function gives; the workers of the old one end before it is called."""
        self.data_loader = ()
        self.data_loader = data_loader_builder()

    def next_batch(self) -> Any:
        """The next batch; raises ValueError where the loader yields nothing."""
        batch = next(self._data_loader_iter, None)
        if batch is None:
            self._batches = None
            batch = next(self._data_loader_iter, None)
        if batch is None:
            raise ValueError("the data loader yields no batch: the training set is smaller than a batch, or empty")
        return batch

    def run_step(self) -> None:
        """Forward, backward, optimizer step; FloatingPointError, with the remedy, where the loss is not finite."""
        if not self.model.training:
            raise InputError(f"{type(self).__name__}: the model is in eval mode; call model.train() before training")
        start = time.perf_counter()
        batch = self.next_batch()
        data_time = time.perf_counter() - start
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with self.forward_context():
            losses = self.losses_of(batch)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self.backward(as_numbers(losses).sum())
        self._write_metrics(losses, data_time)
        self.step_optimizer()

    def losses_of(self, batch: Any) -> Losses:
        try:
            losses = self.model(batch)
        except FloatingPointError as error:
            raise FloatingPointError(f"iteration {self.iter}: {error}") from error
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    def forward_context(self) -> AbstractContextManager[Any]:
        return torch.enable_grad()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def step_optimizer(self) -> None:
        self.optimizer.step()

    def _write_metrics(self, losses: Losses, data_time: float, prefix: str = "") -> None:
        """Write the metrics where the period has them written; stops a training whose loss is not finite."""
        if (self.iter + 1) % self.gather_metric_period:
            return
        if self._metrics_thread is None:
            self.write_metrics(losses, data_time, prefix)
            return
        storage = get_event_storage()
        storage.settle()
        values, metrics = metrics_on_device(losses, data_time, prefix, storage.iter)
        storage.put_later(self._metrics_thread.submit(lambda: metrics(values.tolist())))

    @staticmethod
    def write_metrics(loss_dict: Losses, data_time: float, prefix: str = "") -> None:
        """Put losses and data time, gathered from all processes, into the storage; `prefix` goes before total_loss.

        Raises FloatingPointError in every process where a loss is not finite in one: for losses on a GPU, when the
        storage fetches them, with the iteration they are of.
        """
        storage = get_event_storage()
        storage.put_from_device(*metrics_on_device(loss_dict, data_time, prefix, storage.iter))

    def gather_process_states(self, saved: bool) -> None:
        """Collect in all processes what each alone knows, where the main process saves this iteration; else forget."""
        self._gathered = comm.gather(self._process_state()) if saved else []

    def process_states(self) -> list[dict[str, Any]]:
        """Random generators and place in the data of each process, of this one alone where none were collected."""
        return self._gathered or [self._process_state()]

    def _process_state(self) -> dict[str, Any]:
        loader = self.data_loader
        place = loader.state_dict() if hasattr(loader, "state_dict") else {}
        return {"random": random_states(), "data_loader": place}

    def load_process_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Set generators and place in the data as of a checkpoint of as many processes.

        With another number of processes only the order of the data is resumed, about where it stopped.
        """
        written, here = len(states), comm.get_world_size()
        state = states[comm.get_rank() if written == here else 0]
        place = state["data_loader"]
        if written != here:
            note = "The checkpoint has the state of %d process(es), this training has %d: random numbers differ"
            logger.warning(note, written, here)
            place = {**place, "waiting": []} if place else {}
        if place and hasattr(self.data_loader, "load_state_dict"):
            self.data_loader.load_state_dict(place)
        if written == here:
            set_random_states(state["random"])
        self._batches, self._is_resumed = None, True

    def state_dict(self) -> dict[str, Any]:
        own = {"optimizer": self.optimizer.state_dict(), "processes": self.process_states()}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if "processes" in state_dict:
            self.load_process_states(state_dict["processes"])


class ScalerState:
    """A GradScaler in checkpoints; from the empty state of one that was off (on CPUs, in bfloat16) it begins anew."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self.state_dict = scaler.state_dict
        self._load = scaler.load_state_dict

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self._load(dict(state))


class AMPTrainer(SimpleTrainer):
    """SimpleTrainer in automatic mixed precision.

    float16 needs CUDA and a gradient scaler; a model on the CPU is trained in bfloat16, which needs none.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            grad_scaler: None makes the usual one.
            precision: type of the computation on a GPU.
            log_grad_scaler: write the scale of each iteration as `[metric]grad_scaler`.
            kwargs: `gather_metric_period` and the others of SimpleTrainer.
        """
        super().__init__(model, data_loader, optimizer, **kwargs)
        self.device_type = next(model.parameters()).device.type
        self.precision = precision if self.device_type == "cuda" else torch.bfloat16
        scale = self.precision == torch.float16
        self.log_grad_scaler = log_grad_scaler
        self.grad_scaler = grad_scaler or torch.amp.GradScaler(self.device_type, enabled=scale)

    def forward_context(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device_type, dtype=self.precision)

    def backward(self, loss: torch.Tensor) -> None:
        self.grad_scaler.scale(loss).backward()

    def step_optimizer(self) -> None:
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
        self.grad_scaler.unscale_(self.optimizer)  # here, so that an optimizer which is given the scale can clip too
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        ScalerState(self.grad_scaler).load_state_dict(state_dict.get("grad_scaler", {}))
