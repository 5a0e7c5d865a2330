"""The global random generators of Python, numpy and PyTorch: seeded; their states taken, set, kept undisturbed."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

TORCH_VERSION = tuple(int(number) for number in torch.__version__.split(".")[:2])
"""(major, minor), to compare with."""


def seed_all_rng(seed: int | None = None) -> None:
    """Seed Python's, numpy's and PyTorch's generators; None takes a seed from the system's entropy."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big") % 2**31
        logging.getLogger(__name__).info("Using a generated random seed %d", seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed % 2**32)


def random_states() -> dict[str, Any]:
    """The states, of tensors, numbers and plain containers only, as a checkpoint that runs no code can hold them.

    The current CUDA device's generator is among them where CUDA is in use.
    """
    numpy_state: dict[str, Any] = dict(np.random.get_state(legacy=False))
    inner = numpy_state["state"]
    numpy_state["state"] = {**inner, "key": torch.from_numpy(inner["key"].astype(np.int64))}
    states = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set what `random_states` took; a CUDA state is left out where there is no CUDA."""
    random.setstate(states["python"])
    inner = states["numpy"]["state"]
    key = inner["key"].numpy().astype(np.uint32)
    np.random.set_state({**states["numpy"], "state": {**inner, "key": key}})
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Random numbers used inside do not change those that follow."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def seed_for_item(*numbers: int) -> None:
    """Seed the CPU generators from several numbers of 0 or more; other numbers give unrelated states."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would also reach for CUDA, which a loader's process must not touch.
    torch.default_generator.manual_seed(seed)
