"""Processes that start in a fraction of the time that PyTorch takes to load: forks of one that has loaded it."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import reduction
from pathlib import Path
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
    """Environment, standard output and standard error, by default this process's; whoever unpickles it has the same.

    A process that the server starts has those of the server otherwise, and pytest would not see what it prints.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, files: tuple[int, int] = (1, 2)) -> None:
        self.environment = environment
        self.files = files

    def __getstate__(self) -> tuple[dict[str, str], list[Any]]:
        environment = os.environ if self.environment is None else self.environment
        return dict(environment), [reduction.DupFd(number) for number in self.files]

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


class Program:
    """`python SCRIPT ARGUMENT...`, as far as the script can tell; to its caller what a subprocess.Popen is.

    Args:
        before: called in the new process before the script is.
        merged: standard error goes where standard output goes.
    """

    def __init__(
        self,
        *words: str,
        cwd: Path,
        env: Mapping[str, str],
        merged: bool = False,
        before: Callable[[], None] | None = None,
    ) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(1 if merged else 2)]  # noqa: SIM115 - read at the end
        surroundings = Surroundings(env, (self._files[0].fileno(), self._files[-1].fileno()))
        multiprocessing.set_forkserver_preload(IMPORTS)
        context = multiprocessing.get_context(METHOD)
        self._process = context.Process(target=_run_script, args=(surroundings, words, str(cwd), before))
        self._process.start()
        self.pid = self._process.pid
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it has written by its end; standard error is empty if `merged`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        written = []
        for file in self._files:
            file.seek(0)
            written.append(file.read().decode("utf-8"))
        return written[0], "".join(written[1:])


def _run_script(_: Surroundings, words: tuple[str, ...], folder: str, before: Callable[[], None] | None) -> None:
    os.chdir(folder)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True)
    if "OMP_NUM_THREADS" in os.environ:  # PyTorch read that of the server
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.argv[:] = words
    sys.path.insert(0, str(Path(words[0]).parent))
    if before:
        before()
    runpy.run_path(words[0], run_name="__main__")


def hide_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """From this process, and from those that it starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
