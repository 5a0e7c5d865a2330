"""Results that are calculated anew only where what they come from has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Derived(Generic[T]):
    """A value calculated from tensors without gradients, kept until one of them is replaced or changed in place.

    A change through `Tensor.data` is not seen, as by autograd. Copies and pickles of an object of this class are empty.
    """

    def __init__(self) -> None:
        self._sources: tuple[Tensor, ...] = ()
        self._key: tuple[Any, ...] = ()
        self._value: T

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()

    def get(self, sources: Sequence[Tensor], calculate: Callable[[], T], *options: Any) -> T:
        """`calculate()`, which depends on nothing but `sources` and, by their values, `options`."""
        # What is traced must hold for other weights too; tensors made in inference mode do not count their changes.
        if torch.jit.is_tracing() or torch.compiler.is_compiling() or any(one.is_inference() for one in sources):
            return calculate()
        key = (*(one._version for one in sources), *options)
        same = len(sources) == len(self._sources) and all(a is b for a, b in zip(sources, self._sources, strict=True))
        if not same or key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._value = calculate()
            self._sources, self._key = tuple(sources), key
        return self._value
