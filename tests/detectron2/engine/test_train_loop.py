from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase


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


def trainer_of(kind=SimpleTrainer, loader=None, **model_options):
    torch.manual_seed(0)
    model = Regression(**model_options)
    loader = [torch.randn(8, 2) for _ in range(3)] if loader is None else loader
    return kind(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))


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
    with pytest.raises(RuntimeError, match="eval mode"):
        trainer.train(0, 1)


def test_single_loss_is_the_total_loss():
    class Single(Regression):
        def forward(self, x):
            return super().forward(x)["loss_a"]

    model = Single()
    trainer = SimpleTrainer(model, [torch.ones(1, 2)], torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 1)
    assert "total_loss" in trainer.storage.latest()


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


def test_state_of_a_missing_hook_is_reported(caplog):
    trainer = Counting()
    trainer.load_state_dict({"iteration": 4, "hooks": {"Gone": {"value": 1}}})
    assert trainer.iter == 4
    assert "no such hook" in caplog.text
