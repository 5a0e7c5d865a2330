"""`torch.cuda` of a machine with one GPU, as long as a test needs it."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
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
    with pytest.MonkeyPatch.context() as patch, _device_for_pytorch():
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
    silent += ("set_per_process_memory_fraction",)
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


# A function that returns 1 and 0. It stands for each method of PyTorch's that is asked here, as "CUDA device 0", "its
# default stream", "one" or "yes".
YES = {"x86_64": b"\xb8\x01\0\0\0\x31\xd2\xc3", "aarch64": b"\x20\0\x80\xd2\x01\0\x80\xd2\xc0\x03\x5f\xd6"}
WORD = ctypes.sizeof(ctypes.c_void_p)


@contextmanager
def _device_for_pytorch() -> Iterator[None]:
    """Lets PyTorch's own code find a CUDA device where there is none; skips the test where that cannot be.

    It asks the guard of CUDA (c10/core/impl/DeviceGuardImplInterface.h) for device and stream, and before a backward
    pass its hooks (ATen/detail/AcceleratorHooksInterface.h) whether it is in use. Each is an object with a table
    of functions; for the time of a test the guard is one of ours, and the hooks have a table of ours.
    """
    try:
        guards, hooks = _guards_and_hooks()
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(YES[platform.machine()])
    except (OSError, AttributeError, ValueError, KeyError) as error:
        pytest.skip(f"no CUDA device can be simulated with PyTorch {torch.__version__} on this system: {error!r}")
    before, yes = (guards[1], hooks.value), ctypes.addressof(ctypes.c_char.from_buffer(code))
    methods = (ctypes.c_void_p * 64)(*[yes] * 64)
    guard = ctypes.c_void_p(ctypes.addressof(methods))
    # Two words before its functions say of which class a table is.
    table = (ctypes.c_void_p * 128).from_buffer_copy(ctypes.string_at((hooks.value or 0) - 2 * WORD, 128 * WORD))
    guards[1] = ctypes.addressof(guard)
    try:
        for place in (None, 4, 2):  # of hasPrimaryContext: after two destructors, later after two more functions
            if place:
                table[2 + place] = yes
                hooks.value = ctypes.addressof(table) + 2 * WORD
            if _backward_works():
                yield
                return
        pytest.skip(f"no backward pass on a simulated device begins with PyTorch {torch.__version__}: see {__file__}")
    finally:
        guards[1], hooks.value = before


def _guards_and_hooks() -> tuple[Any, ctypes.c_void_p]:
    """The guards by type of device (CPU, CUDA), and the first word of the hooks, which points to their table."""
    libraries = Path(torch.__file__).parent / "lib"
    registry = "_ZN3c104impl26device_guard_impl_registryE"
    guards = (ctypes.c_void_p * 2).in_dll(ctypes.CDLL(str(libraries / "libc10.so")), registry)
    find = ctypes.CDLL(str(libraries / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    find.restype = ctypes.c_void_p
    return guards, ctypes.c_void_p.from_address(find())


def _backward_works() -> bool:
    with torch.autograd.set_multithreading_enabled(False), torch.enable_grad():
        try:
            SimulatedTensor(torch.ones(1)).requires_grad_().sum().backward()
        except RuntimeError as error:
            if "hasPrimaryContext" not in str(error):
                raise
            return False
    return True
