"""More processes than GPUs are refused before anything starts."""

from __future__ import annotations

import os

import pytest
import torch

from active_learning.errors import SettingsError
from active_learning.system.devices import check_torchrun, gpu_count, show_devices


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_more_gpus_than_there_are(one_gpu):
    with pytest.raises(SettingsError, match="0,1 names 2 GPUs, this machine has 1"):
        gpu_count("0,1")


def test_more_processes_than_gpus(one_gpu, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(SettingsError, match="names 1 GPU, but torchrun started 3 processes here.*'0,1,2'"):
        check_torchrun("0")


@pytest.mark.parametrize(("devices", "shown"), [("cpu", ""), ("0,2", "0,2")])
def test_pytorch_sees_the_gpus_of_the_settings_alone(monkeypatch, devices, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    show_devices(devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == shown
