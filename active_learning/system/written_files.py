"""Files that MaskAL writes anew into folders of people; a person's file of such a name is kept as `.orig`.

A hidden record beside them holds what MaskAL wrote last into each.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from active_learning.system.file_moves import draft_of_new, give_back_taken, keep_aside, remove_if
from active_learning.system.files import write_atomically
from active_learning.system.locks import locked
from active_learning.system.log import logger

UNREPORTED_SECONDS = 2.0  # as others mostly end by then
RECORD = ".maskal-files"  # hidden, so that annotation tools do not list it


def write_own(path: Path, text: str) -> None:
    """Writes UTF-8 text if the file holds something else; what MaskAL did not write is kept aside, and that logged."""
    content = text.encode("utf-8")
    if _digest_of(path) != _digest(content):
        with own_draft(path) as draft:
            draft.write_bytes(content)


@contextmanager
def own_draft(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` at the end of the block; makes the folder. As `write_own`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):  # it may have been taken by a run that was killed
        give_back_taken(path.parent)
    with draft_of_new(path) as draft:
        yield draft
        new, held, record = _digest_of(draft), _digest_of(path), _read_record(path.parent)
        known = {*record.get(path.name, ()), new}
        # Noted first: a kill before the file is written leaves what was there known as well.
        record[path.name] = sorted({new, held} & known)
        write_atomically(path.parent / RECORD, json.dumps(record) + "\n")
        while os.path.lexists(path):
            if not remove_if(path, lambda file: _digest_of(file) in known):
                logger.warning("%s was not written by MaskAL: it is kept as %s", path, keep_aside(path).name)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Inside it no other program that asks for this writes into the folder, which is made; waits until it has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{RECORD}.lock", partial(_report_other, folder), unreported_seconds=UNREPORTED_SECONDS):
        yield


@contextmanager
def only_program(folder: Path) -> Iterator[None]:
    """As `only_writer`, of this machine alone; leaves nothing behind, and does not make the folder."""
    file = Path(tempfile.gettempdir(), f"maskal-{_digest(os.fsencode(folder.resolve()))[:20]}.lock")
    with locked(file, partial(_report_other, folder), unreported_seconds=UNREPORTED_SECONDS):
        try:
            yield
        finally:
            with suppress(OSError):  # on Windows it is open; who waits opens it anew at each try
                file.unlink()


def _report_other(folder: Path) -> None:
    logger.warning("%s: another program of MaskAL writes here; waiting until it has ended", folder)


def files_of_others(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of these names that would be kept aside, as long as they are not the same as what is to be written."""
    written = _read_record(folder)
    there = (folder / name for name in names if os.path.lexists(folder / name))
    return [path for path in there if _digest_of(path) not in written.get(path.name, ())]


def _read_record(folder: Path) -> dict[str, list[str]]:
    """Empty where there is none, or a damaged one: then all is a person's."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {str(name): [str(digest) for digest in digests] for name, digests in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _digest_of(path: Path) -> str:
    """Empty for what is no file."""
    return _digest(path.read_bytes()) if path.is_file() else ""


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()
