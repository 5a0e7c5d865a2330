"""Reading .pkl weights without trusting them.

A pickle is a program: it may name any importable function and call it, and change the objects it gets. Here the few
names that weights need lead to this module's own constructors, which take nothing but texts, numbers and bytes; numpy's
own functions and classes, whose states could be forged, are never handed to the file.
"""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

# Kind and size of an element: bool, int, unsigned, float, complex, bytes, text. No Python objects, no records.
_ELEMENT = re.compile(r"[biufcSU]\d+")


class _ElementType:
    """A placeholder for a numpy dtype: its name first, its byte order as the state."""

    def __init__(self, name: Any) -> None:
        if not isinstance(name, str) or not _ELEMENT.fullmatch(name):
            raise pickle.UnpicklingError(f"it has arrays of {name!r}, not of numbers or texts")
        self.dtype: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, byte_order, *_ = state
        if byte_order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(byte_order)

    def decode(self, content: str | bytes | bytearray) -> np.ndarray[Any, Any]:
        """The elements in a row, in this machine's byte order and writable."""
        # Python 2 had no bytes; its strings are read as latin1
        data = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="))


class _ArrayInParts:
    """A placeholder for a numpy array that is created empty and gets its shape and content as the state."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, element_type, is_fortran, content = state
        self.value = element_type.decode(content).reshape(shape, order="F" if is_fortran else "C")


class _Constructors:
    """What a file may call. Bound methods, since attributes of plain functions could be changed by the file."""

    def element_type(self, name: Any, *_align_and_copy: Any) -> _ElementType:
        return _ElementType(name)

    def empty_array(self, *_class_shape_and_type: Any) -> _ArrayInParts:
        return _ArrayInParts()

    def scalar(self, element_type: _ElementType, content: str | bytes) -> Any:
        return element_type.decode(content)[0]

    def array(
        self, content: Any, element_type: _ElementType, shape: Any, order: Any, axes: Any = None
    ) -> np.ndarray[Any, Any]:
        elements = element_type.decode(content)
        if axes is not None:  # neither rows nor columns first, as of weights with the channels last
            return elements.reshape(shape).transpose(axes)
        return elements.reshape(shape, order=order)

    def latin1_bytes(self, text: str, encoding: str = "latin1") -> bytes:
        # Python 3 writes bytes so at pickle protocols 0 to 2; any other codec is not needed.
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes come as latin1, not as '{encoding}'")
        return text.encode("latin1")


_CONSTRUCTORS = _Constructors()

# Old protocols have no codes of their own for these.
_CONTAINERS = (set, frozenset, bytes, bytearray, complex)

_ADMITTED: dict[tuple[str, str], Any] = {
    # numpy 2 renamed the home of its constructors
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _CONSTRUCTORS.empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _CONSTRUCTORS.scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _CONSTRUCTORS.array for core in ("core", "_core")},
    ("numpy", "dtype"): _CONSTRUCTORS.element_type,
    # only ever the first argument of _reconstruct
    ("numpy", "ndarray"): "numpy.ndarray",
    ("_codecs", "encode"): _CONSTRUCTORS.latin1_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    **{(home, kind.__name__): kind for home in ("builtins", "__builtin__") for kind in _CONTAINERS},
}


# What broken or hostile files make an unpickler and its constructors raise.
DAMAGED_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError,
    MemoryError,
)  # fmt: skip


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def load_restricted_pickle(path: str | os.PathLike[str]) -> Any:
    """The content of a pickle of plain containers, texts, numbers and numpy arrays, of any protocol.

    Files that Python 2 or numpy 1 wrote are read too; Python 2's strings come as latin1 text. Raises
    pickle.UnpicklingError where the file requests anything else, or is no pickle.
    """
    with Path(path).open("rb") as file:
        try:
            return _finished(_RestrictedUnpickler(file, encoding="latin1").load(), {})
        except DAMAGED_PICKLE as error:
            raise pickle.UnpicklingError(
                f"{path}: refused to load: {error}. A pickle can run code, so only numpy arrays in plain containers "
                "are read; convert the file to a .pth of tensors where you trust it"
            ) from error


def _finished(content: Any, done: dict[int, Any]) -> Any:
    """`content` with its arrays instead of their placeholders; `done` holds by id what is already finished."""
    if id(content) not in done:
        done[id(content)] = _finish(content, done)
    return done[id(content)]


def _finish(content: Any, done: dict[int, Any]) -> Any:
    if isinstance(content, dict):
        return type(content)((key, _finished(value, done)) for key, value in content.items())
    if isinstance(content, (list, tuple)):
        return type(content)(_finished(value, done) for value in content)
    if isinstance(content, _ArrayInParts):
        if content.value is None:
            raise pickle.UnpicklingError("it has an array without content")
        return content.value
    return content.dtype if isinstance(content, _ElementType) else content
