"""Images that lie in two image folders: what is trained on must not be measured on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from active_learning.dataset.image_folder import FolderSnapshot
from active_learning.system.file_moves import same_content

MOST_FOUND = 100  # where a folder was copied, its first images tell enough
SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class SharedImage:
    """An image of one folder and its name in another.

    `certain`: one file, reached in two ways, or a copy that has kept its name; else a copy of another name, as of a
    frame that happens to be blank.
    """

    name: str
    other: str
    certain: bool


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    place: tuple[int, int]  # device and number of the file
    size: int

    @property
    def base(self) -> str:
        return self.path.name


def lies_in(folder: Path, other: Path) -> bool:
    """Whether it is the other folder, or below it, whatever links and spelling lead to them."""
    above = (folder.resolve(), *folder.resolve().parents)
    return any(one.samefile(other) for one in above)


def shared_images(one: FolderSnapshot, other: FolderSnapshot) -> list[SharedImage]:
    """The images of the first folder that are images of the second, too, by file or by content; the first hundred."""
    files, others = list(_files(one)), list(_files(other))
    places = {file.place: file for file in others}
    linked = [SharedImage(file.name, places[file.place].name, True) for file in files if file.place in places]
    names = {shared.name for shared in linked}
    copies = _copies([file for file in files if file.name not in names], others)
    return list(islice([*linked, *islice(copies, MOST_FOUND)], MOST_FOUND))


def _files(snapshot: FolderSnapshot) -> Iterator[_File]:
    for name in snapshot.images:
        path = snapshot.folder / name
        with suppress(OSError):  # taken away at this moment
            status = path.stat()
            yield _File(name, path, (status.st_dev, status.st_ino), status.st_size)


def _copies(files: list[_File], others: list[_File]) -> Iterator[SharedImage]:
    sizes = {file.size for file in files} & {file.size for file in others} - {0}
    alike: dict[tuple[int, bytes], dict[str, _File]] = defaultdict(dict)
    for other in others:
        if other.size in sizes:
            alike[other.size, _sample(other)].setdefault(other.base, other)
    for file in files:
        candidates = alike.get((file.size, _sample(file)), {}) if file.size in sizes else {}
        if candidates:
            other = candidates.get(file.base) or next(iter(candidates.values()))
            if same_content(file.path, other.path):
                yield SharedImage(file.name, other.name, file.base == other.base)


def _sample(file: _File) -> bytes:
    """From the middle and the end, as images of one camera begin alike; empty where it cannot be read."""
    with suppress(OSError), file.path.open("rb") as stream:
        stream.seek(max(file.size // 2 - SAMPLE_BYTES // 2, 0))
        middle = stream.read(SAMPLE_BYTES)
        stream.seek(max(file.size - SAMPLE_BYTES, 0))
        return middle + stream.read(SAMPLE_BYTES)
    return b""
