"""Output that gets lost: files on a full disk, lines that nobody reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

EXIT_CODES = {"a closed pipe": 0, "a full disk": 1}  # that one stopped reading, as `head` does, is no failure


@contextmanager
def lost_output(kind: str) -> Iterator[None]:
    """Inside it standard output takes nothing; `kind` is of EXIT_CODES."""
    if kind == "a full disk":
        if not (full := Path("/dev/full")).exists():
            pytest.skip("this system has no disk that is always full")
        stream = full.open("w")
    else:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
    with stream, redirect_stdout(stream):
        yield
        stream.flush()  # as the interpreter does at its end: what is lost is not to be tried again


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside it a file takes so many bytes, and the next write fails, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
