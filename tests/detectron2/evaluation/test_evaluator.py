from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_context, inference_on_dataset


class _Sum(DatasetEvaluator):
    def __init__(self, name: str = "sum") -> None:
        self.name = name
        self.total = 99.0

    def reset(self) -> None:
        self.total = 0.0

    def process(self, inputs: list[float], outputs: list[torch.Tensor]) -> None:
        assert len(inputs) == len(outputs)
        self.total += sum(float(output) for output in outputs)

    def evaluate(self) -> dict[str, Any]:
        return {self.name: {"value": self.total}}


class _Doubling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: list[float]) -> list[torch.Tensor]:
        outputs = [self.weight * x for x in inputs]
        assert not self.training
        assert not outputs[0].requires_grad
        return outputs


@pytest.mark.parametrize("number", [1, 4, 5, 6, 13])
def test_every_batch_is_evaluated(number: int) -> None:
    model = _Doubling()
    results = inference_on_dataset(model, [[float(i)] for i in range(number)], _Sum())
    assert results == {"sum": {"value": number * (number - 1)}}
    assert model.training


def test_several_evaluators() -> None:
    results = inference_on_dataset(_Doubling(), [[1.0, 2.0]], [_Sum("a"), _Sum("b")])
    assert results == {"a": {"value": 6.0}, "b": {"value": 6.0}}


def test_no_evaluator_and_a_function() -> None:
    seen: list[int] = []
    assert inference_on_dataset(seen.extend, [[1], [2, 3]], None) == {}
    assert seen == [1, 2, 3]


def test_empty_loader() -> None:
    assert inference_on_dataset(_Doubling(), [], _Sum()) == {"sum": {"value": 0.0}}


def test_results_of_one_name_clash() -> None:
    with pytest.raises(ValueError, match="sum"):
        DatasetEvaluators([_Sum(), _Sum()]).evaluate()


def test_progress_has_an_eta(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("detectron2").propagate = True
    monkeypatch.setattr("detectron2.evaluation.evaluator._LOG_SECONDS", 0)
    with caplog.at_level(logging.INFO):
        inference_on_dataset(_Doubling(), [[1.0]] * 8, None)
    progress = [message for message in caplog.messages if "ETA" in message]
    assert [message.split()[2] for message in progress] == ["6/8.", "7/8.", "8/8."]
    assert progress[-1].endswith("ETA=0:00:00")


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_after_an_error(training: bool) -> None:
    model = _Doubling().train(training)
    with pytest.raises(RuntimeError, match="inside"), inference_context(model):
        assert not model.training
        raise RuntimeError("inside")
    assert model.training == training


def test_a_model_on_the_processor_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("opens a context of CUDA"))
    assert inference_on_dataset(_Doubling(), [[1.0]], _Sum())
