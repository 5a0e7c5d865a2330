"""Names of data sets: DatasetCatalog has how to load one, MetadataCatalog what is known about it."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from detectron2.utils.errors import InputError

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]


class _Catalog(UserDict):
    def list(self) -> list[str]:
        """All names."""
        return list(self)

    def remove(self, name: str) -> None:
        """Forget `name`; KeyError if it is not there."""
        self.pop(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}({', '.join(self)})"


class _DatasetCatalog(_Catalog):
    """Maps a data set's name to a function that returns its list of dicts."""

    def register(self, name: str, func: Callable[[], list[dict]]) -> None:
        """Register `func`, which takes nothing and returns the same list of dicts each time.

        Raises TypeError where `func` is not callable, AssertionError where the name is taken.
        """
        if not callable(func):
            raise TypeError(f"data set '{name}': register a function that returns a list of dicts, not {func!r}")
        assert name not in self, f"data set '{name}' is already registered: remove it first or choose another name"
        self[name] = func

    def get(self, name: str) -> list[dict]:  # type: ignore[override]
        """Load data set `name`; KeyError if it is not registered."""
        if name not in self:
            known = ", ".join(self) or "none"
            raise KeyError(f"data set '{name}' is not registered; registered are: {known}")
        return self[name]()


class Metadata(SimpleNamespace):
    """What is known about a data set: attributes that can be set once and then only to an equal value."""

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        # Reached only for attributes that are not there.
        known = ", ".join(sorted(vars(self))) or "nothing"
        raise AttributeError(f"metadata of data set '{self.name}' has no '{key}'; it has: {known}")

    def __setattr__(self, key: str, value: Any) -> None:
        old = vars(self).get(key, value)
        assert old is value or old == value, (
            f"metadata '{key}' of data set '{self.name}' is already {old!r} and cannot become {value!r}"
        )
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """A copy of all attributes."""
        return dict(vars(self))

    def set(self, **kwargs: Any) -> Metadata:
        """Set several attributes; returns self."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute, or `default` if it is not there."""
        return vars(self).get(key, default)


class _MetadataCatalog(_Catalog):
    """Maps a data set's name to its Metadata, which is made at the first mention."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """The one Metadata object of `name`."""
        if not name:
            raise InputError("a data set's name must not be empty")
        return self.setdefault(name, Metadata(name=name))


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
