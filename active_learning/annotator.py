"""The annotation tool of the setting `annotator`, started on the annotate folder.

LabelMe gets the class names, and options for saving by itself, without the image in the file, and for refusing other
labels, as far as the installed version has them: 5 and 6 name them differently. Another tool gets the folder alone,
and the class names in the environment variable MASKAL_CLASSES, one a line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

SECONDS_FOR_HELP = 30  # LabelMe loads its windows toolkit before it answers
SECONDS_TO_END = 10
LINES_SHOWN = 5


def command_words(command: str) -> list[str]:
    """The program, as a full path, and its arguments.

    Raises:
        ValueError: a quote is not closed, or there is no such program; says so in words.
    """
    windows = os.name == "nt"  # there \ stands in paths, and quotes stay in the words
    words = [_unquoted(word) if windows else word for word in shlex.split(command, posix=not windows)]
    if not words:
        raise ValueError("holds no command")
    program = shutil.which(words[0])
    if program is None:
        raise ValueError(f"there is no program {words[0]!r}; install it, or give its path")
    return [program, *words[1:]]


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


class AnnotatorTool:
    """A running tool. `saves_itself` tells whether ending it loses nothing."""

    def __init__(self, words: Sequence[str], folder: Path, classes: Sequence[str], say: Callable[[str], None]) -> None:
        """Starts it; `say` gets what a person must know. A tool that cannot be started is said and counts as closed."""
        self._say = say
        self._output: IO[bytes] = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False
        options = labelme_options(words, classes) if _is_labelme(words) else []
        self.saves_itself = bool(options) and _saves_itself(options)
        self.command = [*words, *(options or []), str(folder)]
        environment = {**os.environ, "MASKAL_CLASSES": "\n".join(classes)}
        try:
            self._process = subprocess.Popen(  # Ctrl-C in our terminal is not meant for the tool: hence its own session
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                **_own_session(),
            )
        except OSError as error:
            self._told = True
            say(f"{words[0]} cannot be started: {error.strerror or error}. Start it yourself: {self.shown_command}")
