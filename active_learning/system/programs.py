"""Commands as a user types them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence


def command_words(command: str) -> list[str]:
    """The program, as a full path, and its arguments.

    Raises:
        ValueError: a quote is not closed, or there is no such program; the message names it.
    """
    windows = os.name == "nt"  # there \ stands in paths, and quotes would stay in the words
    try:
        parts = shlex.split(command, posix=not windows)
    except ValueError as error:
        raise ValueError(f"{command!r} is no command ({error}); close each quotation mark") from error
    words = [_unquoted(word) if windows else word for word in parts]
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise ValueError(f"there is no program {words[0] if words else ''!r}; install it, or give its path")
    return [program, *words[1:]]


def as_typed(words: Sequence[str]) -> str:
    """A command, with quotes where the system's shell needs them."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word
