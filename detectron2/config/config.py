"""CfgNode: a typed tree of settings, read from YAML files that may build on each other with `_BASE_`."""

from __future__ import annotations

import ast
import difflib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import yaml
from fvcore.common.config import BASE_KEY
from fvcore.common.config import CfgNode as _CfgNode

from detectron2.utils.errors import InputError
from detectron2.utils.file_io import PathManager

CURRENT_VERSION = 2
CPU_KERNELS_DEFAULT = "auto"


class CfgNode(_CfgNode):
    """fvcore's node; files are read through PathManager as UTF-8, errors name the file and the nearest known key."""

    @classmethod
    def _open_cfg(cls, filename: str | os.PathLike[str]) -> IO[str]:
        return PathManager.open(PathManager.get_local_path(os.fspath(filename)), "r", encoding="utf-8")

    def merge_from_file(self, cfg_filename: str | os.PathLike[str], allow_unsafe: bool = False) -> None:
        """Override this tree by a YAML file and the files its `_BASE_` names (relative to it), those first.

        Args:
            cfg_filename: path or address of the file.
            allow_unsafe: also run Python tags in the file. Only for files you wrote yourself.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is not a YAML mapping, is of VERSION 1, or a value has the wrong type; `_BASE_` is no
                path, or leads back to the file.
            KeyError: a key is not in this tree.
        """
        for file, settings in self._files_from_base(os.fspath(cfg_filename), allow_unsafe, ()):
            _check_version(file, settings)
            _spell_switch(file, settings)
            try:
                self.merge_from_other_cfg(type(self)(settings))
            except (KeyError, ValueError) as error:
                raise type(error)(f"{file}: {error.args[0]}") from error
            except (AssertionError, AttributeError, TypeError) as error:
                raise ValueError(f"{file}: {error}") from error

    @classmethod
    def _files_from_base(
        cls, file: str, allow_unsafe: bool, above: tuple[str, ...]
    ) -> list[tuple[str, dict[str, Any]]]:
        """The files to merge in turn, each with its own settings; `above` are those that this one is the base of."""
        if file in above:
            raise ValueError(f"{file}: {BASE_KEY} leads back to the file: {' -> '.join([*above, file])}")
        settings = cls._load_file(file, allow_unsafe, f", the {BASE_KEY} of '{above[-1]}'" if above else "")
        bases = settings.pop(BASE_KEY, [])
        bases = bases if isinstance(bases, list) else [bases]
        if not all(isinstance(base, str) and base for base in bases):
            raise ValueError(f"{file}: {BASE_KEY} is {bases!r}; it can be the path of a file, or a list of paths")
        places = [_place_of_base(base, file) for base in bases]
        below = [part for base in places for part in cls._files_from_base(base, allow_unsafe, (*above, file))]
        return [*below, (file, settings)]

    @classmethod
    def _load_file(cls, file: str, allow_unsafe: bool, role: str) -> dict[str, Any]:
        if not PathManager.isfile(PathManager.get_local_path(file)):
            raise FileNotFoundError(f"there is no config file '{file}'{role}")
        try:
            with cls._open_cfg(file) as stream:
                loaded = yaml.unsafe_load(stream) if allow_unsafe else yaml.safe_load(stream)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{file}: not a YAML file of settings: {error}") from error
        if not isinstance(loaded, dict):
            what = "nothing" if loaded is None else type(loaded).__name__
            raise ValueError(f"{file}: the top level must be a mapping of settings, not {what}")
        return loaded

    def merge_from_other_cfg(self, cfg_other: _CfgNode) -> None:
        """Override this tree by another; a key that is not in this tree raises KeyError."""
        try:
            super().merge_from_other_cfg(cfg_other)
        except KeyError as error:
            raise KeyError(self._with_nearest_key(str(error.args[0]))) from error

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Override by [key, value, key, value, ...]; keys are dotted, text values are read as Python literals.

        Raises:
            KeyError: a key is not in this tree.
            ValueError: a value has the wrong type, or the last key has none.
        """
        if len(cfg_list) % 2:
            raise InputError(f"settings come as KEY VALUE pairs, the last key has no value: {list(cfg_list)}")
        known = set(self._dotted_keys())
        for key in cfg_list[::2]:
            if not (key in known or self.key_is_deprecated(key) or self.key_is_renamed(key)):
                raise KeyError(self._with_nearest_key(f"Non-existent config key: {key}"))
        super().merge_from_list(cfg_list)

    def dump(self, **kwargs: Any) -> str:
        """The tree as YAML, which upstream reads, too: MODEL.CPU_KERNELS, which it does not know, only where it is off.

        `kwargs` are those of yaml.safe_dump.
        """
        model = self.get("MODEL")
        if not isinstance(model, CfgNode) or model.get("CPU_KERNELS") != CPU_KERNELS_DEFAULT:
            return str(super().dump(**kwargs))
        shared = self.clone()
        shared.MODEL.pop("CPU_KERNELS")
        return shared.dump(**kwargs)

    def _dotted_keys(self, prefix: str = "") -> Iterator[str]:
        for name, value in self.items():
            yield prefix + name
            if isinstance(value, CfgNode):
                yield from value._dotted_keys(f"{prefix}{name}.")

    def _with_nearest_key(self, message: str) -> str:
        nearest = difflib.get_close_matches(message.rsplit(" ", 1)[-1], self._dotted_keys(), n=1)
        return f"{message} (did you mean {nearest[0]}?)" if nearest else message


def _place_of_base(base: str, file: str) -> str:
    """Relative to the file that names it."""
    if "://" in base:
        return base
    if "://" in file:
        return f"{file.rpartition('/')[0]}/{base}"
    return os.path.normpath(Path(file).parent / Path(base).expanduser())


def _check_version(file: str, settings: dict[str, Any]) -> None:
    """A file without VERSION is current unless it has the weights key that only version 1 knew."""
    model = settings.get("MODEL")
    first = isinstance(model, dict) and "WEIGHT" in model
    version = settings.get("VERSION", 1 if first else CURRENT_VERSION)
    if version != CURRENT_VERSION:
        raise ValueError(
            f"{file}: VERSION {version} files cannot be read, only VERSION {CURRENT_VERSION}; "
            "rename its keys after detectron2/config/defaults.yaml and set VERSION: 2"
        )


def _spell_switch(file: str, settings: dict[str, Any]) -> None:
    """YAML 1.1 takes a bare off for False."""
    model = settings.get("MODEL")
    if not (isinstance(model, dict) and "CPU_KERNELS" in model):
        return
    choice = model["CPU_KERNELS"] or "off"
    if choice not in (CPU_KERNELS_DEFAULT, "off"):
        raise ValueError(f"{file}: MODEL.CPU_KERNELS is {choice!r}; it can be auto or off")
    model["CPU_KERNELS"] = choice


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return ast.literal_eval(value) if isinstance(value, str) and value.startswith("(") else value


@functools.cache
def _defaults() -> dict[str, Any]:
    return _with_tuples(yaml.safe_load(Path(__file__).with_name("defaults.yaml").read_text(encoding="utf-8")))


def get_cfg() -> CfgNode:
    """A fresh copy of the default configuration, which defaults.yaml lists."""
    return CfgNode(_defaults())


global_cfg = CfgNode()


def set_global_cfg(cfg: CfgNode) -> None:
    """Make `cfg` the content of `global_cfg`, for code that cannot be handed a configuration."""
    global_cfg.clear()
    global_cfg.update(cfg)
