"""Functions on their way to workers."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from detectron2.utils.registry import Registry, locate
from detectron2.utils.serialize import PicklableWrapper


def test_a_wrapped_function_travels() -> None:
    wrapped = pickle.loads(pickle.dumps(PicklableWrapper(locate)))
    assert wrapped("detectron2.utils.registry.Registry") is Registry
    assert wrapped.__name__ == "locate"
    assert PicklableWrapper(wrapped)._obj is locate


def test_a_lambda_without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_found(name: str) -> Any:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing_found)
    with pytest.raises(pickle.PicklingError, match="top of a module"):
        pickle.dumps(PicklableWrapper(lambda: 1))
