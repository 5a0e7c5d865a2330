"""What the tests need of a Markdown file: its fenced blocks, code in lines, links, anchors and table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
LINKS = (re.compile(r"\]\(([^)\s]+)"), re.compile(r"(?:src|srcset|href)=\"([^\"\s]+)"))


@dataclass(frozen=True)
class Piece:
    """A part of a file; `language` is that of a fenced block. `str()` is its place."""

    file: Path
    line: int
    text: str
    language: str = ""

    def __str__(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}:{self.line}"


def blocks(file: Path) -> list[Piece]:
    """The fenced blocks, those inside lists taken out of their indentation."""
    text = file.read_text(encoding="utf-8")
    return [
        Piece(file, text.count("\n", 0, found.start()) + 1, _dedent(found[3], len(found[1])), found[2])
        for found in FENCE.finditer(text)
    ]


def _dedent(text: str, width: int) -> str:
    return "".join(line[min(width, len(line) - len(line.lstrip(" "))) :] for line in text.splitlines(keepends=True))


def prose(file: Path) -> str:
    """The text with its fenced blocks blanked, so that line numbers stay."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), file.read_text(encoding="utf-8"))


def code_in_lines(file: Path) -> list[Piece]:
    """What stands between single backticks."""
    return list(_pieces(file, re.compile(r"`([^`\n]+)`")))


def links(file: Path) -> list[Piece]:
    """Targets of links and pictures."""
    return [piece for pattern in LINKS for piece in _pieces(file, pattern)]


def _pieces(file: Path, pattern: re.Pattern[str]) -> Iterator[Piece]:
    for number, line in enumerate(prose(file).splitlines(), start=1):
        yield from (Piece(file, number, found[1]) for found in pattern.finditer(line))


def anchors(file: Path) -> set[str]:
    """What a link to a heading may say after `#`."""
    headings = re.findall(r"^#+ (.*)$", prose(file), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(file: Path, first: str) -> list[list[str]]:
    """The cells of every row, without head and rule, of the tables whose first column has this head."""
    found: list[list[str]] = []
    inside = False
    for line in prose(file).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set(line) <= set("|- "):
            found.append(cells)
    return found
