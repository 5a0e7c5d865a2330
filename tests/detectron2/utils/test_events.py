"""The event storage and its writers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from detectron2.utils import events
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    event_storage_or_new,
    get_event_storage,
    has_event_storage,
)


def test_the_innermost_storage_is_the_current_one() -> None:
    with pytest.raises(RuntimeError, match="EventStorage"):
        get_event_storage()
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer


def test_scalars_and_their_history() -> None:
    with EventStorage(start_iter=5) as storage:
        storage.put_scalar("loss", torch.tensor(4.0, requires_grad=True))
        storage.step()
        storage.put_scalars(loss=2.0, other=1.0)
        storage.put_scalar("lr", 0.1, smoothing_hint=False)
        storage.put_scalar("late", 7, cur_iter=3)
    assert storage.iter == 6
    assert storage.history("loss").values() == [(4.0, 5), (2.0, 6)]
    assert storage.latest() == {"loss": (2.0, 6), "other": (1.0, 6), "lr": (0.1, 6), "late": (7.0, 3)}
    assert storage.latest_with_smoothing_hint(20)["loss"] == (3.0, 6)
    assert storage.latest_with_smoothing_hint(20)["lr"] == (0.1, 6)
    assert storage.smoothing_hints() == {"loss": True, "other": True, "lr": False, "late": True}
    assert set(storage.histories()) == {"loss", "other", "lr", "late"}


@pytest.mark.parametrize(
    ("iterations", "window", "expected"),
    [
        pytest.param([0, 1, 2, 3], 2, 2, id="dense"),
        pytest.param([0, 10, 20, 30], 20, 2, id="sparse"),
        pytest.param([0, 1], 20, 2, id="shorter-than-window"),
    ],
)
def test_the_window_counts_iterations(iterations: list[int], window: int, expected: int) -> None:
    storage = EventStorage()
    for iteration in iterations:
        storage.put_scalar("x", 1.0, cur_iter=iteration)
    assert storage.count_samples("x", window) == expected


def test_mistakes_are_named() -> None:
    storage = EventStorage()
    storage.put_scalar("x", 1.0)
    with pytest.raises(ValueError, match="'x'.*smoothing_hint=True"):
        storage.put_scalar("x", 1.0, smoothing_hint=False)
    with pytest.raises(KeyError, match=r"'y'.*known: x"):
        storage.history("y")


def test_name_scope() -> None:
    storage = EventStorage()
    with storage.name_scope("rpn"):
        storage.put_scalar("loss", 1.0)
    storage.put_scalar("loss", 2.0)
    assert set(storage.latest()) == {"rpn/loss", "loss"}


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    writer = JSONWriter(file)
    with EventStorage() as storage:
        for storage.iter in range(3):
            storage.put_scalar("loss", storage.iter)
            if storage.iter == 1:
                storage.put_scalar("AP", 40.0, smoothing_hint=False)
            writer.write()
            writer.write()
    writer.close()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {"iteration": 0, "loss": 0.0},
        {"iteration": 1, "loss": 0.5, "AP": 40.0},
        {"iteration": 2, "loss": 1.0},
    ]


def test_json_is_appended_when_a_run_goes_on(tmp_path: Path) -> None:
    for start in (0, 1):
        writer = JSONWriter(str(tmp_path / "metrics.json"))
        with EventStorage(start) as storage:
            storage.put_scalar("loss", 1.0)
            writer.write()
        writer.close()
    assert len((tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()) == 2


def test_tensorboard_takes_everything_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage() as storage:
        storage.put_scalar("loss", 2.5)
        storage.put_image("picture", np.zeros((3, 4, 4), np.uint8))
        storage.put_histogram("weights", torch.tensor([0.0, 0.0, 1.0]), bins=2)
        writer.write()
        writer.write()
        assert storage.images == storage.histograms == []
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 2.5)]
    assert len(events.Images("picture")) == 1
    (histogram,) = events.Histograms("weights")
    assert (histogram.histogram_value.num, histogram.histogram_value.sum) == (3, 1)
    assert [count for count in histogram.histogram_value.bucket if count] == [2, 1]


def printed(storage: EventStorage, caplog: pytest.LogCaptureFixture, max_iter: int | None) -> str:
    with storage, caplog.at_level(logging.INFO):
        CommonMetricPrinter(max_iter).write()
    return caplog.text


def test_the_printed_line(caplog: pytest.LogCaptureFixture) -> None:
    storage = EventStorage(start_iter=9)
    storage.put_scalars(total_loss=1.25, time=2.0, data_time=0.5)
    storage.put_scalar("lr", 0.01, smoothing_hint=False)
    text = printed(storage, caplog, max_iter=40)
    for part in ("eta: 0:01:00", "iter: 9", "total_loss: 1.25", "time: 2.0000", "data_time: 0.5000", "lr: 0.01"):
        assert part in text
    assert storage.latest()["eta_seconds"] == (60.0, 9)


@pytest.mark.parametrize(("max_iter", "empty"), [(None, False), (9, True)], ids=["no-end", "after-the-end"])
def test_lines_without_eta(caplog: pytest.LogCaptureFixture, max_iter: int | None, empty: bool) -> None:
    text = printed(EventStorage(start_iter=9), caplog, max_iter)
    assert (text == "") == empty
    assert "eta" not in text


def test_eta_without_a_timer(caplog: pytest.LogCaptureFixture) -> None:
    printer = CommonMetricPrinter(max_iter=100)
    with EventStorage() as storage, caplog.at_level(logging.INFO):
        printer.write()
        storage.iter = 10
        printer.write()
    first, second = caplog.messages
    assert "eta" not in first
    assert "eta: 0:0" in second


def test_a_writer_must_write() -> None:
    with pytest.raises(NotImplementedError, match="EventWriter"):
        EventWriter().write()


def test_what_another_thread_computes_is_there_when_read() -> None:
    storage = EventStorage(3)
    with storage.name_scope("inner"), ThreadPoolExecutor(1) as pool:
        storage.put_later(pool.submit(lambda: time.sleep(0.05) or {"loss": 1.0}))
        storage.step()
        storage.put_scalar("own", 2.0)
        assert storage.latest() == {"inner/own": (2.0, 4), "loss": (1.0, 3)}
    assert storage.histories()["loss"].values() == [(1.0, 3)]


@pytest.mark.parametrize(
    "read",
    [
        EventStorage.latest,
        EventStorage.histories,
        EventStorage.smoothing_hints,
        EventStorage.latest_with_smoothing_hint,
        EventStorage.settle,
        lambda storage: storage.history("loss"),
    ],
)
def test_an_error_of_another_thread_is_raised_once(read: Callable[[EventStorage], object]) -> None:
    storage, failed, fine = EventStorage(), Future(), Future()
    failed.set_exception(FloatingPointError("NaN"))
    fine.set_result({"loss": 1.0})
    storage.put_later(failed)
    storage.put_later(fine)
    with pytest.raises(FloatingPointError, match="NaN"):
        read(storage)
    read(storage)
    assert storage.latest()["loss"] == (1.0, 0)


def test_whether_there_is_a_storage() -> None:
    assert not has_event_storage()
    with pytest.raises(AssertionError):
        get_event_storage()
    with EventStorage() as storage:
        assert has_event_storage()
        assert event_storage_or_new() is storage
    assert event_storage_or_new().latest() == {}


def test_lines_go_to_the_logger_of_the_printer(caplog: pytest.LogCaptureFixture) -> None:
    printer = CommonMetricPrinter(10)
    assert printer.logger.name == "detectron2.utils.events"
    printer.logger = logging.getLogger("own")
    with EventStorage(3), caplog.at_level(logging.INFO, "own"):
        printer.write()
    assert [(record.name, record.message[:7]) for record in caplog.records] == [("own", "iter: 3")]


def test_tensorboard_without_a_number_makes_no_file(tmp_path: Path) -> None:
    writer = TensorboardXWriter(tmp_path / "log")
    with EventStorage():
        writer.write()
    writer.close()
    assert not list(tmp_path.iterdir())


class OfGPU:
    """Tensors whose values are fetched by `host_copies`, which is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetches, self.values = 0, {}
        monkeypatch.setattr(events, "host_copies", self.fetch)

    def tensor(self, *values: float) -> torch.Tensor:
        made = torch.zeros(len(values), device="meta")
        self.values[id(made)] = (made, torch.tensor(values))
        made.detach = lambda: made
        return made

    def fetch(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.fetches += bool(tensors)
        return [self.values[id(tensor)][1] if tensor.is_meta else tensor for tensor in tensors]


def total(values: list[float]) -> dict[str, float]:
    return {"total": sum(values)} if values else {}


def test_what_a_gpu_computes_is_fetched_together_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, storage = OfGPU(monkeypatch), EventStorage(5)
    with storage.name_scope("inner"):
        storage.put_from_device(gpu.tensor(1, 2), total)
    storage.step()
    storage.put_from_device(gpu.tensor(3, 4), total)
    storage.put_from_device(gpu.tensor(), total)
    assert gpu.fetches == 0
    assert storage.latest() == {"inner/total": (3.0, 5), "total": (7.0, 6)}
    assert gpu.fetches == 1


def test_a_gpu_is_waited_for_every_twenty_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, storage = OfGPU(monkeypatch), EventStorage()
    for storage.iter in range(63):
        storage.put_from_device(gpu.tensor(storage.iter), total)
    assert gpu.fetches == 3
    assert [value for value, _ in storage.history("total").values()] == [float(number) for number in range(63)]


def test_what_the_processor_computes_is_there_at_once() -> None:
    storage = EventStorage(2)
    storage.put_from_device(torch.tensor([1, 2]), total)
    assert storage._history["total"].values() == [(3.0, 2)]


def test_an_error_in_what_a_gpu_computed_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, storage = OfGPU(monkeypatch), EventStorage()

    def failing(values: list[float]) -> dict[str, float]:
        raise FloatingPointError(f"NaN beside {values}")

    storage.put_from_device(gpu.tensor(2), total)
    for number in (1, 3):
        storage.put_from_device(gpu.tensor(number), failing)
    with pytest.raises(FloatingPointError, match=r"beside \[1\]"):
        storage.settle()
    assert storage.latest() == {"total": (2.0, 0)}
