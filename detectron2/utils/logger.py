"""Logging: one set-up for terminal and file, messages that repeat at most so often, small tables."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from tabulate import tabulate
from termcolor import colored


class _ShortNameFormatter(logging.Formatter):
    """Prints `abbrev` in place of the logger's root name; warnings and errors are marked, in colour on a terminal."""

    def __init__(self, name: str, abbrev: str, color: bool) -> None:
        prefix = "[%(asctime)s %(name)s]: "
        super().__init__((colored(prefix, "green") if color else prefix) + "%(message)s", "%m/%d %H:%M:%S")
        self._name, self._abbrev, self._color = name, abbrev, color

    def format(self, record: logging.LogRecord) -> str:
        shown = logging.makeLogRecord(vars(record))
        if f"{shown.name}.".startswith(f"{self._name}."):
            shown.name = (self._abbrev + shown.name[len(self._name) :]).lstrip(".")
        text = super().format(shown)
        if record.levelno < logging.WARNING:
            return text
        level = record.levelname
        return f"{colored(level, 'red', attrs=['bold']) if self._color else level} {text}"


@functools.cache
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Make logger `name` write to the terminal (rank 0) and to a file. The same call again changes nothing.

    Args:
        output: a file (ending in .txt or .log) or a folder, in which it becomes log.txt. Ranks above 0 write to a file
            of their own, `<file>.rank<N>`. None: no file.
        distributed_rank: this process's rank.
        color: use colours on the terminal.
        abbrev_name: what is printed in place of `name`; "d2" for detectron2.
        enable_propagation: also pass messages to the root logger.
        configure_stdout: write to the terminal at all.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    abbrev = abbrev_name if abbrev_name is not None else ("d2" if name == "detectron2" else name)
    if configure_stdout and distributed_rank == 0:
        _add_once(logger, "stdout", lambda: logging.StreamHandler(sys.stdout), _ShortNameFormatter(name, abbrev, color))
    if output is not None:
        file = _log_file(Path(output), distributed_rank)
        file.parent.mkdir(parents=True, exist_ok=True)
        formatter = _ShortNameFormatter(name, abbrev, color=False)
        _add_once(logger, str(file), lambda: logging.FileHandler(file, encoding="utf-8"), formatter)
    return logger


def _add_once(
    logger: logging.Logger, key: str, make: Callable[[], logging.Handler], formatter: logging.Formatter
) -> None:
    key = f"{logger.name}:{key}"
    if all(handler.get_name() != key for handler in logger.handlers):
        handler = make()
        handler.set_name(key)
        handler.setFormatter(formatter)
        logger.addHandler(handler)


def _log_file(output: Path, rank: int) -> Path:
    file = output if output.suffix in (".txt", ".log") else output / "log.txt"
    return file if rank == 0 else file.with_name(f"{file.name}.rank{rank}")


def _caller() -> tuple[str, tuple[str, int]]:
    """Logger name and (file, line) of the nearest caller outside this module."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    assert frame is not None
    return frame.f_globals.get("__name__", "detectron2"), (frame.f_code.co_filename, frame.f_lineno)


_counts: Counter[tuple[object, ...]] = Counter()
_last_times: dict[tuple[object, ...], float] = {}


def log_first_n(
    lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: str | tuple[str, ...] = "caller"
) -> None:
    """Log only the first `n` times that `key` is the same: "caller" (the line of code), "message", or both."""
    keys = {key} if isinstance(key, str) else set(key)
    if not keys <= {"caller", "message"}:
        raise ValueError(f"key must be 'caller', 'message' or both, not {key!r}")
    module, place = _caller()
    counted = (place if "caller" in keys else None, msg if "message" in keys else None)
    _counts[counted] += 1
    if _counts[counted] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first of each `n` calls from the same line of code."""
    module, place = _caller()
    _counts["every", place] += 1
    if (_counts["every", place] - 1) % n == 0:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log from the same line of code at most once in `n` seconds."""
    module, place = _caller()
    now = time.monotonic()
    if now - _last_times.get(place, -float("inf")) >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _last_times[place] = now


def create_class_table(by_class: Iterable[tuple[str, float]], what: str, **style: Any) -> str:
    """A table of (class, number) pairs, three a row; `what` heads the numbers, `style` is tabulate's."""
    cells = [cell for pair in by_class for cell in pair]
    columns = min(6, len(cells))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return tabulate(rows, (["category", what] * 3)[:columns], tablefmt="pipe", numalign="left", **style)


def create_small_table(small_dict: Mapping[str, object]) -> str:
    """A table of one row: the keys above their values. For a few numbers only."""
    row = [list(small_dict.values())]
    return tabulate(row, list(small_dict), tablefmt="pipe", floatfmt=".3f", stralign="center", numalign="center")
