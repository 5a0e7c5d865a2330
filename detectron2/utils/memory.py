"""Surviving a full GPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

# Of CUDA's libraries, which have no error of their own for it: PyTorch raises plain RuntimeErrors with these texts.
# "Unable to" and "unable to" stand where cuDNN finds no room to try its algorithms (also on a GPU that it has no code
# for), "NOT_INITIALIZED" where cuBLAS finds none to start. cuDNN's HOST_ALLOCATION_FAILED is of the machine's memory.
_FULL = (
    "out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "_DEVICE_ALLOCATION_FAILED",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "Unable to find a valid cuDNN algorithm",
    "was unable to find an engine to execute",  # the same of cuDNN 8 and later
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "NVML_SUCCESS == r",  # PyTorch, of a part of a GPU (MIG): it asks what else is there, and is given no answer
)


def is_cuda_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory was too small, whichever library has found it so."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FULL)


def none_if_cuda_oom(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What the function, which never returns None, returns; None, and the cache is emptied, where the GPU is full.

    Whoever gets None can go on with less: an `except` would keep alive, by its traceback, what the function had made.
    """
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        if not is_cuda_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    return None


def retry_with_empty_cache(func: Callable[P, T]) -> Callable[P, T]:
    """Make a function, which never returns None, try again with the cache emptied where the GPU is full."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        found = none_if_cuda_oom(func, *args, **kwargs)
        return func(*args, **kwargs) if found is None else found

    return wrapped


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
            found = none_if_cuda_oom(lambda: (func(*args, **kwargs),))
            if found is not None:
                return found[0]
        name = getattr(func, "__name__", repr(func))
        logging.getLogger(__name__).warning("The GPU is full: running %s on the CPU", name)
        return func(*map(_to_cpu, args), **{key: _to_cpu(value) for key, value in kwargs.items()})

    return wrapped
