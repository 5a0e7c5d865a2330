"""COCO's run lengths of a mask: runs of background and object in turn, column by column, the first of background.

As text, each number is written in groups of 5 bits, the lowest first, each with a sixth bit that is set where more
follow, plus 48 as an ASCII character; from the fourth number on, the difference from the one two before stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from active_learning.annotations.annotation import Bitmap

_MOST_GROUPS = 10  # of a number; 13 would not fit into 64 bits


def runs_of(bitmap: Bitmap, height: int, width: int) -> np.ndarray:
    """The runs (n,) of an image of that size in pixels; the crop lies inside it, and its columns alone are read."""
    rows, count = bitmap.mask.shape
    columns = np.zeros((count, height), dtype=np.int8)
    columns[:, bitmap.y : bitmap.y + rows] = bitmap.mask.T
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=0, append=0)) + bitmap.x * height
    ends = changes if len(changes) and changes[-1] == height * width else np.append(changes, height * width)
    return np.asarray(np.diff(ends, prepend=0))


def bitmap_of(runs: Sequence[int] | np.ndarray, height: int, width: int) -> Bitmap:
    """The set pixels of runs (n,), in pixels; only the smallest crop that holds them is unpacked.

    Raises:
        ValueError: the runs do not fill an image of that size.
    """
    lengths = np.asarray(runs, dtype=np.int64)
    if len(lengths) and not (lengths.min() >= 0 and lengths.max() <= height * width):
        raise ValueError("a run is negative or longer than the image")
    ends = np.cumsum(lengths)
    filled = int(ends[-1]) if len(ends) else 0
    if filled != height * width:
        raise ValueError(f"its runs fill {filled} of {height * width} pixels")
    starts, stops = ends[0:-1:2], ends[1::2]
    starts, stops = starts[stops > starts], stops[stops > starts]
    columns = bitmap_of_rows(starts, stops, height)
    return Bitmap(columns.y, columns.x, columns.mask.T)


def bitmap_of_rows(starts: np.ndarray, ends: np.ndarray, width: int) -> Bitmap:
    """The pixels from starts[i] to before ends[i], counted along the rows, in the smallest crop that holds them.

    starts, ends: (n,) of runs that ascend and do not overlap, none of them empty.
    """
    if not len(starts):
        return Bitmap(0, 0, np.zeros((0, 0), dtype=bool))
    (first_rows, first), (last_rows, last) = np.divmod(starts, width), np.divmod(ends - 1, width)
    top, bottom = int(first_rows[0]), int(last_rows[-1]) + 1
    # A run of several rows holds pixels of both borders.
    left, right = (0, width) if (first_rows < last_rows).any() else (int(first.min()), int(last.max()) + 1)
    columns = right - left
    steps = np.zeros((bottom - top) * columns + 1, dtype=np.int8)
    steps[(first_rows - top) * columns + first - left] += 1
    steps[(last_rows - top) * columns + last - left + 1] -= 1
    return Bitmap(left, top, np.cumsum(steps[:-1], dtype=np.int8).reshape(-1, columns) == 1)


def encode_runs(runs: np.ndarray) -> str:
    """The runs (n,) as COCO's text."""
    left = runs.astype(np.int64)
    left[3:] = runs[3:] - runs[1:-2]
    groups: list[np.ndarray] = []
    alive = np.ones(len(left), dtype=bool)
    while alive.any():
        group, left = left & 31, left >> 5
        more = np.where(group & 16, left != -1, left != 0)
        groups.append(np.where(alive, 48 + group + 32 * more, 0))
        alive &= more
    characters = np.stack(groups, axis=1).ravel() if groups else np.zeros(0, np.int64)
    return characters[characters > 0].astype(np.uint8).tobytes().decode("ascii")


def decode_runs(text: str) -> np.ndarray:
    """The runs (n,), int64, of COCO's text.

    Raises:
        ValueError: it is none.
    """
    if text.startswith(("b'", 'b"')):
        raise ValueError("counts are Python's bytes as a text, b'...'; write counts.decode('ascii') into the file")
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8).astype(np.int64) - 48
    if not text or not text.isascii() or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("no text of run lengths")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_GROUPS:
        raise ValueError("a run length is absurdly large")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, lengths))
    numbers = np.add.reduceat((codes & 31) << shifts, first)
    numbers -= np.where(codes[last] & 16, np.int64(1) << (5 * lengths), 0)
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return np.asarray(numbers)
