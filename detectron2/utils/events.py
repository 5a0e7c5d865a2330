"""What a training run measures: EventStorage collects it, writers put it on screen and into files.

    with EventStorage(start_iter=0) as storage:
        for storage.iter in range(100):
            storage.put_scalar("loss", loss)

Code deep inside the network reaches the storage by get_event_storage().
"""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.errors import InputError, NoEventStorageError
from detectron2.utils.transfers import host_copies

FETCH_PERIOD = 20  # iterations

_storages: list[EventStorage] = []


def has_event_storage() -> bool:
    """Whether this runs inside a `with EventStorage(...)`."""
    return bool(_storages)


def get_event_storage() -> EventStorage:
    """The storage of the innermost `with EventStorage(...)`; NoEventStorageError, a RuntimeError, if there is none."""
    if not _storages:
        raise NoEventStorageError("there is no event storage here: run this inside 'with EventStorage(...):'")
    return _storages[-1]


def event_storage_or_new() -> EventStorage:
    """As get_event_storage, but where there is none one that nobody reads: losses can be had without a training."""
    return get_event_storage() if has_event_storage() else EventStorage()


class _OnDevice(NamedTuple):
    """What a GPU computes scalars of."""

    values: torch.Tensor
    scalars: Callable[[list[float]], Mapping[str, float]]
    scope: str
    iteration: int


class EventStorage:
    """Scalars with their history, and the images and histograms that no writer has taken yet."""

    def __init__(self, start_iter: int = 0) -> None:
        self.iter = start_iter
        self.images: list[tuple[str, Any, int]] = []
        self.histograms: list[tuple[str, torch.Tensor, int, int]] = []
        self._history: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._scope = ""
        self._awaited: deque[tuple[Future[dict[str, float]], int]] = deque()
        self._on_device: list[_OnDevice] = []

    def put_image(self, img_name: str, img_tensor: torch.Tensor | np.ndarray) -> None:
        """Add an image (3, H, W) in RGB: uint8 0..255 or float 0..1."""
        self.images.append((img_name, img_tensor, self.iter))

    def put_scalar(self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None) -> None:
        """Add a number for this iteration.

        Args:
            smoothing_hint: whether the number is noisy, so that writers show a median over a window.
            cur_iter: another iteration than the current one, for a number that comes late.
        """
        self._put(self._scope + name, value, smoothing_hint, self.iter if cur_iter is None else cur_iter)

    def _put(self, name: str, value: Any, smoothing_hint: bool, iteration: int) -> None:
        value = float(value.detach() if isinstance(value, torch.Tensor) else value)
        if self._smoothing_hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise InputError(f"scalar '{name}' was put with smoothing_hint={not smoothing_hint} before")
        self._history[name].update(value, iteration)
        self._latest[name] = (value, iteration)

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any) -> None:
        """Add several numbers, given as keywords."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_later(self, scalars: Future[dict[str, float]]) -> None:
        """Add the numbers by name, for this iteration, that another thread is computing; who reads waits for them."""
        self._awaited.append((scalars, self.iter))

    def put_from_device(self, values: torch.Tensor, scalars: Callable[[list[float]], Mapping[str, float]]) -> None:
        """Add the numbers by name that `scalars` makes of a tensor's values (n,), for this iteration.

        From a GPU they are fetched when somebody reads numbers, after 20 iterations at the latest: each fetch makes the
        processor wait. `scalars` then raises what it raises there.
        """
        waiting = _OnDevice(values.detach(), scalars, self._scope, self.iter)
        if values.device.type == "cpu":
            self._put_all(waiting)
            return
        self._on_device.append(waiting)
        if self.iter - self._on_device[0].iteration >= FETCH_PERIOD or len(self._on_device) > 100 * FETCH_PERIOD:
            self.settle()

    def _put_all(self, waiting: _OnDevice) -> None:
        for name, value in waiting.scalars(waiting.values.tolist()).items():
            self._put(waiting.scope + name, value, True, waiting.iteration)

    def settle(self) -> None:
        """Wait for what was put by `put_later` and `put_from_device`; raises, once, what went wrong there first.

        What a GPU computed after that is not put: it follows from it.
        """
        while self._awaited:
            scalars, iteration = self._awaited.popleft()
            for name, value in scalars.result().items():
                self._put(name, value, True, iteration)
        on_device, self._on_device = self._on_device, []
        for waiting, values in zip(on_device, host_copies([one.values for one in on_device]), strict=True):
            self._put_all(waiting._replace(values=values))

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Add the distribution of a tensor's values."""
        self.histograms.append((hist_name, hist_tensor.detach().float().cpu(), self.iter, bins))

    def history(self, name: str) -> HistoryBuffer:
        """All values of a scalar; KeyError if none was put."""
        self.settle()
        if name not in self._history:
            raise KeyError(f"no history of scalar '{name}'; known: {', '.join(sorted(self._history)) or 'none'}")
        return self._history[name]

    def histories(self) -> Mapping[str, HistoryBuffer]:
        """Name -> all values."""
        self.settle()
        return self._history

    def latest(self) -> dict[str, tuple[float, int]]:
        """Name -> (newest value, its iteration)."""
        self.settle()
        return self._latest

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many values the scalar has in the last `window_size` iterations before its newest one."""
        values = self.history(name).values()
        first = values[-1][1] - window_size
        return next((n for n, (_, iteration) in enumerate(reversed(values)) if iteration <= first), len(values))

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like latest(), but noisy scalars give their median over the last `window_size` iterations."""
        result = dict(self.latest())
        for name, (_, iteration) in self._latest.items():
            if self._smoothing_hints[name]:
                median = self._history[name].median(self.count_samples(name, window_size))
                result[name] = (float(median), iteration)
        return result

    def smoothing_hints(self) -> dict[str, bool]:
        """Name -> whether the scalar is noisy."""
        self.settle()
        return self._smoothing_hints

    def step(self) -> None:
        """Go on to the next iteration. Either this, or set `iter`."""
        self.iter += 1

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Scalars put inside get the prefix `name/`."""
        outer, self._scope = self._scope, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._scope = outer

    def clear_images(self) -> None:
        """Forget the images, once a writer has taken them."""
        self.images = []

    def clear_histograms(self) -> None:
        """Forget the histograms, once a writer has taken them."""
        self.histograms = []

    def __enter__(self) -> EventStorage:
        _storages.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if _storages.pop() is not self:
            raise RuntimeError("event storages must be left in the reverse order of entering them")


class EventWriter:
    """Takes what is new from the current event storage."""

    def write(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define write()")

    def close(self) -> None:
        """Called once, at the end of training. By default there is nothing to close."""


class _ScalarWriter(EventWriter):
    """Gives each scalar on once an iteration, noisy ones as the median over `window_size` iterations."""

    def __init__(self, window_size: int) -> None:
        self._window_size = window_size
        self._last_write = -1

    def _new_scalars(self) -> list[tuple[str, float, int]]:
        latest = get_event_storage().latest_with_smoothing_hint(self._window_size)
        new = [(name, value, iteration) for name, (value, iteration) in latest.items() if iteration > self._last_write]
        self._last_write = max((iteration for *_, iteration in new), default=self._last_write)
        return new


class JSONWriter(_ScalarWriter):
    """Appends one JSON object a line and iteration to a file: {"iteration": 19, "total_loss": 1.3, ...}."""

    def __init__(self, json_file: str | Path, window_size: int = 20) -> None:
        super().__init__(window_size)
        self._file = Path(json_file).open("a", encoding="utf-8")  # noqa: SIM115

    def write(self) -> None:
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, iteration in self._new_scalars():
            lines[iteration][name] = value
        for iteration in sorted(lines):
            self._file.write(json.dumps({**lines[iteration], "iteration": iteration}, sort_keys=True) + "\n")
        # Readers follow the file while training runs.
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(_ScalarWriter):
    """Writes scalars, images and histograms into the folder `log_dir`; `kwargs` go to torch's SummaryWriter."""

    def __init__(self, log_dir: str | Path, window_size: int = 20, **kwargs: Any) -> None:
        super().__init__(window_size)
        self._log_dir, self._kwargs = log_dir, kwargs

    @cached_property
    def _writer(self) -> Any:
        # TensorBoard takes a second to import, and makes its file at once: only runs that write it pay.
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._log_dir), **self._kwargs)

    def write(self) -> None:
        storage = get_event_storage()
        for name, value, iteration in self._new_scalars():
            self._writer.add_scalar(name, value, iteration)
        for name, image, iteration in storage.images:
            self._writer.add_image(name, image, iteration)
        storage.clear_images()
        for name, values, iteration, bins in storage.histograms:
            self._writer.add_histogram(
                name, values, iteration, bins=np.histogram_bin_edges(values, bins), max_bins=bins
            )
        storage.clear_histograms()

    def close(self) -> None:
        if "_writer" in vars(self):
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs iteration, losses, times, learning rate, memory and the time left, in one line."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        """`max_iter` None does not show the time left; losses are smoothed over `window_size` iterations."""
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_step: tuple[int, float] | None = None
        self.logger = logging.getLogger(__name__)

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            # After the last iteration nothing is new.
            return
        smoothed = storage.latest_with_smoothing_hint(self._window_size)
        parts = [*self._eta(storage), f"iter: {storage.iter}"]
        parts += [f"{name}: {value:.4g}" for name, (value, _) in smoothed.items() if "loss" in name]
        for name in ("time", "data_time"):
            if name in smoothed:
                history = storage.history(name)
                mean = history.avg(storage.count_samples(name, self._window_size))
                parts.append(f"{name}: {mean:.4f}  last_{name}: {history.latest():.4f}")
        if "lr" in smoothed:
            parts.append(f"lr: {smoothed['lr'][0]:.5g}")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        self.logger.info("  ".join(parts))

    def _eta(self, storage: EventStorage) -> list[str]:
        seconds = self._seconds_an_iteration(storage)
        if self._max_iter is None or seconds is None:
            return []
        left = max(self._max_iter - storage.iter - 1, 0)
        storage.put_scalar("eta_seconds", seconds * left, smoothing_hint=False)
        return [f"eta: {datetime.timedelta(seconds=int(seconds * left))}"]

    def _seconds_an_iteration(self, storage: EventStorage) -> float | None:
        if "time" in storage.histories():
            return float(storage.history("time").median(1000))
        # No timer runs: take the time since the last line.
        now = time.perf_counter()
        previous, self._last_step = self._last_step, (storage.iter, now)
        if previous is None or previous[0] >= storage.iter:
            return None
        return (now - previous[1]) / (storage.iter - previous[0])
