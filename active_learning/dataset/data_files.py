"""The image lists and COCO files in dataroot; a person's file of such a name is kept as `.orig`.

A hidden record beside them holds what MaskAL wrote last into each.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from active_learning.system.file_moves import draft_of_new, keep_aside, remove_if
from active_learning.system.files import write_atomically
from active_learning.system.log import logger

RECORD = ".maskal-files"
NAMES = (
    "initial_train.txt",
    *(f"{split}.{suffix}" for split in ("train", "val", "test") for suffix in ("txt", "json")),
)


def write_data_file(path: Path, text: str) -> None:
    """Writes UTF-8 text if the file holds something else; what MaskAL did not write is kept aside, and that logged."""
    content = text.encode("utf-8")
    new, held = _digest(content), _digest_of(path)
    if held == new:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    record = _read_record(path.parent)
    known = {*record.get(path.name, ()), new}
    # Noted first: a kill before the file is written leaves what was there known as well.
    record[path.name] = sorted({new, held} & known)
    write_atomically(path.parent / RECORD, json.dumps(record) + "\n")
    with draft_of_new(path) as draft:
        draft.write_bytes(content)
        while os.path.lexists(path):
            if not remove_if(path, lambda file: _digest_of(file) in known):
                logger.warning("%s was not written by MaskAL: it is kept as %s", path, keep_aside(path).name)


def foreign_data_files(dataroot: Path) -> list[Path]:
    """Those that would be kept aside, as long as they are not the same as what is to be written."""
    written = _read_record(dataroot)
    there = (dataroot / name for name in NAMES if os.path.lexists(dataroot / name))
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
