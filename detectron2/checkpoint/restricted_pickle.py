"""Reading .pkl weights without trusting them.

A pickle is a program: it may name any importable function and call it. Weights need numpy arrays in plain containers,
so only the few constructors those are made of are admitted.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["load_restricted_pickle"]


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    # Python 3 writes bytes this way at pickle protocols 0 to 2; any other codec is not needed.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes come as latin1, not as '{encoding}'")
    return text.encode("latin1")


# numpy itself says which functions rebuild its objects; they live in private modules that were renamed in numpy 2.
_rebuild_array: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]
_rebuild_scalar: Callable[..., Any] = np.float32(0).__reduce__()[0]  # type: ignore[assignment]
_rebuild_from_buffer: Callable[..., Any] = np.empty(1).__reduce_ex__(5)[0]  # type: ignore[assignment]

# Old protocols have no codes of their own for these.
_CONTAINERS = (set, frozenset, bytes, bytearray, complex)

_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode_latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _rebuild_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _rebuild_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _rebuild_from_buffer for core in ("core", "_core")},
    **{(home, kind.__name__): kind for home in ("builtins", "__builtin__") for kind in _CONTAINERS},
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def load_restricted_pickle(path: str | os.PathLike[str]) -> Any:
    """The content of a pickle of plain containers, texts, numbers and numpy arrays. Python 2 pickles are read too.

    Raises:
        pickle.UnpicklingError: the file asks for anything else, or is no pickle.
    """
    with Path(path).open("rb") as file:
        try:
            return _RestrictedUnpickler(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise pickle.UnpicklingError(
                f"{path}: refused to load: {error}. A pickle can run code, so only numpy arrays in plain containers "
                "are read; convert the file to a .pth of tensors where you trust it"
            ) from error
