"""Seeds repeat."""

from __future__ import annotations

import random

import numpy as np
import torch

from detectron2.utils.env import TORCH_VERSION, seed_all_rng


def samples() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_seeds_repeat_all_generators() -> None:
    seed_all_rng(3)
    first = samples()
    seed_all_rng(3)
    assert samples() == first
    seed_all_rng()
    other = samples()
    seed_all_rng()
    assert all(a != b for a, b in zip(samples(), other, strict=True))


def test_the_version_of_torch_can_be_compared() -> None:
    assert (1, 8) < TORCH_VERSION < (99, 0)
