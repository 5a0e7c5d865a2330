"""SIGTERM and Ctrl-C: the first ends a run where it is, the second at once.

Every file that a run goes on from is written as a whole or not at all, so it may end anywhere.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
GO_ON = "Nothing is lost: the same command, without --fresh, goes on from here."
SECONDS_TO_END = 8.0
SECONDS_OF_ONE_INTERRUPTION = 1.0  # Ctrl-C reaches every process of a run, and the parent's SIGTERM follows at once
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(go_on: str = GO_ON) -> Iterator[None]:
    """Inside it both signals raise KeyboardInterrupt; what has not ended some seconds later is ended.

    `go_on` is what the user then reads.

    A failure that follows, as when worker processes get the signal too, counts as the interruption.
    """
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to the main thread alone
        yield
        return
    handler = _Handler(go_on)
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    except Exception as error:
        if handler.was_asked:
            raise KeyboardInterrupt from error
        raise
    finally:
        handler.has_ended.set()
        for number, earlier in before.items():
            signal.signal(number, earlier)


class _Handler:
    def __init__(self, go_on: str) -> None:
        self.go_on = go_on
        self.was_asked = False
        self._first = 0  # signal
        self._asked_at = 0.0
        self.has_ended = threading.Event()
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker process that was forked; it ends by itself
            raise KeyboardInterrupt
        if self.was_asked:
            if number != self._first and time.monotonic() - self._asked_at < SECONDS_OF_ONE_INTERRUPTION:
                return
            self._end_at_once()
        self.was_asked, self._first, self._asked_at = True, number, time.monotonic()
        threading.Thread(target=self._end_later, daemon=True).start()
        raise KeyboardInterrupt

    def _end_later(self) -> None:
        """The exception is lost where it meets the end of an object, and waits where a library computes."""
        if not self.has_ended.wait(SECONDS_TO_END):
            self._end_at_once()

    def _end_at_once(self) -> NoReturn:
        text = f"\nInterrupted at once. {self.go_on}\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
        os._exit(INTERRUPTED)
