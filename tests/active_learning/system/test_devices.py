"""More processes than GPUs are refused before anything starts."""

from __future__ import annotations

import os
import platform
import sys
import warnings

import pytest
import torch

from active_learning.errors import SettingsError
from active_learning.system import devices
from active_learning.system.devices import (
    check_torchrun,
    gpu_count,
    release_gpu_memory,
    show_devices,
    why_no_gpu,
)


@pytest.fixture(autouse=True)
def nothing_shown_yet(monkeypatch):
    monkeypatch.setattr(devices, "_shown", [])


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


MIG = "MIG-11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("devices", "environment", "shown"),
    [
        ("cpu", None, ""),
        ("cpu", "7", ""),
        ("0,2", None, "0,2"),
        ("0", "0", "0"),
        ("0", "3", "3"),  # as of a scheduler: GPU 0 is somebody else's
        ("0,1", "4,6", "4,6"),
        ("1", "4,6", "6"),
        ("6", "4,6", "6"),
        ("6,4", "4,6", "6,4"),
        ("1", "1,2", "1"),  # a name goes before a place
        ("0,1", "1,2", "1,2"),
        ("0", MIG, MIG),
        (MIG, MIG, MIG),
        (MIG, "0", MIG),  # whether it is that one, nobody knows here
        ("0", " 3 , 5 ", "3"),
        ("0", "3,-1,5", "3"),  # CUDA reads no further
        ("0", "", ""),
        ("0", "-1", ""),
        ("0", "NoDevFiles", ""),
    ],
)
def test_pytorch_sees_the_gpus_of_the_settings_alone(monkeypatch, capsys, devices, environment, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", environment or "")
    if environment is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    show_devices(devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == shown
    is_at_a_place = bool(shown) and shown != devices
    assert (f"cuda_visible_devices: {devices} is GPU {shown} here" in capsys.readouterr().out) == is_at_a_place


@pytest.mark.parametrize(("devices", "environment"), [("0,1", "3"), ("2", "4,6"), ("7", "4,6"), ("1", "3,-1,5")])
def test_gpus_that_are_left_to_others_are_refused(monkeypatch, devices, environment):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", environment)
    with pytest.raises(SettingsError, match=rf"{devices} is not among the GPUs.*CUDA_VISIBLE_DEVICES={environment}"):
        show_devices(devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == environment


def test_a_second_call_sees_what_the_first_one_saw(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    for named, shown in (("1", "3"), ("1", "3"), ("0", "2"), ("cpu", ""), ("0,1", "2,3")):
        show_devices(named)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shown


@pytest.fixture
def clean_environment(monkeypatch):
    for name in ("CUDA_DEVICE_ORDER", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(name, "")  # so that what the test adds is taken away
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "release", lambda: "6.8.0-generic")


def test_gpus_are_numbered_as_by_nvidia_smi_and_their_memory_grows(clean_environment):
    show_devices("0")
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize(
    ("system", "release"), [("win32", "11"), ("linux", "5.15.90.1-microsoft-standard-WSL2"), ("darwin", "24.0")]
)
def test_where_memory_cannot_grow_it_is_left_as_it_is(clean_environment, monkeypatch, system, release):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "release", lambda: release)
    show_devices("0")
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_what_a_user_has_set_stays(clean_environment, monkeypatch, name):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setenv(name, "max_split_size_mb:128")
    show_devices("0")
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    set_here = {os.environ.get(one) for one in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")}
    assert set_here == {"max_split_size_mb:128", None}


OLD_DRIVER = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."


@pytest.fixture
def unusable_gpu(monkeypatch):
    """As PyTorch 2 says it: once in a process."""
    said = []

    def is_available():
        if not said:
            said.append(warnings.warn(f"{OLD_DRIVER} (Triggered internally at CUDAFunctions.cpp:109.)", stacklevel=2))
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    why_no_gpu.cache_clear()
    yield
    why_no_gpu.cache_clear()


def test_why_a_gpu_cannot_be_used_is_kept(unusable_gpu):
    assert gpu_count("0") == 0
    assert why_no_gpu() == OLD_DRIVER


def test_pytorch_without_cuda_is_named(unusable_gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert why_no_gpu() == "this PyTorch was installed for processors alone"


def test_memory_is_handed_back_where_a_gpu_is_in_use(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    for in_use in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda in_use=in_use: in_use)
        release_gpu_memory()
    assert emptied == [True]
