from __future__ import annotations

import logging
import math
import random
from types import SimpleNamespace
from weakref import WeakSet

import pytest
from tqdm import tqdm

from active_learning.network.training_hooks import LossTrend, ProgressBar, still_falling
from active_learning.system.log import logger
from detectron2.utils.events import EventStorage


def test_progress_bar_counts_from_the_start_iteration(capsys, monkeypatch):
    monkeypatch.setattr("active_learning.system.progress.SOON_DONE", 0)
    monkeypatch.setattr(tqdm, "_instances", WeakSet())  # bars of tests that failed half-way move this one down
    bar = ProgressBar()
    with EventStorage(0) as storage:
        bar.trainer = SimpleNamespace(start_iter=19, max_iter=21, iter=19, storage=storage)
        bar.before_train()
        for bar.trainer.iter in (19, 20):
            storage.put_scalar("total_loss", 2.5)
            bar.after_step()
        bar.after_train()
    shown = capsys.readouterr().err
    assert "21/21" in shown and "loss 2.500" in shown


def losses(shape, iterations=400, noise=0.15) -> list[float]:
    rng = random.Random(0)
    return [shape(i / iterations) * (1 + rng.gauss(0, noise)) for i in range(iterations)]


@pytest.mark.parametrize(
    ("values", "falls"),
    [
        pytest.param(losses(lambda t: 2 - t), True, id="falls throughout"),
        pytest.param(losses(lambda t: 0.5 + math.exp(-10 * t)), False, id="has settled"),
        pytest.param(losses(lambda t: 1.0), False, id="never fell"),
        pytest.param(losses(lambda t: 1 + t), False, id="rises"),
        pytest.param(losses(lambda t: 2 - t, noise=3.0), False, id="all is chance"),
        pytest.param(losses(lambda t: 2 - t, iterations=40), False, id="too few to know"),
        pytest.param([], False, id="none"),
    ],
)
def test_whether_a_loss_still_falls(values, falls):
    assert (still_falling(values) is not None) is falls


@pytest.mark.parametrize(("last", "done", "warned"), [(0.5, 100, True), (1.0, 100, False), (0.5, 99, False)])
def test_a_training_that_was_too_short_is_warned_of(caplog, monkeypatch, last, done, warned):
    monkeypatch.setattr(logger, "propagate", True)
    with EventStorage(0) as storage:
        for loss in [1.0] * 75 + [last] * 25:
            storage.put_scalar("total_loss", loss)
        trend = LossTrend()
        trend.trainer = SimpleNamespace(storage=storage, iter=done, max_iter=100)
        with caplog.at_level(logging.WARNING):
            trend.after_train()
    assert ("still falling when the training ended (1.000 in its third quarter, 0.500" in caplog.text) is warned
