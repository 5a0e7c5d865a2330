"""Which files of an annotate folder MaskAL wrote itself, and whether a person has changed them since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from active_learning.system.file_moves import remove_if
from active_learning.system.files import write_errors_named
from active_learning.system.written_files import RECORD


class OwnFiles:
    """A record in the folder itself: one line a file, with its image and what it held. It only grows until `remove`.

    A file that is missing in it, as after a power cut, counts as a person's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / RECORD
        self._files: dict[str, tuple[str, str]] | None = None

    def add(self, path: Path, image: str, draft: Path | None = None) -> None:
        """Notes a file, below the folder, as just written for an image, "" for all images; or as about to be, from a
        `draft`: one without a note, as after a kill, counts as a person's.

        Where it cannot be noted, as on a full disk, a file that was written is removed.
        """
        place, digest = path.relative_to(self.folder).as_posix(), _digest(draft or path)
        try:
            # A line of its own, whatever a full disk has left of the one before.
            with write_errors_named(self.record), self.record.open("a", encoding="utf-8", newline="\n") as stream:
                stream.write("\n" + json.dumps([place, image, digest]) + "\n")
        except OSError:
            with suppress(OSError):  # of a disk that is too full to take the file away
                _remove(path, digest)
            raise
        self._known()[place] = (image, digest)

    def is_untouched(self, path: Path) -> bool:
        """Whether the file is MaskAL's and still as it was written."""
        if self.folder not in path.parents:
            return False
        _, digest = self._known().get(path.relative_to(self.folder).as_posix(), ("", ""))
        with suppress(OSError):  # saved anew at this moment
            return bool(digest) and path.is_file() and _digest(path) == digest
        return False

    def persons_first(self, paths: Sequence[Path]) -> list[Path]:
        """The files that a person made or changed; all of them where there is none."""
        if len(paths) < 2:
            return list(paths)
        return [path for path in paths if not self.is_untouched(path)] or list(paths)

    def give_way(self, path: Path) -> None:
        """Removes the file if it is untouched, for what a person has made to take its name."""
        if self.is_untouched(path):
            _remove(path, self._known()[path.relative_to(self.folder).as_posix()][1])

    def remove(self, images: Collection[str]) -> None:
        """Removes what is still untouched of these images, and the record when nothing of it is left."""
        left = set()
        for place, (image, digest) in self._known().items():
            path = self.folder / place
            removed = image in images and _remove(path, digest)
            if image and not removed and path.exists():
                left.add(image)
        if left <= set(images):
            for place, (image, digest) in self._known().items():
                if not image:
                    _remove(self.folder / place, digest)
            self.record.unlink(missing_ok=True)
            self._files = None

    def _known(self) -> dict[str, tuple[str, str]]:
        if self._files is None:
            self._files = dict(_entries(self.record))
        return self._files


def _entries(record: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """A line that is damaged, such as a last one that was cut off, is passed over: its file counts as a person's."""
    content = record.read_bytes().decode("utf-8", errors="replace") if record.is_file() else ""
    for line in content.split("\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, list) and len(entry) == 3 and all(isinstance(one, str) for one in entry):
            place, image, digest = entry
            if not (
                PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts
            ):  # files are removed by it
                yield place, (image, digest)


def _remove(path: Path, digest: str) -> bool:
    return remove_if(path, lambda file: file.is_file() and _digest(file) == digest)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
