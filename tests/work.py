"""How much work a function does, counted: the same on every machine and under every load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls_of(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> int:
    """The number of calls of Python's and C's functions that a call makes in this thread.

    Of four times the input, work in proportion makes four times the calls, comparing each with each sixteen times.
    """
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*arguments, **keywords)
    finally:
        sys.setprofile(before)
    return count
