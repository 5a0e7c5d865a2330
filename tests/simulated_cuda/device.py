"""A simulated CUDA device: tensors that say they are on cuda:0, hold their content on the CPU, and behave as CUDA's do.

A dispatch mode sends what is made on, or moved to, "cuda" here, and runs each operation on the contents. What CUDA
refuses raises: tensors of both devices in one operation, numpy of a GPU tensor, a generator of the other device, a GPU
tensor in another process, products of different types. Synchronisations and operations are counted (ledger.py).

What it cannot show: wrong results of CUDA's kernels, races between streams, speed, real memory, NCCL, cuDNN.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.simulated_cuda.ledger import Ledger
from tests.simulated_cuda.rules import check_devices, wait

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
HALVES = (torch.float16, torch.bfloat16)
# Tensor cores add up products of 16 bits in float32, and round once.
PRODUCTS = ("aten::convolution", "aten::convolution_backward", "aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm")
NO_KERNEL = ("aten::empty", "aten::new_empty", "aten::lift", "aten::_local_scalar_dense", "aten::detach")
LEDGER = Ledger()


class SimulatedTensor(torch.Tensor):
    """A tensor on cuda:0; `content` has its numbers, on the CPU."""

    content: torch.Tensor

    @staticmethod
    def __new__(cls, content: torch.Tensor) -> SimulatedTensor:
        layout = {"strides": content.stride(), "storage_offset": content.storage_offset(), "dtype": content.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, content.shape, **layout, device=GPU)
        tensor.content = content
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """For threads that the mode is not active in."""
        return run(func, args, kwargs or {})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__self__", None) is torch.Tensor.data:  # goes past the dispatcher
            if len(args) > 1 and args[1] is not SimulatedTensor:
                raise NotImplementedError("simulated: .data is set")
            return SimulatedTensor(args[0].content.detach())  # counts its changes by itself
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> SimulatedTensor:
        if id(self) not in memo:
            copied = memo[id(self)] = SimulatedTensor(self.content.detach().clone()).requires_grad_(self.requires_grad)
            copied._is_param = getattr(self, "_is_param", False)
            copied.grad = self.grad.__deepcopy__(memo) if self.grad is not None else None
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> Any:
        """torch.save; what is loaded is on the CPU, as with `map_location="cpu"`."""
        return self.cpu().detach().__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:
        return f"SimulatedTensor({self.content!r}, device='cuda:0')"


class SimulatedCuda(TorchDispatchMode):
    """What is made on "cuda" inside is simulated."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class SimulatedGenerator(torch.Generator):
    """torch.Generator that may be of the device cuda."""

    # By address: the dispatcher makes new Python objects of generators.
    on_gpu: set[int] = set()

    def __new__(cls, device: Any = "cpu") -> SimulatedGenerator:
        made = torch._C.Generator.__new__(cls, CPU)
        made._device = torch.device(device)
        (cls.on_gpu.add if made._device.type == "cuda" else cls.on_gpu.discard)(made._cdata)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self._device


DEFAULT_GENERATOR = SimulatedGenerator("cuda")
HOME = os.getpid()


def leaves(values: Any) -> Iterator[Any]:
    """All that an operation is given, or returns, out of its tuples, lists and dicts.

    torch.utils._pytree does so for types of every kind, which took half the time of all simulated operations.
    """
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from leaves(value)
    elif isinstance(values, dict):
        yield from leaves([*values.values()])
    else:
        yield values


def mapped(function: Callable[[Any], Any], values: Any) -> Any:
    """The same with each of the leaves replaced."""
    if isinstance(values, (tuple, list)):
        return type(values)([mapped(function, value) for value in values])
    if isinstance(values, dict):
        return {key: mapped(function, value) for key, value in values.items()}
    return function(values)


def on_gpu(value: Any) -> bool:
    return isinstance(value, SimulatedTensor)


def content_of(value: Any) -> Any:
    return value.content if on_gpu(value) else value


def live_bytes() -> int:
    """Of the GPU's tensors that can still be reached."""
    gc.collect()
    storages = [found.content.untyped_storage() for found in gc.get_objects() if type(found) is SimulatedTensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation, wherever its tensors are."""
    name, values = func._schema.name, [*leaves((args, kwargs))]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    simulated = any(map(on_gpu, tensors))
    target = kwargs.get("device")
    here = torch.device(target).type == "cuda" if target is not None else simulated
    if simulated or here:
        if os.getpid() != HOME:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess (simulated)")
        LEDGER.start(name, has_kernel=not (func.is_view or name.startswith(NO_KERNEL)))
    if name in _COPIES:
        return _COPIES[name](func, args, kwargs, here)
    _check_generators(name, values, "cuda" if simulated or here else "cpu")
    if not (simulated or here):
        return _on_cpu(func, args, kwargs)
    check_devices(name, args, tensors, on_gpu)
    if reason := wait(name, args, kwargs, on_gpu):
        LEDGER.wait(*reason)
    return _computed(func, name, args, kwargs, here)


def _on_cpu(func: Any, args: Any, kwargs: Any) -> Any:
    if not kwargs.get("pin_memory"):
        return func(*args, **kwargs)
    return _pinned(func(*args, **{**kwargs, "pin_memory": False}))


def _computed(func: Any, name: str, args: Any, kwargs: Any, here: bool) -> Any:
    if "device" in kwargs:
        kwargs = {**kwargs, "device": CPU, "pin_memory": False}
    known = {id(value.content): value for value in leaves((args, kwargs)) if on_gpu(value)}
    args, kwargs = mapped(content_of, (args, kwargs))
    half = next((one.dtype for one in leaves(args) if getattr(one, "dtype", None) in HALVES), None)
    with _own_random_numbers(func, here):
        if name in PRODUCTS and half:
            result = _in_float32(func, args, kwargs, half)
        else:
            try:
                result = func(*args, **kwargs)
            except (RuntimeError, NotImplementedError) as error:
                if half is None or "not implemented for" not in str(error):  # PyTorch has no such kernel for CPUs
                    raise
                result = _in_float32(func, args, kwargs, half)
    return mapped(lambda value: _wrapped(value, known), result) if here else result


@contextmanager
def _own_random_numbers(func: Any, here: bool) -> Iterator[None]:
    """What samples without a generator uses the device's, and leaves that of the CPU as it was."""
    if not here or torch.Tag.nondeterministic_seeded not in func.tags:
        yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(DEFAULT_GENERATOR.get_state())
    try:
        yield
    finally:
        DEFAULT_GENERATOR.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def _wrapped(value: Any, known: dict[int, SimulatedTensor]) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    own = known[id(value)] if id(value) in known else SimulatedTensor(value)
    if own.shape != value.shape:
        raise NotImplementedError("simulated: a shape is changed in place")
    return own


def _in_float32(func: Any, args: Any, kwargs: Any, half: torch.dtype) -> Any:
    types = {one.dtype for one in leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
    if any(one.is_floating_point and one != half for one in types) or func._schema.is_mutable:
        raise RuntimeError(f"expected tensors of one type, got {sorted(map(str, types))} in {func} (simulated)")
    args, kwargs = mapped(lambda one: one.float() if getattr(one, "dtype", None) == half else one, (args, kwargs))
    result = func(*args, **kwargs)
    return mapped(lambda one: one.to(half) if getattr(one, "dtype", None) == torch.float32 else one, result)


def _check_generators(name: str, values: Sequence[Any], wanted: str) -> None:
    for value in values:
        if isinstance(value, torch._C.Generator):
            found = "cuda" if value._cdata in SimulatedGenerator.on_gpu else "cpu"
            if found != wanted:
                raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}' ({name})")


def _to_copy(func: Any, args: Any, kwargs: Any, here: bool) -> Any:
    source, options = args[0], {**kwargs, "pin_memory": False}
    moved = kwargs.get("device") is not None and (here or on_gpu(source))
    result = func(content_of(source), **({**options, "device": CPU} if moved else options))
    if here:
        if not on_gpu(source):
            _upload(source, kwargs.get("non_blocking"))
        return SimulatedTensor(result)
    return _download(result, result.clone(), kwargs.get("non_blocking")) if on_gpu(source) else result


def _copy_(func: Any, args: Any, kwargs: Any, here: bool) -> torch.Tensor:
    target, source, *rest = args
    quick = kwargs.get("non_blocking") or any(rest)
    if on_gpu(target) and not on_gpu(source):
        _upload(source, quick)
    func(content_of(target), content_of(source))
    if on_gpu(source) and not on_gpu(target):
        _download(target, target.clone(), quick)
    return target


def _foreach_copy_(func: Any, args: Any, kwargs: Any, here: bool) -> None:
    for target, source in zip(args[0], args[1], strict=True):
        _copy_(torch.ops.aten.copy_.default, (target, source, *args[2:]), kwargs, here)


_COPIES = {"aten::copy_": _copy_, "aten::_to_copy": _to_copy, "aten::_foreach_copy_": _foreach_copy_}


def _upload(source: torch.Tensor, non_blocking: Any) -> None:
    """cudaMemcpyAsync, and without non_blocking cudaStreamSynchronize after it."""
    if not non_blocking:
        LEDGER.wait(f"upload of {'pinned' if is_pinned(source) else 'pageable'} memory")


def _download(target: torch.Tensor, copied: torch.Tensor, non_blocking: Any) -> torch.Tensor:
    """Until something waits for the GPU, what was copied without waiting is not there."""
    if not non_blocking:
        LEDGER.wait("download")
    else:
        LEDGER.unfinished.append((target, copied))
        whole = not target.is_floating_point() and target.dtype != torch.bool
        target.fill_(torch.iinfo(target.dtype).max if whole else torch.nan)
    return target


def pin_memory(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    """Stands for torch.Tensor.pin_memory."""
    if on_gpu(tensor):
        raise RuntimeError("only dense CPU tensors can be pinned (simulated)")
    return _pinned(tensor.detach().clone())


def is_pinned(tensor: torch.Tensor, *_: Any) -> bool:
    return getattr(tensor, "_simulated_pinned", False)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    tensor._simulated_pinned = True
    return tensor
