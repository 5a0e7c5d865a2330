"""`@configurable`: build a class, or call a function, either from explicit arguments or from a configuration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fvcore.common.config import CfgNode as _CfgNode


def configurable(
    init_func: Callable[..., Any] | None = None, *, from_config: Callable[..., dict[str, Any]] | None = None
) -> Callable[..., Any]:
    """Let a call whose first argument is a config be translated into explicit arguments by `from_config`.

    On a class, decorate `__init__` and give the class a classmethod `from_config(cls, cfg, ...)`. On a function, use
    `@configurable(from_config=function_of_cfg)`. Either way `from_config` returns a dict of arguments. Arguments in the
    call that `from_config` does not take itself override what it returns.

    Raises:
        TypeError: the decorator is used in another way, or `from_config` is no classmethod or does not begin with
            `cfg`.
        AttributeError: `from_config` is missing.
    """
    if init_func is not None:
        if from_config is not None or not inspect.isfunction(init_func) or init_func.__name__ != "__init__":
            raise TypeError("use @configurable on __init__, or @configurable(from_config=...) on a function")
        return _configurable_init(init_func)
    if not callable(from_config):
        raise TypeError("@configurable(from_config=...) needs a function as from_config")
    _parameters(from_config)
    return functools.partial(_configurable_function, from_config)


def _configurable_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        translate = getattr(type(self), "from_config", None)
        if translate is None:
            raise AttributeError(f"{type(self).__name__} has a configurable __init__ and so needs a from_config")
        if not inspect.ismethod(translate):
            raise TypeError(f"{type(self).__name__}.from_config must be a classmethod")
        args, kwargs = _explicit_arguments(translate, args, kwargs)
        init(self, *args, **kwargs)

    return wrapped


def _configurable_function(from_config: Callable[..., dict[str, Any]], func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _explicit_arguments(from_config, args, kwargs)
        return func(*args, **kwargs)

    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped


def _parameters(from_config: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(from_config).parameters.values())
    if not parameters or parameters[0].name != "cfg":
        raise TypeError(f"the first argument of {getattr(from_config, '__qualname__', from_config)} must be 'cfg'")
    return parameters


def _explicit_arguments(
    from_config: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as they are, or translated where the first is a config."""
    if not isinstance(args[0] if args else kwargs.get("cfg"), _CfgNode):
        return args, kwargs
    parameters = _parameters(from_config)
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
        return (), from_config(*args, **kwargs)
    names = {parameter.name for parameter in parameters}
    own = {name: value for name, value in kwargs.items() if name in names}
    overrides = {name: value for name, value in kwargs.items() if name not in names}
    return (), {**from_config(*args, **own), **overrides}
