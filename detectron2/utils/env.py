"""Random seeds of a process."""

from __future__ import annotations

import logging
import os
import random

import numpy as np
import torch


def seed_all_rng(seed: int | None = None) -> None:
    """Seed Python's, numpy's and PyTorch's generators; None takes a seed from the system's entropy."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big") % 2**31
        logging.getLogger(__name__).info("Using a generated random seed %d", seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed % 2**32)
