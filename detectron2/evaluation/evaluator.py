"""Run a model over a loader and hand what it finds to evaluators."""

from __future__ import annotations

import datetime
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds

__all__ = ["DatasetEvaluator", "DatasetEvaluators", "inference_context", "inference_on_dataset"]

logger = logging.getLogger(__name__)

_WARMUP = 5
_LOG_SECONDS = 5


class DatasetEvaluator:
    """Collects inputs and outputs with `process`, and sums them up with `evaluate`."""

    def reset(self) -> None:
        """Forget everything; called before a round."""

    def process(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Take what the model got and what it returned, one element an image."""

    def evaluate(self) -> Any:
        """Results of all that was processed: {task: {metric: value}}, or None in processes that have no results."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[Any], outputs: list[Any]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """The evaluators' results in one dict, in the main process."""
        results: dict[str, Any] = {}
        for evaluator in self._evaluators:
            found = evaluator.evaluate()
            if not comm.is_main_process() or found is None:
                continue
            twice = results.keys() & found.keys()
            if twice:
                raise ValueError(f"several evaluators have results named {', '.join(sorted(map(str, twice)))}")
            results.update(found)
        return results


class _Stopwatch:
    """Seconds of each phase an image; the first images, which are slow, do not count."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._warmup = min(_WARMUP, total - 1)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def split(self, phase: str) -> None:
        """`phase` ends now."""
        now = time.perf_counter()
        self._seconds[phase] += now - self._last
        self._last = now

    def report(self, index: int) -> None:
        """Log, now and then, how far the round is; called after batch number `index`."""
        counted = index + 1 - self._warmup
        if counted == 0:
            self._seconds.clear()
        if counted <= 0:
            return
        whole = sum(self._seconds.values()) / counted
        eta = datetime.timedelta(seconds=int(whole * (self._total - index - 1)))
        phases = " ".join(f"{phase}: {seconds / counted:.4f} s/iter." for phase, seconds in self._seconds.items())
        progress = f"Inference done {index + 1}/{self._total}. {phases} Total: {whole:.4f} s/iter. ETA={eta}"
        log_every_n_seconds(logging.INFO, progress, n=_LOG_SECONDS, name=__name__)


def inference_on_dataset(
    model: nn.Module | Any, data_loader: Iterable[Any], evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None
) -> dict[str, Any]:
    """Run `model` (a module, in eval mode meanwhile, or a callable) over all of `data_loader`, which has a length.

    Returns the results of the evaluator or evaluators, {} where there are none.
    """
    total = len(data_loader)  # type: ignore[arg-type]
    logger.info("Start inference on %d batches", total)
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    started = time.perf_counter()
    with inference_context(model) if isinstance(model, nn.Module) else nullcontext(), torch.no_grad():
        _run(model, data_loader, evaluator, _Stopwatch(total))
    seconds = time.perf_counter() - started
    whole = datetime.timedelta(seconds=int(seconds))
    logger.info("Total inference time: %s (%.4f s / iter)", whole, seconds / max(total, 1))
    results = evaluator.evaluate()
    return {} if results is None else results


def _run(model: Any, data_loader: Iterable[Any], evaluator: DatasetEvaluator, stopwatch: _Stopwatch) -> None:
    for index, inputs in enumerate(data_loader):
        stopwatch.split("Dataloading")
        outputs = model(inputs)
        if torch.cuda.is_initialized():  # asked each time: the model may begin to use it
            # Costs nothing here: the evaluator copies the outputs to the CPU at once.
            torch.cuda.synchronize()
        stopwatch.split("Inference")
        evaluator.process(inputs, outputs)
        stopwatch.split("Eval")
        stopwatch.report(index)


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Have `model` in eval mode inside, and in its former mode after."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
