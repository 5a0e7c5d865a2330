"""Results that are calculated anew only where what they come from has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Derived(Generic[T]):
    """A value calculated from tensors without gradients, kept until one of them is replaced or changed in place.

    A change in place through `Tensor.data` is not seen, as by autograd: `forget` first, or ask `is_being_trained`
    whether to keep at all. Copies and pickles of an object of this class are empty.
    """

    def __init__(self) -> None:
        # one attribute: threads may share a network
        self._kept: tuple[Any, tuple[Any, ...], T] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()

    def forget(self) -> None:
        self._kept = None

    def get(self, sources: Sequence[Tensor], calculate: Callable[[], T], *options: Any) -> T:
        """`calculate()`, which depends on nothing but `sources` and, by their values, `options`."""
        # What is traced must hold for other weights too; tensors made in inference mode do not count their changes.
        if torch.jit.is_tracing() or torch.compiler.is_compiling() or any(one.is_inference() for one in sources):
            return calculate()
        # the address changes where other memory is put into a tensor, as by `Module.to`
        key = (*((id(one), one._version, one.data_ptr()) for one in sources), *options)
        kept = self._kept
        if kept is None or kept[1] != key:
            with torch.inference_mode(False), torch.no_grad():
                # the sources and their memory are kept too, so that no other gets the identity or the address of one
                memory = tuple(one.untyped_storage() for one in sources)
                self._kept = kept = (tuple(sources), memory), key, calculate()
        return kept[2]


def is_being_trained(layer: nn.Module) -> bool:
    """Whether this call of the layer is one of a training step: there what no training changes may be kept.

    Anywhere else the weights may be somebody's who changes them through `Tensor.data` between two calls: a mean
    teacher's, or those of a network with noise.
    """
    return layer.training and torch.is_grad_enabled()
