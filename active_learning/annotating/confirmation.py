"""A person's word that the annotations are finished: the Enter key, or an empty file DONE in the annotate folder."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path

from active_learning.system.file_moves import remove_if

DONE = "DONE"
# Windows' editor adds .txt; other systems tell capitals apart
_SPELLINGS = tuple(f"{name}{suffix}" for name in (DONE, DONE.lower(), DONE.title()) for suffix in ("", ".txt"))
_OF_WRITING = ("", ".txt", ".rtf", ".md", ".doc", ".docx", ".odt")  # files that a person makes for a word or two
_NOTHING = b"\xff\xfe\xef\xbb\xbf\0 \t\r\n"  # marks of encodings, and line breaks


class Confirmation:
    """Of the annotations in a folder.

    Attributes:
        given_at: when it was given last, in seconds since 1970; 0 where it was not.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / DONE
        self.given_at = 0.0

    @property
    def file_is_there(self) -> bool:
        return any(map(_is_marker, self._files()))

    def not_counted(self) -> list[str]:
        """A line for each file that a person may mean as this word, and that is none: it is not empty, bears another
        name or lies elsewhere: in a sub-folder, or beside the original images. So may an empty folder be meant."""
        folder, counts = self.file.parent, "does not count; what counts is an empty file"
        found, folders = _first_there(folder.parent), list[str]()
        with suppress(OSError), os.scandir(folder) as entries:  # OSError: it is gone, which is reported elsewhere
            for entry in entries:  # looked at twice a second, maybe over a network: an entry knows what it is
                if entry.is_dir() and _is_meant(entry.name) and not any(Path(entry.path).iterdir()):
                    folders.append(f"{entry.path}: is a folder, and does not count; make it an empty file {self.file}")
                elif entry.is_dir():
                    found += _first_there(Path(entry.path))
                elif _is_meant(entry.name):
                    found.append(Path(entry.path))
        is_counted = {path for path in self._files() if _is_marker(path)}
        meant = (path for path in found if path not in is_counted and os.path.isfile(path))  # noqa: PTH113
        return [*folders, *(f"{path}: {counts} {self.file}" for path in meant)]

    def ask(self) -> None:
        """From here on Enter counts; what was typed before is no answer."""
        _enter_pressed()

    def is_given(self) -> bool:
        """Whether there is such a file or, at a terminal, Enter was pressed since the last call. Does not wait."""
        if self.file_is_there:
            return True
        pressed = _enter_pressed()
        if pressed:
            self.given_at = time.time()
        return pressed

    def clear(self) -> bool:
        """Removes the file; whether there was one. One with content is not ours and stays."""
        return sum(remove_if(path, self._is_seen) for path in self._files()) > 0

    def _is_seen(self, path: Path) -> bool:
        is_marker = _is_marker(path)
        if is_marker:
            with suppress(FileNotFoundError):  # taken away at this moment
                self.given_at = path.stat().st_mtime
        return is_marker

    def _files(self) -> list[Path]:
        return [self.file.with_name(name) for name in _SPELLINGS]


def _is_marker(path: Path) -> bool:
    """Empty; a shell writes a line break, and Windows' shell and editor the mark of an encoding, too."""
    with suppress(OSError):  # taken away at this moment, or the drive fails for one
        size = path.stat().st_size if path.is_file() else -1
        return size == 0 or (0 < size <= 8 and not path.read_bytes().strip(_NOTHING))
    return False


def _first_there(folder: Path) -> list[Path]:
    """One at most: where capitals do not matter, all spellings are one file."""
    return [path for name in _SPELLINGS if os.path.isfile(path := folder / name)][:1]  # noqa: PTH113


def _is_meant(name: str) -> bool:
    stem, suffix = os.path.splitext(name.strip().casefold())  # noqa: PTH122
    return stem.strip() == DONE.casefold() and suffix in _OF_WRITING


def is_at_terminal() -> bool:
    """Whether someone can press Enter for this program; not where torchrun starts it in a session of its own."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        return False
    return sys.platform == "win32" or _owns_terminal()


if sys.platform == "win32":
    import msvcrt

    def _enter_pressed() -> bool:
        """Whether Enter was pressed since the last call; does not wait."""
        pressed = False
        while is_at_terminal() and msvcrt.kbhit():
            key = msvcrt.getwch()
            if key == "\x03":
                raise KeyboardInterrupt
            pressed = pressed or key in "\r\n"
        return pressed

else:

    def _enter_pressed() -> bool:
        """Whether Enter was pressed since the last call; does not wait."""
        pressed = False
        while is_at_terminal() and select.select([sys.stdin], [], [], 0)[0]:
            typed = os.read(sys.stdin.fileno(), 4096)
            pressed = pressed or b"\n" in typed
            if not typed:  # the end of input: no more keys will come
                break
        return pressed

    def _owns_terminal() -> bool:
        """A program in the background is stopped when it reads from the terminal."""
        try:
            return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except OSError:
            return False
