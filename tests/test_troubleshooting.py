"""Each message that TROUBLESHOOTING.md explains is one of the program, and a test reaches it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VALUE = "\0"  # stands for what a message is filled with


def messages() -> Iterator[str]:
    for line in (ROOT / "TROUBLESHOOTING.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("**"):
            yield from re.findall(r"\*\*`(.+?)`\*\*", line)


def phrases(message: str, words: int) -> list[str]:
    """So many words in a row (or fewer, where a part has no more) that are the same whenever the message is logged."""
    found = []
    for part in re.split(r"\.\.\.|\(|\)|;|'", message):
        row = part.strip(" :,.?").split()
        length = min(words, len(row))
        found += [" ".join(row[start : start + length]) for start in range(len(row) - length + 1)]
    return [phrase for phrase in found if len(phrase) >= 10]


def texts(*places: str) -> str:
    """All texts of Python files, one a line, with `VALUE` where an f-string or a % template is filled."""
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
    return "\n".join(found)


def not_found(words: int, text: str) -> str:
    """The messages of which no phrase of so many words stands in the text."""
    wanted = {message: phrases(message, words) for message in sorted(set(messages()))}
    return "\n".join(f"{message}: {row}" for message, row in wanted.items() if not any(one in text for one in row))


def test_the_program_has_each_message():
    programs = ("maskAL.py", "auto_annotate.py", "export_onnx.py", "demo/make_dataset.py", "demo/onnx_predict.py")
    faults = not_found(
        4, texts("active_learning", *programs, *(f"detectron2/utils/{name}.py" for name in ("fonts", "image_file")))
    )
    assert not faults, faults


def test_a_test_reaches_each_message():
    """A phrase of it stands in a test."""
    places = ("active_learning", "demo", "e2e", "faults", "test_bad_input.py", "test_start.py", "detectron2/utils")
    faults = not_found(3, texts(*(f"tests/{place}" for place in places)).replace("\\", ""))
    assert not faults, faults


def test_there_are_messages():
    assert len(list(messages())) > 40
