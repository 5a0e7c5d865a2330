"""Certainty of each image of the pool, kept on disk as it comes so that an interrupted sampling goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from active_learning.errors import MaskALError
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.look import Look

UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, MaskALError)  # what image decoders raise; Pillow: SyntaxError
logger = logging.getLogger(__name__)


def score_pool(
    images: Sequence[str],
    look_of: Callable[[str], Look],
    *,
    iou_threshold: float,
    mode: str,
    scores_file: Path,
    progress: bool = True,
) -> dict[str, float]:
    """Certainty of each image, in the order of `images`; NaN where no pass saw anything.

    Each value is written to `scores_file` at once, a line `name, value`; images that stand there are not computed
    again. An image that cannot be read is named in the log and left out.

    Raises:
        MaskALError: `scores_file` cannot be continued, or not one image could be read.
    """
    scores = _continue(scores_file)
    left = [name for name in images if name not in scores]
    faulty: list[str] = []
    scores_file.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(left, "sampling", len(images), initial=len(images) - len(left), unit="image", disable=not progress)
    with scores_file.open("a", encoding="utf-8", newline="\n") as stream:
        for name in bar:
            look = _look_or_none(look_of, name)
            if look is None:
                faulty.append(name)
                continue
            scores[name] = certainty_of(look, iou_threshold=iou_threshold, mode=mode).value
            _append(stream, name, scores[name])
    _report(faulty, len(images))
    return {name: scores[name] for name in images if name in scores}


def read_scores(scores_file: Path) -> dict[str, float]:
    """What stands in a file of `score_pool`; a last line without its line end is half-written and left out.

    Raises:
        MaskALError: another line cannot be read.
    """
    if not scores_file.exists():
        return {}
    text = scores_file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", errors="replace").split("\n")[:-1]
    return dict(_read_line(scores_file, number, line) for number, line in enumerate(lines, start=1))


def _read_line(file: Path, number: int, line: str) -> tuple[str, float]:
    name, _, value = line.rpartition(", ")
    try:
        if not name:
            raise ValueError("no name")
        return name, float(value)
    except ValueError as error:
        raise MaskALError(
            f"{file}: line {number}: {line!r} is not `name, value`; delete the file to have the pool scored again"
        ) from error


def _continue(scores_file: Path) -> dict[str, float]:
    """The values so far; cuts the half-written line away so that the next one does not stick to it."""
    scores = read_scores(scores_file)
    if scores_file.exists():
        os.truncate(scores_file, scores_file.read_bytes().rfind(b"\n") + 1)
    return scores


def _append(stream: TextIO, name: str, value: float) -> None:
    """All digits, so that a continued run chooses as an uninterrupted one."""
    stream.write(f"{name}, {value!r}\n")
    stream.flush()


def _look_or_none(look_of: Callable[[str], Look], name: str) -> Look | None:
    try:
        return look_of(name)
    except UNREADABLE as error:
        logger.warning("%s: cannot be read (%s: %s); it is left out", name, type(error).__name__, error)
        return None


def _report(faulty: Sequence[str], total: int) -> None:
    if faulty and len(faulty) == total:
        raise MaskALError(
            f"none of the {total} pool images could be read; the first is {faulty[0]}, see the log for why"
        )
    if faulty:
        logger.warning("%d of %d pool images could not be read and were left out", len(faulty), total)
