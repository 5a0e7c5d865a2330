"""Each message that TROUBLESHOOTING.md explains is one of the program, and a test reaches it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VALUE = "\0"  # stands for what a message is filled with


def messages() -> Iterator[str]:
    for line in (ROOT / "TROUBLESHOOTING.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("**"):
            yield from re.findall(r"\*\*`(.+?)`\*\*", line)


def phrases(message: str, words: int) -> list[str]:
    """So many words in a row (or fewer, where a part has no more) that are the same whenever the message is told."""
    found = []
    for part in re.split(r"\.\.\.|\(|\)|;|'", message):
        row = part.strip(" :,.?").split()
        length = min(words, len(row))
        found += [" ".join(row[start : start + length]) for start in range(len(row) - length + 1)]
    return [phrase for phrase in found if len(phrase) >= 10]


@cache
def texts(*places: str) -> tuple[str, ...]:
    """All texts of Python files, with `VALUE` where an f-string or a % template is filled."""
    files = [
        file for place in places for file in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ]
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sdg]|%\.\d?f|\{[^}]*\}", VALUE, node.value))
    return tuple(found)


@pytest.mark.parametrize("message", sorted(set(messages())))
def test_the_program_says_it(message: str):
    told = texts("active_learning", "maskAL.py", "auto_annotate.py")
    assert any(phrase in text for phrase in phrases(message, 4) for text in told), phrases(message, 4)


@pytest.mark.parametrize("message", sorted(set(messages())))
def test_a_test_reaches_it(message: str):
    """A phrase of it stands in a test."""
    places = ("tests/active_learning", "tests/e2e", "tests/faults", "tests/test_bad_input.py")
    told = "\n".join(texts(*places)).replace("\\", "")
    assert any(phrase in told for phrase in phrases(message, 3)), phrases(message, 3)


def test_there_are_messages():
    assert len(list(messages())) > 40
