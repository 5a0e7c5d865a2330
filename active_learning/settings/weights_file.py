"""Whether a file can be weights, as far as its names show. Nothing is run or unpickled, and PyTorch not imported.

Whether they fit the network is found when they are loaded (network/network_check.py).
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from active_learning.system.wording import and_more

ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80"
AGAIN = "; fetch or copy it again"
SAVE = "; save model.state_dict()"
_OLD_PYTORCH = 0x1950A86A20F9469CFC6C  # the first value of a .pth file before PyTorch 1.6
_PICKLES_OF_OLD_PYTORCH = 5
_ARRAYS = frozenset(["_reconstruct", "_frombuffer", "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"])
_CONTAINERS = frozenset(["set", "frozenset", "bytes", "bytearray", "complex", "OrderedDict", "encode"])
_HOMES_OF_CONTAINERS = frozenset(["builtins", "__builtin__", "collections", "_codecs"])
_NUMPY = re.compile(r"numpy(\._?core\.(multiarray|numeric))?")
_PYTORCH = re.compile(r"torch(\._utils|\._tensor|\.storage|\.serialization|\.nn\.parameter)?")
# The names that a backbone's weights have here, in Detectron2's files of backbones, the first Detectron's and
# torchvision's.
_BACKBONE = re.compile(r"(module\.)?(backbone\.|bottom_up\.|stem\.|res[2-5][._]|layer[1-4]\.|conv1[._])")
_STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_DAMAGED = (ValueError, IndexError, KeyError, OverflowError, MemoryError, pickle.UnpicklingError)


@dataclass
class _Names:
    """What the operations of a pickle name: texts, numbers, and what it would call, as (module, name)."""

    texts: set[str] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    called: set[tuple[str, str]] = field(default_factory=set)


def weights_fault(file: Path) -> str:
    """Why a .pth or .pkl file holds no weights that can be used; empty for nothing."""
    if file.is_dir():
        return "is a folder, not a file; move it elsewhere"
    if file.exists() and not file.is_file():
        return "is no file, but a pipe or a device"
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
            stream.seek(0)
            return _fault(file, stream, start)
    except OSError as error:
        return f"cannot be read: {error.strerror}{_weights_beside(file)}"


def _weights_beside(file: Path) -> str:
    """What may be meant by a name that is none."""
    names = [] if file.exists() else sorted(other.name for other in file.parent.glob("*.pth"))
    return f"; its folder holds {and_more(names)}" if names else ""


def _fault(file: Path, stream: IO[bytes], start: bytes) -> str:
    if not start:
        return "is an empty file" + AGAIN
    if start == ZIP_START:
        return _fault_of_zip(stream) if file.suffix == ".pth" else "is a zip file; give it the ending .pth"
    if file.suffix == ".pth":
        return _fault_of_old_pytorch(stream) if start.startswith(PICKLE_START) else _no_weights()
    return _fault_of_pickle(stream, _NUMPY)


def _no_weights() -> str:
    return "does not hold PyTorch weights" + AGAIN


def _fault_of_zip(stream: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(stream) as package:
            names = package.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return "is a TorchScript program, not weights" + SAVE
            inside = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            return _fault_of_pickle(BytesIO(package.read(inside[0])), _PYTORCH) if inside else _no_weights()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return "is cut short" + AGAIN


def _fault_of_old_pytorch(stream: IO[bytes]) -> str:
    """A number, a version, a description of the machine, the weights and their places, each a pickle; then the data."""
    try:
        parts = [_names(stream) for _ in range(_PICKLES_OF_OLD_PYTORCH)]
    except _DAMAGED:
        return "is damaged or cut short" + AGAIN
    if _OLD_PYTORCH not in parts[0].numbers:
        return _no_weights()
    if not stream.read(1):
        return "is cut short" + AGAIN
    return _fault_of_names(parts[3], _PYTORCH)


def _fault_of_pickle(stream: IO[bytes], home: re.Pattern[str]) -> str:
    try:
        return _fault_of_names(_names(stream), home)
    except _DAMAGED:
        return "is damaged or cut short" + AGAIN


def _fault_of_names(names: _Names, home: re.Pattern[str]) -> str:
    for module, name in sorted(names.called):
        container = module in _HOMES_OF_CONTAINERS and name in _CONTAINERS
        if not (container or home.fullmatch(module) or _NUMPY.fullmatch(module)):
            return f"asks for {module}.{name}; a file that can run code is not read{SAVE}"
    if not any(name in _ARRAYS for _, name in names.called):
        return "holds no weights; give a file of trained weights"
    if not any(map(_BACKBONE.match, names.texts)):
        return "holds no weights of a backbone; give those of a Mask R-CNN or of its backbone"
    return ""


def _names(stream: IO[bytes]) -> _Names:
    """Of the next pickle. Operations are looked at, never carried out."""
    found, memo, row = _Names(), dict[int, str](), ["", ""]
    argument: Any
    for code, argument, _ in pickletools.genops(stream):
        operation = code.name
        if operation in _STRINGS:
            found.texts.add(argument)
            row = [row[1], argument]
        elif operation in ("LONG1", "INT", "BININT", "BININT1", "BININT2"):
            found.numbers.append(argument)
        elif operation in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if argument is None else argument] = row[1]
        elif operation in ("BINGET", "LONG_BINGET", "GET"):
            row = [row[1], memo[argument]]
        elif operation == "STACK_GLOBAL":
            found.called.add((row[0], row[1]))
        elif operation in ("GLOBAL", "INST"):
            module, _, name = argument.partition(" ")
            found.called.add((module, name))
    return found
