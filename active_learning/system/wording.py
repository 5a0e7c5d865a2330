"""How counts, lists and near words are put in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def counted(number: int, what: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def and_more(names: Sequence[object], shown: int = 1, what: str = "") -> str:
    """ "a", "a and 4 more", "a and 4 more images": the first ones by name, the others counted."""
    more = f" and {len(names) - shown} more {what}".rstrip() if len(names) > shown else ""
    return ", ".join(map(str, names[:shown])) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known word is near."""
    folded = {name.casefold(): name for name in known}
    nearest = difflib.get_close_matches(word.strip().casefold(), folded, n=1)
    return f" (did you mean {folded[nearest[0]]!r}?)" if nearest else ""
