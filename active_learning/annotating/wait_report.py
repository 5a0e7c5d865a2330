"""What a wait for annotations reports: faults, each once, a count, and folders that are gone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from active_learning.dataset.absence import IS_IT_CONNECTED, is_there
from active_learning.errors import MaskALError


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


class AbsenceReport:
    """Reports once that a folder of images is gone, and that it is there again."""

    def __init__(self, folder: Path, absence: Callable[[], str], report: Callable[[str], None]) -> None:
        """`absence` gives which folder is not there, in words, and "" for none."""
        self._folder = folder
        self._absence = absence
        self._report = report
        self._reported = ""
        self._failure = ""

    def sees_absence(self) -> bool:
        """Whether images are gone with their drive."""
        found = self._absence()
        if found and not self._reported:
            self._report(f"{found}. Waiting until it is back; {IS_IT_CONNECTED}")
        elif self._reported and not found:
            self._report(f"{self._folder}: is there again")
        self._reported = found
        return bool(found)

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Inside it a failure is passed over, as the next search may succeed: one that comes of a folder that is gone
        is reported and waited for, another is reported once until it is over."""
        try:
            yield
        except (OSError, MaskALError) as error:
            if not self._absence() and str(error) != self._failure:
                self._failure = str(error)
                self._report(f"{error}. MaskAL goes on waiting, and looks again")
        else:
            self._failure = ""


class Copies:
    """That the annotate folder was renamed or is gone with its drive, reported once until it is back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._were_there = True

    def news(self, awaited: Collection[str]) -> list[str]:
        before = self._were_there
        self._were_there = not awaited or any(is_there(self._path / name) for name in awaited)
        if self._were_there or not before:
            return []
        return [
            f"{self._path}: none of the images to annotate is there any more. Put the folder back under that name, or "
            "stop MaskAL and start it again: they are copied there anew"
        ]
