from __future__ import annotations

import gc
import json
import logging
import math
import weakref
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn

from detectron2.checkpoint import Checkpointer
from detectron2.engine import (
    BestCheckpointer,
    CallbackHook,
    EvalHook,
    HookBase,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    PreciseBN,
    TrainerBase,
)
from detectron2.engine.hooks import flat_numbers
from detectron2.utils.errors import InputError
from detectron2.utils.events import EventWriter, JSONWriter, get_event_storage


class Trainer(TrainerBase):
    """Puts the numbers of `metric` into the storage, one a step; fails at step `fail_at`."""

    def __init__(self, metric=(), fail_at=None):
        super().__init__()
        self.metric = list(metric)
        self.fail_at = fail_at

    def run_step(self):
        if self.iter == self.fail_at:
            raise RuntimeError("a step failed")
        if self.metric:
            self.storage.put_scalar("metric", self.metric[self.iter])


def run(hooks, steps=4, **options):
    trainer = Trainer(**options)
    trainer.register_hooks(hooks)
    trainer.train(0, steps)
    return trainer


def test_callbacks_get_the_trainer():
    seen = []
    names = ("before_train", "before_step", "after_step", "after_train")
    callbacks = {name: lambda trainer, name=name: seen.append((name, trainer.iter)) for name in names}
    run([CallbackHook(**callbacks)], steps=1)
    assert seen == [("before_train", 0), ("before_step", 0), ("after_step", 0), ("after_train", 1)]


def evaluated(trainer):
    return EvalHook(2, lambda: {"iteration": trainer.iter})


def called(moment):
    return lambda trainer: CallbackHook(**{moment: lambda _: trainer.iter})


HOLDING = {"evaluation": evaluated, **{name: called(name) for name in ("before_train", "after_step", "after_train")}}


@pytest.fixture
def no_collector():
    """What counts references frees at once; the collector may come long after the next training has filled a GPU."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("make_hook", HOLDING.values(), ids=HOLDING.keys())
@pytest.mark.parametrize("fail_at", [None, 3], ids=["finished", "failed"])
def test_a_function_that_holds_the_trainer_is_forgotten(no_collector, monkeypatch, make_hook, fail_at):
    monkeypatch.setattr(logging.getLogger("detectron2.engine.train_loop"), "disabled", True)  # pytest keeps the error
    trainer = Trainer(fail_at=fail_at)
    trainer.register_hooks([make_hook(trainer)])
    with suppress(RuntimeError):
        trainer.train(0, 4)
    assert trainer.iter == (fail_at or 4)
    alive = weakref.ref(trainer)
    del trainer
    assert alive() is None


@pytest.mark.parametrize("make_hook", HOLDING.values(), ids=HOLDING.keys())
def test_a_second_training_with_a_forgotten_function_is_refused_at_once(make_hook):
    trainer = Trainer()
    trainer.register_hooks([make_hook(trainer)])
    trainer.train(0, 4)
    with pytest.raises(InputError, match="make a new trainer"):
        trainer.train(4, 8)
    assert trainer.iter == 4


def test_timer_leaves_out_the_warm_up():
    trainer = run([IterationTimer(warmup_iter=2)], steps=5)
    times = trainer.storage.history("time").values()
    assert [iteration for _, iteration in times] == [2, 3, 4]
    assert all(seconds >= 0 for seconds, _ in times)


def test_writers_write_each_period_and_at_the_end(tmp_path):
    run([PeriodicWriter([JSONWriter(tmp_path / "metrics.json")], period=2)], steps=5, metric=range(5))
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()]
    assert [line["iteration"] for line in lines] == [1, 3, 4]


def test_writers_are_closed_and_others_refused():
    class Writer(EventWriter):
        closed = False

        def write(self):
            assert not self.closed

        def close(self):
            self.closed = True

    writer = Writer()
    run([PeriodicWriter([writer])])
    assert writer.closed
    with pytest.raises(TypeError, match="int"):
        PeriodicWriter([3])


def test_periodic_checkpoints(tmp_path):
    checkpointer = Checkpointer(nn.Linear(1, 1), str(tmp_path))
    run([PeriodicCheckpointer(checkpointer, 2)], steps=5)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == [
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
    ]
    assert torch.load(tmp_path / "model_0000003.pth", weights_only=True)["iteration"] == 3


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", [1.0, 5.0, 3.0, 4.0], (5.0, 1)),
        ("min", [1.0, 5.0, 3.0, 4.0], (1.0, 0)),
        ("max", [1.0, math.nan, math.inf, 2.0], (2.0, 3)),
        ("max", [2.0, 2.0, 2.0, 2.0], (2.0, 0)),
    ],
    ids=["highest", "lowest", "not finite is passed over", "the first of equals"],
)
def test_best_checkpoint(tmp_path, mode, values, best):
    hook = BestCheckpointer(1, Checkpointer(nn.Linear(1, 1), str(tmp_path)), "metric", mode)
    run([hook], metric=values)
    assert (hook.best_metric, hook.best_iter) == best
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["iteration"] == best[1]


def test_best_checkpoint_without_the_metric_is_reported(tmp_path, caplog):
    run([BestCheckpointer(0, Checkpointer(nn.Linear(1, 1), str(tmp_path)), "segm/AP")])
    assert "No metric 'segm/AP'" in caplog.text
    assert not list(tmp_path.glob("*.pth"))
    with pytest.raises(ValueError, match="best"):
        BestCheckpointer(1, SimpleNamespace(), "metric", mode="best")


class Stepping(Trainer):
    """With an optimizer that steps, so that the schedule may."""

    def __init__(self, groups):
        super().__init__()
        self.optimizer = torch.optim.SGD(groups, lr=1.0)

    def run_step(self):
        self.optimizer.step()


def parameters(count):
    return [nn.Parameter(torch.zeros(1)) for _ in range(count)]


def test_learning_rate_follows_the_schedule_and_is_written():
    trainer = Stepping([{"params": parameters(1), "lr": 5.0}, {"params": parameters(3), "lr": 2.0}])
    trainer.register_hooks([LRScheduler(scheduler=LinearParamScheduler(1.0, 0.0))])
    trainer.train(0, 4)
    rates = [value for value, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([2.0, 1.5, 1.0, 0.5])


def test_learning_rate_without_optimizer_is_reported():
    with pytest.raises(ValueError, match="optimizer"):
        run([LRScheduler()])


def test_learning_rate_state():
    trainer = Stepping(parameters(1))
    trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 2, gamma=0.1)
    hook = LRScheduler()
    trainer.register_hooks([hook])
    trainer.train(0, 3)
    state = hook.state_dict()
    assert state["last_epoch"] == 3
    hook.load_state_dict({**state, "last_epoch": 1})
    assert trainer.scheduler.last_epoch == 1


@pytest.mark.parametrize(
    ("period", "options", "expected"),
    [(2, {}, [1, 3, 5]), (0, {}, [5]), (5, {}, [5]), (2, {"eval_after_train": False}, [1, 3])],
    ids=["with a period", "at the end only", "once at the end", "not at the end"],
)
def test_when_evaluation_runs(period, options, expected):
    seen = []
    hook = EvalHook(period, lambda: seen.append(min(hook.trainer.iter, 4)) or {"segm": {"AP": 40}}, **options)
    trainer = run([hook], steps=5)
    assert seen == [min(iteration, 4) for iteration in expected]
    assert trainer.storage.latest()["segm/AP"][0] == 40


def test_failed_training_is_not_evaluated():
    hook = EvalHook(0, lambda: pytest.fail("evaluated"))
    with pytest.raises(RuntimeError, match="a step failed"):
        run([hook], fail_at=3)


class Noisy(nn.BatchNorm1d):
    """Draws and writes, as a detector does in training."""

    def forward(self, x):
        get_event_storage().put_scalar("noise", torch.rand(1))
        return super().forward(x)


@pytest.mark.parametrize(("period", "times"), [(2, 3), (0, 1)], ids=["with a period", "at the end only"])
def test_precise_statistics(period, times):
    model = Noisy(1)
    batches = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]]), torch.tensor([[90.0], [100.0]])]
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    torch.manual_seed(0)
    trainer = run([PreciseBN(period, model, batches, num_iter=2)], steps=5)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
    assert trainer.storage.latest() == {}
    assert len(seen) == 2 * times
    assert model.momentum == 0.1
    assert model.running_mean.item() == 3.0
    assert model.running_var.item() == pytest.approx(3.5)  # of 1, 2, 3 and 6


def test_precise_statistics_without_batch_norms(caplog):
    run([PreciseBN(1, nn.Linear(1, 1), [], num_iter=2)])
    assert "nothing to do" in caplog.text


def test_results_are_flattened():
    assert flat_numbers({"a": {"b": {"c": 1}, "d": 2}, "e": "3"}) == {"a/b/c": 1.0, "a/d": 2.0, "e": 3.0}
    with pytest.raises(ValueError, match="'a/b' is 'x'"):
        flat_numbers({"a": {"b": "x"}})


def test_hooks_do_nothing_unless_asked():
    trainer = run([HookBase()])
    assert trainer.iter == 4
    assert trainer.state_dict() == {"iteration": 4}
