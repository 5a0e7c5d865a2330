"""Where `launch` runs a function; what its processes do together: test_two_processes.py."""

from __future__ import annotations

import os
import socket
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from detectron2.engine import launch
from detectron2.engine.launch import _connected
from detectron2.utils import comm


@pytest.mark.parametrize("joined", [False, True], ids=["a single process", "connected by the script"])
def test_torchruns_process_is_used_as_it_is(monkeypatch, joined):
    seen = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2" if joined else "1")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: joined)
    launch(lambda *args: seen.append((os.getpid(), args)), 4, args=(1,))
    assert seen == [(os.getpid(), (1,))]


def test_one_process_is_this_one():
    seen = []
    launch(lambda *args: seen.append((os.getpid(), args)), 1, args=(1, "a"))
    assert seen == [(os.getpid(), (1, "a"))]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dist_url": None}, "need dist_url"), ({"dist_url": "auto", "num_machines": 2}, "single machine")],
    ids=["no address", "auto on two machines"],
)
def test_wrong_meeting_place(options, message):
    with pytest.raises(ValueError, match=message):
        launch(print, 2, **options)


@pytest.mark.filterwarnings("ignore")
def test_every_group_waits_as_long_as_the_run_says(monkeypatch, tmp_path):
    """Objects travel over gloo where the run's backend is NCCL: a group of its own, which had 30 minutes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(comm, "_local_group", None)
    year, meeting = timedelta(days=365), f"file://{tmp_path / 'meeting'}"
    with _connected(0, init_method=meeting, rank=0, world_size=1, timeout=year):
        comm.create_local_process_group(1)
        monkeypatch.setattr(dist, "get_backend", lambda *_: dist.Backend.NCCL)
        for group in (comm._cpu_group(), comm.get_local_process_group()):
            assert group._get_backend(torch.device("cpu")).options._timeout == year
        monkeypatch.undo()


def test_gpus_without_nccl_communicate_over_gloo(monkeypatch, tmp_path):
    """As on Windows."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    with _connected(
        0, init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1, timeout=timedelta(minutes=1)
    ):
        assert dist.get_backend() == "gloo"


def test_a_process_that_never_comes_is_not_waited_for_for_as_long_as_a_run_may_wait(monkeypatch, tmp_path):
    module = sys.modules["detectron2.engine.launch"]  # the package's `launch` is the function
    monkeypatch.setattr(module, "MEETING_TIMEOUT", timedelta(seconds=1))
    meeting = f"file://{tmp_path / 'meeting'}"
    with (
        pytest.raises(RuntimeError, match="some processes have not joined the run within 0:00:01"),
        _connected(0, init_method=meeting, rank=0, world_size=2, timeout=timedelta(days=365)),
    ):
        pass


def test_a_port_in_use_is_not_taken_for_processes_that_never_come() -> None:
    with socket.create_server(("", 0)) as other:
        meeting = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(RuntimeError, match=r"^The server socket has failed to listen.*EADDRINUSE"),
            _connected(0, init_method=meeting, rank=0, world_size=2, timeout=timedelta(seconds=20)),
        ):
            pass
