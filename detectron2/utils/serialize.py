"""Sending functions to worker processes."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from typing import Any


class PicklableWrapper:
    """Wraps a callable so that it can be pickled to another process, and still be called and inspected like it.

    With the cloudpickle package installed also lambdas and local functions travel; without it, what pickle can do.
    """

    def __init__(self, obj: Any) -> None:
        self._obj: Any = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Callable[[bytes], PicklableWrapper], tuple[bytes]]:
        return _unpack, (_dumps(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._obj, name)


def _unpack(pickled: bytes) -> PicklableWrapper:
    return PicklableWrapper(pickle.loads(pickled))


def _dumps(obj: Any) -> bytes:
    try:
        return pickle.dumps(obj)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if importlib.util.find_spec("cloudpickle") is None:
            raise pickle.PicklingError(
                f"{obj!r} cannot be sent to worker processes: define it at the top of a module, or install cloudpickle"
            ) from error
    import cloudpickle

    return cloudpickle.dumps(obj)
