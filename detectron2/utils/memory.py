"""Surviving a full GPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def _to_cpu(value: Any) -> Any:
    """`value` on the CPU if it is a tensor, or an object with `device` and `to`, on a GPU."""
    on_gpu = getattr(getattr(value, "device", None), "type", None) == "cuda"
    return value.to(device="cpu") if on_gpu and hasattr(value, "to") else value


def retry_if_cuda_oom(func: Callable[..., T]) -> Callable[..., T]:
    """Make a function survive a full GPU: it is tried again with the cache emptied, then with its arguments on the CPU.

    Only arguments that are themselves on the GPU move, not those inside lists. The result of the last try is on the
    CPU: move it where it is needed. `func` may run up to three times, so it must not change its arguments.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        for _ in range(2):
            try:
                return func(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
        name = getattr(func, "__name__", repr(func))
        logging.getLogger(__name__).warning("The GPU is full: running %s on the CPU", name)
        return func(*map(_to_cpu, args), **{key: _to_cpu(value) for key, value in kwargs.items()})

    return wrapped
