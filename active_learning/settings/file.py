"""Reads a settings file and KEY VALUE pairs into plain values, remembering where each was written."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

WHOLE_FILE = 0
COMMAND_LINE = sys.maxsize
MOST_BYTES = 1_000_000


@dataclass(frozen=True, order=True)
class Mistake:
    """What is wrong, and in which line of the file (from 1), in the file as a whole, or on the command line."""

    line: int
    message: str

    def __str__(self) -> str:
        if self.line == COMMAND_LINE:
            return f"command line: {self.message}"
        return self.message if self.line == WHOLE_FILE else f"line {self.line}: {self.message}"


@dataclass
class RawSettings:
    """Values as YAML gave them, before types and ranges are checked."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    readable: bool = True

    @classmethod
    def unreadable(cls, message: str, line: int = WHOLE_FILE) -> RawSettings:
        return cls(mistakes=[Mistake(line, message)], readable=False)

    def report(self, key: str, message: str) -> None:
        self.mistakes.append(Mistake(self.lines.get(key, WHOLE_FILE), message))


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 in what people mean here: `1e-4` is a number.

    Texts are `2026-11-23`, `010` (not 8), `1:30` (not 90), `0x10`, and whole numbers of more than 400 digits.
    """


_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9_]{0,399})$"),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] not in ("tag:yaml.org,2002:timestamp", *_NUMBERS)]
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def read_settings_file(path: Path) -> RawSettings:
    """Whatever is wrong with the file as such stands in `mistakes`; nothing is raised."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            return RawSettings.unreadable(f"has more than {MOST_BYTES} bytes: this is no settings file")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return RawSettings.unreadable("there is no such file")
    except UnicodeDecodeError as error:
        return RawSettings.unreadable(f"not a YAML file: byte {error.start} is not UTF-8; save it as UTF-8 text")
    except OSError as error:
        return RawSettings.unreadable(f"cannot be read: {error.strerror}")
    except ValueError as error:  # a null character in the path
        return RawSettings.unreadable(f"cannot be read: {error}")
    return parse_settings(text)


def parse_settings(text: str) -> RawSettings:
    """As `read_settings_file`, from the file's text."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return RawSettings() if root is None else _read_mapping(loader, root)
    except yaml.MarkedYAMLError as error:
        return _syntax_error(error)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return RawSettings.unreadable(f"not a YAML file: a character that no text holds at column {column}", line)
    except (ValueError, OverflowError, RecursionError) as error:
        return RawSettings.unreadable(f"not a YAML file: {error}")


_REMEDIES = {
    "escape": "; in a path write / instead of \\",
    "could not find expected ':'": "; write `key: value`, with a blank behind the colon",
    "'\\t'": "; use blanks instead of tabs",
}


def _syntax_error(error: yaml.MarkedYAMLError) -> RawSettings:
    """With the remedy for what people trip over."""
    reason = error.problem or error.context or "unreadable"
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in reason), "")
    mark = error.problem_mark
    if error.context == "while scanning a simple key":  # its line, not the one behind it
        mark = error.context_mark or mark
    if mark is None:
        return RawSettings.unreadable(f"not a YAML file: {reason}{remedy}")
    return RawSettings.unreadable(f"not a YAML file: {reason} at column {mark.column + 1}{remedy}", mark.line + 1)


def _read_mapping(loader: _Loader, root: yaml.Node) -> RawSettings:
    if not isinstance(root, yaml.MappingNode):
        return RawSettings.unreadable("not a settings file: each line must be of the form `key: value`")
    loader.flatten_mapping(root)
    raw = RawSettings()
    for key_node, value_node in root.value:
        key, line = str(loader.construct_object(key_node, deep=True)), key_node.start_mark.line + 1
        if key in raw.values:
            first = raw.lines[key]
            raw.mistakes.append(Mistake(line, f"{key}: stands twice, first in line {first}; delete one of the two"))
            continue
        raw.values[key] = loader.construct_object(value_node, deep=True)
        raw.lines[key] = line
    return raw


def add_overrides(raw: RawSettings, overrides: Sequence[str], known: Sequence[str]) -> None:
    """KEY VALUE KEY VALUE..., each value read as YAML, replaces the file's value of that key."""
    seen: set[str] = set()
    for key, text in zip(overrides[::2], overrides[1::2], strict=False):
        if key in seen:
            raw.mistakes.append(Mistake(COMMAND_LINE, f"{key}: is given twice; delete one of the two"))
            continue
        seen.add(key)
        _override(raw, key, text)
    if len(overrides) % 2:
        last = overrides[-1]
        reason = "is not followed by a value" if last in known else "has no partner"
        raw.mistakes.append(Mistake(COMMAND_LINE, f"{last}: {reason}; settings are KEY VALUE pairs, such as loops 3"))


def _override(raw: RawSettings, key: str, text: str) -> None:
    """An empty argument is the empty text, not YAML's null."""
    value = parse_settings(f"value: {text}") if text.strip() else RawSettings({"value": ""})
    if value.mistakes or list(value.values) != ["value"]:
        raw.mistakes.append(Mistake(COMMAND_LINE, f"{key}: {text!r} cannot be read as a YAML value; put it in quotes"))
        return
    raw.values[key] = value.values["value"]
    raw.lines[key] = COMMAND_LINE
