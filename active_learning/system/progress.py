"""Progress bars with the time left, all of one kind: they move on a terminal, and are a line now and then in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS_ON_A_TERMINAL, SECONDS_IN_A_FILE = 0.5, 30.0
SOON_DONE = 2.0


def progress(
    items: Iterable[Any] | None = None,
    *,
    what: str,
    unit: str,
    total: int | None = None,
    start: int = 0,
    shown: bool = True,
) -> tqdm[Any]:
    """A bar over `items`, or one that is moved on with `update`. A step that is done within two seconds shows none.

    Args:
        start: how much of `total` an earlier run has done.
        shown: False in a process whose progress another one shows.
    """
    return tqdm(
        items,
        desc=what,
        unit=unit,
        total=total,
        initial=start,
        disable=not shown,
        delay=SOON_DONE,
        leave=None,  # a bar inside another one goes when it is full
        dynamic_ncols=True,
        mininterval=SECONDS_ON_A_TERMINAL if sys.stderr.isatty() else SECONDS_IN_A_FILE,
    )
