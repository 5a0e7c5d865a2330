from __future__ import annotations

import gc
import json
import threading
import time
import weakref

import pytest
import torch
from torch import nn

from detectron2.checkpoint import Checkpointer
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase, losses
from detectron2.engine.hooks import PeriodicCheckpointer, PeriodicWriter
from detectron2.engine.train_loop import ScalerState
from detectron2.utils.events import EventStorage, JSONWriter


class Recorder(HookBase):
    def __init__(self):
        self.calls = []

    def before_train(self):
        self.calls.append("before_train")

    def after_train(self):
        self.calls.append(f"after_train {self.trainer.iter}")

    def before_step(self):
        self.calls.append(f"before {self.trainer.iter}")

    def after_step(self):
        self.calls.append(f"after {self.trainer.iter}")


class Counting(TrainerBase):
    def __init__(self, fail_at=None):
        super().__init__()
        self.fail_at = fail_at
        self.ran = []

    def run_step(self):
        if self.iter == self.fail_at:
            raise RuntimeError("a step failed")
        self.ran.append(self.iter)


class Regression(nn.Module):
    """Squared error to twice the input; `poison` makes the loss NaN once it reaches 0."""

    def __init__(self, poison=-1):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.poison = poison

    def forward(self, x):
        self.poison -= 1
        loss = (self.layer(x) - 2 * x).square().mean()
        return {"loss_a": loss * (float("nan") if self.poison == 0 else 1.0), "loss_b": 0.5 * loss}


def trainer_of(kind=SimpleTrainer, loader=None, options=None, **model_options):
    torch.manual_seed(0)
    model = Regression(**model_options)
    loader = [torch.randn(8, 2) for _ in range(3)] if loader is None else loader
    return kind(model, loader, torch.optim.SGD(model.parameters(), lr=0.1), **(options or {}))


def test_hooks_are_called_around_each_step():
    trainer, recorder = Counting(), Recorder()
    trainer.register_hooks([recorder, None])
    trainer.train(3, 5)
    assert trainer.ran == [3, 4]
    assert recorder.calls == ["before_train", "before 3", "after 3", "before 4", "after 4", "after_train 5"]
    assert (trainer.start_iter, trainer.max_iter, trainer.storage.iter) == (3, 5, 5)


def test_after_train_is_called_when_a_step_fails():
    trainer, recorder = Counting(fail_at=1), Recorder()
    trainer.register_hooks([recorder])
    with pytest.raises(RuntimeError, match="a step failed"):
        trainer.train(0, 3)
    assert recorder.calls[-1] == "after_train 1"


def test_hooks_do_not_keep_the_trainer_alive():
    trainer, recorder = Counting(), Recorder()
    trainer.register_hooks([recorder])
    gone = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert gone() is None


def test_run_step_must_be_defined():
    with pytest.raises(NotImplementedError, match="TrainerBase has no run_step"):
        TrainerBase().train(0, 1)


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_training_lowers_the_loss_and_writes_it(kind):
    trainer = trainer_of(kind)
    trainer.train(0, 30)
    losses = trainer.storage.history("total_loss").values()
    assert len(losses) == 30
    assert losses[-1][0] < 0.1 * losses[0][0]
    latest = trainer.storage.latest()
    assert latest["total_loss"][0] == pytest.approx(latest["loss_a"][0] + latest["loss_b"][0], rel=1e-3)
    assert latest["data_time"][0] >= 0


def test_amp_on_the_cpu_is_bfloat16_without_scaler():
    trainer = trainer_of(AMPTrainer)
    assert trainer.precision == torch.bfloat16
    assert not trainer.grad_scaler.is_enabled()
    with trainer.forward_context():
        assert trainer.model.layer(torch.ones(1, 2)).dtype == torch.bfloat16


@pytest.mark.gpu
def test_amp_on_cuda_is_float16_with_scaler():
    model = Regression().cuda()
    batches = [torch.randn(8, 2, device="cuda")]
    trainer = AMPTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 30)
    assert trainer.precision == torch.float16
    assert trainer.grad_scaler.is_enabled()
    losses = trainer.storage.history("total_loss").values()
    assert losses[-1][0] < 0.2 * losses[0][0]


def test_nan_loss_stops_before_it_reaches_the_weights():
    trainer = trainer_of(poison=3)
    with pytest.raises(FloatingPointError, match=r"iteration 2 \(loss_a nan.*lower SOLVER.BASE_LR"):
        trainer.train(0, 10)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_divergence_that_the_model_notices_names_the_iteration():
    trainer = trainer_of()
    trainer.train(0, 1)

    def fail(_):
        raise FloatingPointError("boxes are NaN")

    trainer.model.forward = fail
    with pytest.raises(FloatingPointError, match="iteration 4: boxes are NaN"):
        trainer.train(4, 6)


def test_finite_loader_starts_over_and_an_empty_one_is_reported():
    trainer = trainer_of(loader=[torch.ones(1, 2)])
    trainer.train(0, 4)
    assert trainer.storage.iter == 4
    with pytest.raises(ValueError, match="yields no batch"):
        trainer_of(loader=[]).train(0, 1)


def test_model_in_eval_mode_is_refused():
    trainer = trainer_of()
    trainer.model.eval()
    with pytest.raises(AssertionError, match="eval mode"):
        trainer.train(0, 1)


def test_single_loss_is_the_total_loss():
    class Single(Regression):
        def forward(self, x):
            return super().forward(x)["loss_a"]

    model = Single()
    trainer = SimpleTrainer(model, [torch.ones(1, 2)], torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 1)
    assert "total_loss" in trainer.storage.latest()


def losses_of(kind, steps=7, **options):
    trainer = trainer_of(kind, options=options)
    trainer.train(0, steps)
    return trainer.storage.history("total_loss").values()


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
@pytest.mark.parametrize(
    ("options", "iterations"),
    [
        ({"gather_metric_period": 3}, [2, 5]),
        ({"gather_metric_period": 8}, []),
        ({"zero_grad_before_forward": True}, range(7)),
        ({"async_write_metrics": True}, range(7)),
        ({"gather_metric_period": 2, "zero_grad_before_forward": True, "async_write_metrics": True}, [1, 3, 5]),
    ],
    ids=["every third", "never", "gradients freed before", "from a thread", "all"],
)
def test_options_change_no_loss(kind, options, iterations):
    usual = losses_of(kind)
    if not iterations:
        with pytest.raises(KeyError):
            losses_of(kind, **options)
        return
    assert losses_of(kind, **options) == [usual[iteration] for iteration in iterations]


def test_positions_of_the_options():
    model = Regression()
    trainer = SimpleTrainer(model, [], torch.optim.SGD(model.parameters()), 5, True, True)
    assert (trainer.gather_metric_period, trainer.zero_grad_before_forward) == (5, True)


@pytest.mark.parametrize("period", [0, -1])
def test_a_period_below_one_is_refused(period):
    with pytest.raises(ValueError, match="gather_metric_period"):
        trainer_of(options={"gather_metric_period": period})


@pytest.mark.parametrize("before", [False, True])
def test_when_gradients_are_freed(before):
    trainer = trainer_of(options={"zero_grad_before_forward": before})
    held = []
    trainer.model.register_forward_pre_hook(lambda model, _: held.append(model.layer.weight.grad is not None))
    trainer.train(0, 3)
    assert held == [False, not before, not before]


def test_metrics_from_a_thread_are_all_in_the_file(tmp_path):
    trainer, file = trainer_of(options={"async_write_metrics": True}), tmp_path / "metrics.json"
    threads = set()
    metrics = losses._metrics

    def slow(*args):
        threads.add(threading.current_thread().name)
        time.sleep(0.05)
        return metrics(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "_metrics", slow)
        trainer.register_hooks([PeriodicWriter([JSONWriter(file)], period=2)])
        trainer.train(0, 5)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["iteration"] for line in lines if "total_loss" in line] == [1, 3, 4]
    assert threads == {"metrics_0"}


@pytest.mark.parametrize("poison", [3, 5], ids=["on the way", "in the last iteration"])
def test_nan_in_a_thread_stops_before_the_network_is_saved(poison, tmp_path):
    trainer, file = trainer_of(options={"async_write_metrics": True}, poison=poison), tmp_path / "metrics.json"
    saver = PeriodicCheckpointer(Checkpointer(trainer.model, str(tmp_path)), period=1)
    trainer.register_hooks([saver, PeriodicWriter([JSONWriter(file)])])
    with pytest.raises(FloatingPointError, match=f"iteration {poison - 1} .*loss_a nan"):
        trainer.train(0, 5)
    assert not (tmp_path / f"model_{poison - 1:07d}.pth").exists()
    assert json.loads(file.read_text().splitlines()[-1])["iteration"] == poison - 2


def test_the_earlier_of_two_errors_is_raised_and_the_hooks_still_called(tmp_path):
    trainer, file = trainer_of(options={"async_write_metrics": True}, poison=2), tmp_path / "metrics.json"
    trainer.register_hooks([PeriodicWriter([JSONWriter(file)])])

    def fail_after_nan(model, _):
        if model.poison == 0:
            raise ZeroDivisionError("a later error")

    trainer.model.register_forward_pre_hook(fail_after_nan)
    with pytest.raises(FloatingPointError, match="iteration 1 ") as raised:
        trainer.train(0, 9)
    assert isinstance(raised.value.__context__, ZeroDivisionError)
    assert '"iteration": 0' in file.read_text()


class OtherLosses(Regression):
    """Beside the usual losses one of shape (1,), a constant, and one in half precision."""

    def forward(self, x):
        usual = super().forward(x)
        of_a_layer = {"loss_c": usual["loss_a"][None], "loss_d": usual["loss_b"].bfloat16().view(1, 1)}
        return {**usual, **of_a_layer, "loss_e": torch.tensor(0.5), "loss_f": torch.tensor([1])}


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_losses_have_one_element_of_any_shape(kind):
    model = OtherLosses()
    trainer = kind(model, [torch.ones(8, 2)], torch.optim.SGD(model.parameters(), lr=0.01))
    trainer.train(0, 2)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert latest["loss_c"] == latest["loss_a"]
    assert (latest["loss_e"], latest["loss_f"]) == (0.5, 1)
    assert latest["total_loss"] == pytest.approx(sum(latest[f"loss_{name}"] for name in "abcdef"))


def test_a_loss_of_more_elements_is_named():
    model = nn.Linear(2, 2)
    model.forward = lambda x: {"loss_mask": nn.functional.linear(x, model.weight)}
    with pytest.raises(ValueError, match=r"the loss 'loss_mask' has shape \(8, 2\); it must be one number"):
        SimpleTrainer(model, [torch.ones(8, 2)], torch.optim.SGD(model.parameters(), lr=0.1)).train(0, 1)


def test_losses_of_an_own_step_are_written():
    with EventStorage(4) as storage:
        SimpleTrainer.write_metrics({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, 0.5, prefix="own/")
        with pytest.raises(FloatingPointError, match="iteration 4"):
            SimpleTrainer.write_metrics({"a": torch.tensor(float("inf"))}, 0.5)
    assert storage.latest() == {"data_time": (0.5, 4), "own/total_loss": (3, 4), "a": (1, 4), "b": (2, 4)}


def test_scale_of_the_gradients_is_written():
    trainer = trainer_of(AMPTrainer, options={"log_grad_scaler": True})
    trainer.train(0, 1)
    assert trainer.storage.latest()["[metric]grad_scaler"] == (1.0, 0)


def test_another_loader_is_built_once_the_old_one_is_gone():
    class Loader(list):
        pass

    trainer = trainer_of(loader=Loader([torch.ones(1, 2)]))
    trainer.train(0, 2)
    old = weakref.ref(trainer.data_loader)

    def build():
        gc.collect()
        assert old() is None
        return [torch.zeros(1, 2)]

    trainer.reset_data_loader(build)
    assert trainer.next_batch().sum() == 0
    trainer.train(0, 2)


class Stateful(HookBase):
    value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_state_goes_to_another_trainer(kind):
    first, second = trainer_of(kind), trainer_of(kind)
    hooks = Stateful(), Stateful()
    first.register_hooks([hooks[0]])
    second.register_hooks([hooks[1]])
    hooks[0].value = 7
    first.optimizer.param_groups[0]["lr"] = 0.03
    first.train(0, 2)
    second.load_state_dict(first.state_dict())
    assert second.iter == 2
    assert second.optimizer.param_groups[0]["lr"] == 0.03
    assert hooks[1].value == 7


@pytest.mark.parametrize("state", [{}, None], ids=["of a scaler that was off", "of a training without one"])
@pytest.mark.parametrize("through", ["trainer", "checkpoint"])
def test_a_scaler_begins_anew_from_no_state(through, state):
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer = trainer_of(AMPTrainer, options={"grad_scaler": scaler})
    if through == "trainer":
        given = trainer.state_dict()
        del given["grad_scaler"]
        trainer.load_state_dict(given if state is None else {**given, "grad_scaler": state})
    else:
        ScalerState(scaler).load_state_dict(state or {})
        assert ScalerState(scaler).state_dict() == scaler.state_dict()
    assert scaler.get_scale() == 65536


def test_state_of_a_missing_hook_is_reported(caplog):
    trainer = Counting()
    trainer.load_state_dict({"iteration": 4, "hooks": {"Gone": {"value": 1}}})
    assert trainer.iter == 4
    assert "no such hook" in caplog.text
