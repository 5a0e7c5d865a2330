"""Images that lie in two image folders: what is trained on must not be measured on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from active_learning.dataset.image_folder import FolderSnapshot
from active_learning.dataset.same_scene import SIDE, is_flat
from active_learning.errors import MaskALError
from active_learning.system.file_moves import same_content
from active_learning.system.image_files import grey_thumbnail

MOST_FOUND = 100  # where a folder was copied, its first images tell enough
SAMPLES, SAMPLE_BYTES = 16, 4096  # of a file's content; small files are read whole


@dataclass(frozen=True)
class SharedImage:
    """An image of one folder, and its name in another."""

    name: str
    other: str


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    place: tuple[int, int]  # device and number of the file
    size: int


def shared_images(one: FolderSnapshot, other: FolderSnapshot) -> list[SharedImage]:
    """The images of the first folder that are images of the second, too, linked or copied; the first hundred.

    A picture of one colour, such as a black frame, that a folder holds several times counts only as a link.
    """
    files, others = list(_files(one)), list(_files(other))
    places = {file.place: file for file in others}
    linked = [SharedImage(file.name, places[file.place].name) for file in files if file.place in places]
    copied = _copies(files, others) if not linked else ()
    return list(islice(chain(linked, copied), MOST_FOUND))


def _files(snapshot: FolderSnapshot) -> Iterator[_File]:
    for name in snapshot.images:
        path = snapshot.folder / name
        with suppress(OSError):  # taken away at this moment
            status = path.stat()
            yield _File(name, path, (status.st_dev, status.st_ino), status.st_size)


def _copies(files: list[_File], others: list[_File]) -> Iterator[SharedImage]:
    sizes = {file.size for file in files} & {file.size for file in others} - {0}
    alike = _by_content(others, sizes)
    for content, found in _by_content(files, sizes).items():
        candidates = alike.get(content, [])
        if not candidates or (len(found) + len(candidates) > 2 and _shows_nothing(found[0].path)):
            continue
        for file in found:
            if same := next((other for other in candidates if same_content(file.path, other.path)), None):
                yield SharedImage(file.name, same.name)


def _shows_nothing(path: Path) -> bool:
    """Also of what cannot be read, which is reported where it is used."""
    with suppress(MaskALError):
        return is_flat(grey_thumbnail(path, SIDE))
    return True


def _by_content(files: list[_File], sizes: set[int]) -> dict[bytes, list[_File]]:
    found: dict[bytes, list[_File]] = defaultdict(list)
    for file in files:
        if file.size in sizes:
            with suppress(OSError):  # taken away at this moment
                found[_sample(file)].append(file)
    return found


def _sample(file: _File) -> bytes:
    """A digest of the size and of parts of the content, from all over it."""
    digest = hashlib.sha1(str(file.size).encode(), usedforsecurity=False)
    with file.path.open("rb") as stream:
        if file.size <= SAMPLES * SAMPLE_BYTES:
            digest.update(stream.read())
        else:
            for number in range(SAMPLES):
                stream.seek((file.size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.digest()
