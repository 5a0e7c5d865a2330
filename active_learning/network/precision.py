"""In how many bits the network calculates."""

from __future__ import annotations

import torch


def use_exact_float32() -> None:
    """float32 is float32 from now on: without it, convolutions on GPUs since Ampere keep 10 of its 23 bits (TF32).

    Whoever wants speed has `precision: amp`.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
