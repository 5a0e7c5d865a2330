"""`--find-batch-size`, on GPUs that are not there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import maskAL
from active_learning.errors import MaskALError
from active_learning.run import batch_size
from active_learning.run.batch_size import describe_batch_size

GIB = 2**30


@pytest.fixture
def two_gpus(monkeypatch):
    """The second has less memory; the trial gives what `room` has for it."""
    used, room = [], {1: 3}

    def largest(cfg, most):
        found = room.get(used[-1], 9)
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    names = {0: ("NVIDIA A100", 40 * GIB), 1: ("NVIDIA GeForce RTX 3060", 12 * GIB)}
    monkeypatch.setattr(batch_size, "gpu_count", lambda devices: len(devices.split(",")))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(name=names[index][0], total_memory=names[index][1]),
    )
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr("active_learning.network.batch_size.largest_batch_that_fits", largest)
    return room


def test_the_smallest_gpu_decides(settings, two_gpus):
    told = describe_batch_size(settings.model_copy(update={"cuda_visible_devices": "0,1"}))
    assert told.startswith(
        "train_batch_size can be at most 6, 3 on each of 2 GPUs (NVIDIA GeForce RTX 3060, 12.0 GiB; "
    )
    told = describe_batch_size(settings.model_copy(update={"cuda_visible_devices": "0"}))
    assert told.startswith("train_batch_size can be at most 9 (NVIDIA A100, 40.0 GiB; images of ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("CUDA out of memory. Tried", r"pixels\)\. In"),
        ("GET was unable to find an engine to execute", r"pixels\), or this PyTorch has no code for this GPU .*\. In"),
    ],
    ids=["memory", "no code"],
)
def test_no_room_for_one_image(settings, two_gpus, words, said):
    two_gpus[1] = words
    match = f"^The GPU's memory is too small for a batch of one image .*{said} MaskAL's settings: (set|lower) .*{words}"
    with pytest.raises(MaskALError, match=match):
        describe_batch_size(settings.model_copy(update={"cuda_visible_devices": "0,1"}))
    two_gpus[1] = "shapes differ"
    with pytest.raises(RuntimeError, match="shapes differ"):
        describe_batch_size(settings.model_copy(update={"cuda_visible_devices": "0,1"}))


@pytest.mark.parametrize(("gpus", "end"), [("cpu", "not faster"), ("0", "not faster. PyTorch says: the driver is old")])
def test_without_a_gpu_there_is_nothing_to_find(settings, monkeypatch, gpus, end):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(batch_size, "why_no_gpu", lambda: "the driver is old")
    with pytest.raises(Exception, match=f"--find-batch-size: no GPU is in use.*{end}$"):
        describe_batch_size(settings.model_copy(update={"cuda_visible_devices": gpus}))


def test_the_command(settings, monkeypatch, capsys):
    monkeypatch.setattr("active_learning.settings.load_settings", lambda *_, **__: settings)
    monkeypatch.setattr(maskAL, "show_devices", lambda _: None)
    monkeypatch.setattr(batch_size, "describe_batch_size", lambda _: "train_batch_size can be at most 6")
    assert maskAL.main(["--config", "any.yaml", "--find-batch-size"]) == 0
    assert "at most 6" in capsys.readouterr().out
