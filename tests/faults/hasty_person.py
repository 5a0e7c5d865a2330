"""A second person, in a process of its own, who saves just when files are collected, and again afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import zlib
from contextlib import suppress
from pathlib import Path

from tests.faults.project import SPLITS, annotation_of, contents

MOST_SAVES = 5  # of one image; without an end nothing would ever be at rest
LATE_SAVES = 2
SECONDS_BETWEEN = 0.004


def is_of_hasty_person(image: str) -> bool:
    return zlib.crc32(image.encode()) % 3 == 0


class HastyPerson:
    """Annotates every third image or so. Saves are whole, some straight into the file, others by renaming."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.last: dict[str, bytes] = {}
        self.saves: dict[str, int] = {}
        self._process = 0

    def start(self) -> None:
        self._process = os.fork()
        if self._process:
            return
        os.setsid()  # the signals of the test are for the program
        end = []
        signal.signal(signal.SIGTERM, lambda *_: end.append(True))
        try:
            while not end:
                self.work()
                time.sleep(SECONDS_BETWEEN)
            made = {path: content.decode() for path, content in self.last.items()}
            self._journal.write_text(json.dumps({"last": made, "saves": self.saves}), encoding="utf-8")
        finally:
            os._exit(0)

    def stop(self) -> None:
        """What this person made is known from here on."""
        if not self._process:
            return
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)
        self._process = 0
        journal = json.loads(self._journal.read_text(encoding="utf-8"))
        self.last = {path: content.encode() for path, content in journal["last"].items()}
        self.saves = journal["saves"]

    @property
    def _journal(self) -> Path:
        return self.folder / "hasty_person.json"

    def lost(self) -> set[bytes]:
        """The last save of each file that is nowhere any more."""
        return set(self.last.values()) - contents(self.folder / "data")

    def work(self) -> None:
        for split in SPLITS:
            annotate = self.folder / "data" / split / "annotate"
            places = [place for place in os.walk(annotate) if "/." not in place[0]]
            copies = [Path(place, name) for place, _, names in places for name in names]
            for image in (path for path in copies if path.suffix == ".png" and is_of_hasty_person(path.name)):
                path = image.with_suffix(".json")
                if not self.saves.get(str(path)) or not path.exists() or self.rng.random() < 0.1:
                    self._save(path, image.name, MOST_SAVES)  # also where it was taken at this moment
            self._correct_later(annotate)

    def _correct_later(self, annotate: Path) -> None:
        """LabelMe, which is still open, makes the folder anew and saves there."""
        for path in [Path(place) for place in self.saves if Path(place).is_relative_to(annotate)]:
            if not path.exists() and not path.with_suffix(".png").exists() and self.rng.random() < 0.003:
                self._save(path, f"{path.stem}.png", MOST_SAVES + LATE_SAVES)

    def _save(self, path: Path, image: str, most: int) -> None:
        number = self.saves.get(str(path), 0) + 1
        if number > most:
            return
        self.saves[str(path)] = number
        content = annotation_of(image, hasty=number, place=str(path))
        with suppress(FileNotFoundError):  # the folder is removed at this moment
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.rng.random() < 0.5:
                path.write_bytes(content)
            else:
                part = path.with_name(f"{path.name}.part")
                part.write_bytes(content)
                part.replace(path)
            self.last[str(path)] = content
