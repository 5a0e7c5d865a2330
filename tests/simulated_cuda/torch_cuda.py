"""`torch.cuda` of a machine with one GPU, as long as a test needs it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo
import torchvision  # noqa: F401  (this and dynamo are to see torch.cuda as it is)

from tests.simulated_cuda.device import (
    DEFAULT_GENERATOR,
    GPU,
    HOME,
    LEDGER,
    SimulatedCuda,
    SimulatedGenerator,
    SimulatedTensor,
    is_pinned,
    on_gpu,
    pin_memory,
)
from tests.simulated_cuda.ledger import Ledger

MEMORY = 80 * 2**30


@contextmanager
def simulated_cuda(capability: tuple[int, int] = (9, 0)) -> Iterator[Ledger]:
    """Inside, this process has one GPU of that compute capability; gives what it counts."""
    LEDGER.clear()
    DEFAULT_GENERATOR.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch, _gradients() as LEDGER.why_no_gradients:
        for module, functions in ((torch.cuda, _cuda(capability)), (getattr(torch, "accelerator", None), _ACCELERATOR)):
            for name, value in functions.items() if module else ():
                patch.setattr(module, name, value, raising=False)
        patch.setattr(torch, "Generator", SimulatedGenerator)
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        patch.setattr(torch.Tensor, "is_pinned", is_pinned)
        patch.setattr(torch.backends.cudnn, "enabled", False)  # cuDNN's operators have no form for CPUs
        # A parameter that is moved becomes another object: its `.data` cannot be set.
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        for name in ("torch.optim.optimizer", "torch.utils._foreach_utils"):
            types = getattr(sys.modules[name], "_foreach_supported_types", [])
            patch.setattr(sys.modules[name], "_foreach_supported_types", [*types, SimulatedTensor], raising=False)
        with _lifting(), torch.autograd.set_multithreading_enabled(False), SimulatedCuda():
            yield LEDGER


class _Stream:
    """A stream or an event; all that was started has ended when it is asked."""

    device = GPU

    def __init__(self, *_: Any, **__: Any) -> None:
        """Which one it is does not matter."""

    def synchronize(self) -> None:
        LEDGER.wait("synchronize of a stream or event")

    def query(self) -> bool:
        LEDGER.finish_copies()
        return True

    def __getattr__(self, name: str) -> Any:
        return _nothing

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        """The stream before is the same."""


def _nothing(*_: Any, **__: Any) -> None:
    """Has no effect that could be seen here."""


def _set_rng_state(state: torch.Tensor, *_: Any) -> None:
    if on_gpu(state):
        raise TypeError("RNG state must be a torch.ByteTensor (simulated)")
    DEFAULT_GENERATOR.set_state(state)


def _seed(seed: int) -> None:
    DEFAULT_GENERATOR.manual_seed(int(seed))


# Of torch.accelerator, and alike of torch.cuda.
_ACCELERATOR = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "synchronize": lambda *_: LEDGER.wait("torch.cuda.synchronize"),
    "empty_cache": _nothing,
    "current_stream": _Stream,
    "current_accelerator": lambda *_, **__: torch.device("cuda"),
    "current_device_index": lambda: 0,
    "set_device_index": _nothing,
}


def _cuda(capability: tuple[int, int]) -> dict[str, Any]:
    about = {"name": "Simulated GPU", "major": capability[0], "minor": capability[1], "total_memory": MEMORY}
    silent = ("_lazy_init", "init", "set_device", "ipc_collect", "reset_peak_memory_stats")
    sizes = ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
    return {
        **_ACCELERATOR,
        **dict.fromkeys(silent, _nothing),
        **dict.fromkeys(sizes, lambda *_: 0),
        **dict.fromkeys(("Stream", "Event", "stream", "device", "default_stream"), _Stream),
        **dict.fromkeys(("manual_seed", "manual_seed_all"), _seed),
        "is_initialized": lambda: os.getpid() == HOME,
        "_is_in_bad_fork": lambda: os.getpid() != HOME,
        "current_device": lambda: 0,
        "get_device_capability": lambda *_: capability,
        "get_device_name": lambda *_: about["name"],
        "get_device_properties": lambda *_: SimpleNamespace(**about, multi_processor_count=132),
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "get_rng_state": lambda *_: DEFAULT_GENERATOR.get_state(),
        "set_rng_state": _set_rng_state,
        "initial_seed": DEFAULT_GENERATOR.initial_seed,
        "default_generators": (DEFAULT_GENERATOR,),
    }


def _refuse(tensor: SimulatedTensor) -> Any:
    raise RuntimeError("a CUDA tensor is sent to another process (simulated)")


ForkingPickler.register(SimulatedTensor, _refuse)


@contextmanager
def _lifting() -> Iterator[None]:
    """torch.tensor(..., device="cuda") makes a CPU tensor and moves it, where the mode sees it."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


@contextmanager
def _gradients() -> Iterator[str]:
    """Lets a backward pass through CUDA tensors begin; gives why PyTorch has no way to here, "" where it has one.

    PyTorch that is built with CUDA asks its CUDA hooks whether device 0 is in use, which raises where there is no GPU.
    The hooks get a copy of their table of virtual functions, in which the one after two destructors, isBuilt and
    isAvailable says yes (ATen/detail/AcceleratorHooksInterface.h).
    """
    if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        yield f"PyTorch {torch.__version__} has no gradients of CUDA tensors where there is no GPU"
        return
    torch._C._ensureCUDADeviceGuardSet()
    if _backward_works():
        yield ""
        return
    try:
        find = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    except (OSError, AttributeError):
        yield f"the CUDA hooks of PyTorch {torch.__version__} cannot be reached on this system"
        return
    find.restype = ctypes.c_void_p
    hooks, size, slots = ctypes.c_void_p.from_address(find()), ctypes.sizeof(ctypes.c_void_p), 128
    before = hooks.value or 0
    # Two slots in front of the functions belong to the table: they say of which class it is.
    table = (ctypes.c_void_p * slots).from_buffer_copy(ctypes.string_at(before - 2 * size, slots * size))
    yes = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int8)(lambda hooks, index: True)
    table[2 + 4] = ctypes.cast(yes, ctypes.c_void_p).value
    hooks.value = ctypes.addressof(table) + 2 * size
    try:
        yield "" if _backward_works() else f"the CUDA hooks of PyTorch {torch.__version__} have another table"
    finally:
        hooks.value = before


def _backward_works() -> bool:
    with torch.autograd.set_multithreading_enabled(False), torch.enable_grad():
        try:
            SimulatedTensor(torch.ones(1)).requires_grad_().sum().backward()
        except RuntimeError as error:
            if "hasPrimaryContext" not in str(error):
                raise
            return False
    return True
