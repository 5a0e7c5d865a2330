"""Processes that can talk to each other, started in a fraction of the time of torch.multiprocessing.spawn."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

import pytest
import torch
import torch.multiprocessing

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
# What the server of new processes has in memory. The project's own modules are not among them: the server would look
# for them where they are installed, which need not be where the tests are.
IMPORTS = [
    "torch._dynamo",
    "torch.nn.parallel",
    "torchvision",
    "cv2",
    "fvcore.common.checkpoint",
    "hypothesis",
    "matplotlib.figure",
    "pycocotools.mask",
    "pytest",
]


class Surroundings:
    """Environment, standard output and standard error of this process; whoever unpickles it has the same.

    A process that the server starts has those of the server otherwise, and pytest would not see what it prints.
    """

    def __getstate__(self) -> tuple[dict[str, str], list[Any]]:
        return dict(os.environ), [reduction.DupFd(number) for number in (1, 2)]

    def __setstate__(self, state: tuple[dict[str, str], list[Any]]) -> None:
        environment, files = state
        os.environ.clear()
        os.environ.update(environment)
        for number, file in enumerate(files, start=1):
            os.dup2(file.detach(), number)


def spawn(function: Callable[..., None], args: tuple[Any, ...], nprocs: int) -> None:
    """As torch.multiprocessing.spawn: calls function(rank, *args) in so many processes, and waits for their end."""
    multiprocessing.set_forkserver_preload(IMPORTS)
    arguments = (Surroundings(), function, args)
    torch.multiprocessing.start_processes(_call, arguments, nprocs, start_method=METHOD)


def _call(rank: int, _: Surroundings, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    function(rank, *args)


def hide_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """From this process, and from those that it starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
