"""Names of classes and functions: registries that extensions add to, and lookup by dotted path."""

from __future__ import annotations

import pydoc
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """The object at a dotted path such as "detectron2.structures.Boxes"; ModuleNotFoundError where there is none."""
    found = pydoc.locate(name)
    if found is None:
        raise ModuleNotFoundError(f"there is no object '{name}': check the path and that its package is installed")
    return found
