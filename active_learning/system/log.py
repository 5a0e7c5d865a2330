"""The log: plain lines on the terminal, the same with the time in a file.

The engine's details (the network layer by layer, losses, inference times) have a file of their own beside it; its
warnings go everywhere.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from termcolor import colored
from tqdm import tqdm

ENGINE_LOG = "engine.log"
ENGINE_LOGGERS = ("detectron2", "fvcore", "iopath")

logger = logging.getLogger("active_learning")


def start_log(path: Path) -> None:
    """Sends the log to the terminal and to the end of `path`, the engine's to ENGINE_LOG beside it.

    Calling it again changes the files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, engine, terminal = _file(path), _file(path.with_name(ENGINE_LOG)), _AboveProgressBars()
    _use_handlers(logger, file, terminal)
    for name in ENGINE_LOGGERS:
        _use_handlers(logging.getLogger(name), engine, _WarningsFor(file), _WarningsFor(terminal))


def escape_unencodable() -> None:
    """Has the terminal escape what it cannot show, such as a file name that is no text, where Python would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_result(text: str) -> None:
    """On standard output; a reader such as `head` may close that before the end, which is no failure."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush would fail
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from error


def print_note(text: str) -> None:
    """On standard error, beside the work: what it does not take, for want of a reader or of space, is left out."""
    with suppress(OSError):
        (tqdm.write if sys.stderr.isatty() else print)(text, file=sys.stderr)  # a file has no bar to keep whole


def mute_log() -> None:
    """For a process whose log would repeat that of another one."""
    for name in ("active_learning", *ENGINE_LOGGERS):
        _use_handlers(logging.getLogger(name), logging.NullHandler())


def log_to_file(text: str) -> None:
    """Into the log file alone: how a run ended is reported on standard error."""
    record = logging.LogRecord(logger.name, logging.WARNING, __file__, 0, text, None, None)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def log_traceback(error: BaseException) -> None:
    """Into the log file alone: users read the message, who mends the program reads where it came from."""
    log_to_file("".join(traceback.format_exception(error)))


class _Quiet(logging.Handler):
    """What cannot be written, as on a full disk, is left out: logging would print a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _AboveProgressBars(_Quiet):
    """Lines on standard output that do not tear a running progress bar. On a terminal warnings stand out."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            tqdm.write(colored(line, "yellow") if record.levelno >= logging.WARNING else line, file=sys.stdout)
        except OSError:  # it may be a file, or a pipe that nobody reads any more
            self.handleError(record)


class _QuietFile(_Quiet, logging.FileHandler):
    """A log file."""


class _WarningsFor(logging.Handler):
    """Hands on what a user should know. Not evaluation's lines: we log the AP ourselves."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(logging.WARNING)
        self._target = target
        self.addFilter(lambda record: not record.name.startswith("detectron2.evaluation"))

    def emit(self, record: logging.LogRecord) -> None:
        self._target.handle(record)


class _WithoutColours(logging.Formatter):
    """Lines with the time. Colours that the engine puts into its tables are for terminals."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", super().format(record))


def _file(path: Path) -> logging.FileHandler:
    handler = _QuietFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_WithoutColours())
    return handler


def _use_handlers(target: logging.Logger, *handlers: logging.Handler) -> None:
    for old in list(target.handlers):
        target.removeHandler(old)
        with suppress(OSError):  # lines that a full disk did not take
            old.close()
    target.setLevel(logging.INFO)
    target.propagate = False
    for handler in handlers:
        target.addHandler(handler)
