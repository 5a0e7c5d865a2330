"""Where `launch` runs a function; what its processes do together: test_two_processes.py."""

from __future__ import annotations

import os

import pytest
import torch

from detectron2.engine import launch


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
