"""The configurable decorator, on classes and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectron2.config import configurable, get_cfg


class Layer:
    @configurable
    def __init__(self, rate: float, depth: int = 1, name: str = "layer") -> None:
        self.settings = (rate, depth, name)

    @classmethod
    def from_config(cls, cfg: Any, depth: int = 2) -> dict[str, Any]:
        return {"rate": cfg.SOLVER.BASE_LR, "depth": depth}


class WiderLayer(Layer):
    @classmethod
    def from_config(cls, cfg: Any, depth: int = 2) -> dict[str, Any]:
        return {**super().from_config(cfg, depth), "name": "wider"}


class VariadicLayer(Layer):
    @classmethod
    def from_config(cls, cfg: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"rate": 9.0, "name": f"{args}{sorted(kwargs)}"}


def rate_from_config(cfg: Any, scale: float = 1.0) -> dict[str, Any]:
    return {"rate": cfg.SOLVER.BASE_LR * scale}


@configurable(from_config=rate_from_config)
def describe(rate: float, unit: str = "1") -> str:
    return f"{rate:g} {unit}"


CFG = get_cfg()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(lambda: Layer(0.5).settings, (0.5, 1, "layer"), id="explicit"),
        pytest.param(lambda: Layer(rate=0.5, depth=4).settings, (0.5, 4, "layer"), id="explicit-keywords"),
        pytest.param(lambda: Layer(CFG).settings, (0.001, 2, "layer"), id="config"),
        pytest.param(lambda: Layer(cfg=CFG).settings, (0.001, 2, "layer"), id="config-keyword"),
        pytest.param(lambda: Layer(CFG, 7).settings, (0.001, 7, "layer"), id="positional-to-from_config"),
        pytest.param(lambda: Layer(CFG, depth=7).settings, (0.001, 7, "layer"), id="keyword-to-from_config"),
        pytest.param(lambda: Layer(CFG, name="x", rate=3.0).settings, (3.0, 2, "x"), id="overrides"),
        pytest.param(lambda: WiderLayer(CFG).settings, (0.001, 2, "wider"), id="subclass"),
        pytest.param(lambda: VariadicLayer(CFG, 1, a=2).settings, (9.0, 1, "(1,)['a']"), id="variadic"),
        pytest.param(lambda: describe(0.5, unit="m"), "0.5 m", id="function-explicit"),
        pytest.param(lambda: describe(CFG), "0.001 1", id="function-config"),
        pytest.param(lambda: describe(CFG, scale=2.0, unit="m"), "0.002 m", id="function-both"),
    ],
)
def test_calls(made: Callable[[], object], expected: object) -> None:
    assert made() == expected


def test_function_keeps_its_translator() -> None:
    assert describe.from_config is rate_from_config
    assert describe.__name__ == "describe"


def class_without_from_config() -> None:
    class Bare:
        @configurable
        def __init__(self, rate: float) -> None:
            self.rate = rate

    Bare(1.0)


def class_with_plain_from_config() -> None:
    class Plain:
        @configurable
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def from_config(self, cfg: Any) -> dict[str, Any]:
            return {"rate": 1.0}

    Plain(CFG)


def class_with_other_first_argument() -> None:
    class Other:
        @configurable
        def __init__(self, rate: float) -> None:
            self.rate = rate

        @classmethod
        def from_config(cls, config: Any) -> dict[str, Any]:
            return {"rate": 1.0}

    Other(CFG)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        pytest.param(class_with_plain_from_config, "from_config must be a classmethod", id="no-classmethod"),
        pytest.param(class_with_other_first_argument, "first argument", id="first-argument"),
        pytest.param(lambda: configurable(rate_from_config), "__init__", id="bare-on-function"),
        pytest.param(lambda: configurable(from_config=None), "needs a function", id="nothing"),
        pytest.param(lambda: configurable(from_config=lambda config: {}), "first argument", id="function-argument"),
    ],
)
def test_wrong_use(mistake: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        mistake()


def test_a_missing_from_config_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="needs a from_config"):
        class_without_from_config()
