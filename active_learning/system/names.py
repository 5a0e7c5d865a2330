"""Names that are one text in two forms: composed and decomposed accents, capitals, blanks."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable


def normalised(name: str) -> str:
    """NFC, in which names compare: macOS and Linux store accents differently."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What names have in common that a file system without regard to case, or macOS, takes for one."""
    if name.isascii():
        return name.lower()
    return normalised(normalised(name).casefold())


def folded_label(name: str) -> str:
    """As `folded`, also without regard to blanks around it, and to how many or of which kind are within."""
    return " ".join(folded(name).split())


def names_alike(names: Iterable[str], fold: Callable[[str], str] = folded) -> list[list[str]]:
    """The groups of two or more names that differ, but not once they are folded."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[fold(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def shown(name: str) -> str:
    """A name for messages: as it is where all of it can be seen, else in quotes, escaped."""
    return name if name.isprintable() and name == name.strip() else ascii(name)
