"""Registries and dotted paths."""

from __future__ import annotations

import pytest

from detectron2.utils.registry import Registry, locate


def test_registry() -> None:
    registry = Registry("COLOUR")

    @registry.register()
    class Red:
        pass

    assert registry.get("Red") is Red
    with pytest.raises(KeyError, match="COLOUR"):
        registry.get("Blue")


def test_locate() -> None:
    assert locate("detectron2.utils.registry.Registry") is Registry
    with pytest.raises(ModuleNotFoundError, match="detectron2.nowhere"):
        locate("detectron2.nowhere")
