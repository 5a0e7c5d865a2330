"""Seeds repeat."""

from __future__ import annotations

import random

import numpy as np
import torch

from detectron2.utils.env import seed_all_rng


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_seeds_repeat_all_generators() -> None:
    seed_all_rng(3)
    first = draws()
    seed_all_rng(3)
    assert draws() == first
    seed_all_rng()
    other = draws()
    seed_all_rng()
    assert all(a != b for a, b in zip(draws(), other, strict=True))
