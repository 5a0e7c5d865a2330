"""One log: plain lines on the terminal, the same with the time in a file, the engine's details in the file alone."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from termcolor import colored
from tqdm import tqdm

ENGINE_LOGGERS = ("detectron2", "fvcore", "iopath")

logger = logging.getLogger("active_learning")


def start_log(path: Path) -> None:
    """Sends the log to the terminal and to the end of `path`; calling it again changes the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    terminal = _AboveProgressBars()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    _use_handlers(logger, file, terminal)
    engine_terminal = logging.StreamHandler(sys.stderr)
    engine_terminal.setLevel(logging.WARNING)
    engine_terminal.addFilter(lambda record: not record.name.startswith("detectron2.evaluation"))  # AP is said by us
    for name in ENGINE_LOGGERS:
        _use_handlers(logging.getLogger(name), file, engine_terminal)


def mute_log() -> None:
    """For a process whose log would repeat what another one says."""
    for name in ("active_learning", *ENGINE_LOGGERS):
        _use_handlers(logging.getLogger(name), logging.NullHandler())


class _AboveProgressBars(logging.Handler):
    """Lines on standard output that do not tear a running progress bar. On a terminal warnings stand out."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        tqdm.write(colored(line, "yellow") if record.levelno >= logging.WARNING else line, file=sys.stdout)


def _use_handlers(target: logging.Logger, *handlers: logging.Handler) -> None:
    for old in list(target.handlers):
        target.removeHandler(old)
        old.close()
    target.setLevel(logging.INFO)
    target.propagate = False
    for handler in handlers:
        target.addHandler(handler)
