"""Fixtures of the whole suite."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# The same cases in every run: a change fails by its own fault alone. `--hypothesis-profile=random` looks for new ones.
settings.register_profile("same_cases", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("same_cases")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The contract's facts, golden figures and sample files; not part of the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared folder is not here")
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing that a test writes in this process has to outlast a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_a_save() -> Iterator[None]:
    """Files that a test has just written are whole, and nobody is at work on them."""
    from active_learning.system import saving

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "SECONDS_TO_SAVE", 0.0)
        yield


@contextmanager
def loggers_as_before() -> Iterator[None]:
    """A run sets up the loggers of the whole process; the next test must find its log records once and at all."""
    loggers = [logging.getLogger(name) for name in ("active_learning", "detectron2", "fvcore", "iopath")]
    before = [(logger.propagate, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (propagate, level, handlers) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers).difference(handlers):
            handler.close()
        logger.propagate, logger.handlers[:] = propagate, handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def loggers_of_a_test() -> Iterator[None]:
    with loggers_as_before():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whole runs first: the short tests after them fill up both processes to the end.
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
