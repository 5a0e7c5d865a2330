"""What a wait for annotations reports: faults, each once, and a count."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable


class Faults:
    """Faults of annotations, each reported once, when its file was the same in two searches."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._reported: dict[str, str] = {}

    def news(self, faulty: dict[str, str]) -> list[str]:
        """Those to report now; one that is mended and comes back is reported again."""
        rested = {name: fault for name, fault in faulty.items() if self._seen.get(name) == fault}
        news = [fault for name, fault in rested.items() if self._reported.get(name) != fault]
        self._reported = {name: fault for name, fault in self._reported.items() if name in faulty} | rested
        self._seen = faulty
        return news


class CountLine:
    """ "37 / 200 annotated": one line that is written over on a terminal, else a line at each change."""

    def __init__(self, total: int, log: Callable[[str], None]) -> None:
        self._total = total
        self._log = log
        self._live = sys.stdout.isatty()
        self._shown = ""

    def show(self, annotated: int) -> None:
        text = f"{annotated} / {self._total} annotated"
        if text == self._shown or not self._total:
            return
        self._shown = text
        if self._live:
            self._write(f"\r{text}")
        else:
            self._log(text)

    def report(self, faults: Iterable[str]) -> None:
        for fault in faults:
            if self._live and self._shown:
                self._write("\r" + " " * len(self._shown) + "\r")
                self._shown = ""
            self._log(fault)

    def end(self) -> None:
        if self._live and self._shown:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
