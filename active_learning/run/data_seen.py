"""Images and annotations that appeared, changed or vanished since a run last looked at them, by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from active_learning.annotations import image_named_in
from active_learning.dataset.image_folder import find_annotations, find_images
from active_learning.system.files import write_atomically

NAMES_SHOWN = 5


@dataclass(frozen=True)
class Seen:
    """All images of a folder, and a digest of the annotation file of each image that is used."""

    images: tuple[str, ...]
    annotations: dict[str, str]


def look_at(folder: Path, used: Iterable[str]) -> Seen:
    """`used` are image names; those without annotation have no digest."""
    images = find_images(folder)
    there = set(images)
    pairs, _ = find_annotations(folder, [name for name in used if name in there], image_named_in)
    return Seen(tuple(images), {name: _digest(path) for name, path in pairs.items()})


class DataMemory:
    """What was seen of each split, in a file of the results."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def update(self, split: str, folder: Path, used: Sequence[str]) -> list[str]:
        """Looks again; a line for each kind of change since the last time, none where there was no last time."""
        splits, now = self._read(), look_at(folder, used)
        before = splits.get(split)
        splits[split] = now
        text = json.dumps({name: asdict(seen) for name, seen in splits.items()}, ensure_ascii=False, indent=0)
        write_atomically(self._file, text + "\n")
        return list(_changes(split, folder, before, now, set(used))) if before else []

    def _read(self) -> dict[str, Seen]:
        """Empty where there is none; it only serves to tell, so a damaged one is made anew."""
        try:
            splits = json.loads(self._file.read_text(encoding="utf-8"))
            return {name: Seen(tuple(seen["images"]), dict(seen["annotations"])) for name, seen in splits.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _changes(split: str, folder: Path, before: Seen, now: Seen, used: set[str]) -> Iterator[str]:
    there, known = set(now.images), set(before.images)
    if new := sorted(there - known):
        follows = "from now on in the pool"
        if split != "train":
            follows = f"from now on used for {split}; the mAP is of other images than before"
        yield f"New in {folder}: {named(new)}; {follows}"
    gone = sorted(known - there)
    if left_out := [name for name in gone if name in used or split != "train"]:
        yield f"Gone from {folder}: {named(left_out)}; the run goes on without, until it is there again"
    if not_there := [name for name in gone if name not in left_out]:
        yield f"Gone from {folder}: {named(not_there)}; no longer in the pool"
    both = sorted(there & set(before.annotations))
    lost = [name for name in both if name not in now.annotations]
    if lost:
        yield f"Without annotation in {folder}, though it had one: {named(lost)}; it is asked for again"
    before_and_now = {name: (before.annotations[name], now.annotations[name]) for name in both if name not in lost}
    if changed := [name for name, (former, latter) in before_and_now.items() if former != latter]:
        yield f"Annotated anew in {folder}: {named(changed)}; what is there now is used"


def named(images: Sequence[str]) -> str:
    """ "3 images (a.png, b.png, c.png)"; of many, the first."""
    more = f" and {len(images) - NAMES_SHOWN} more" if len(images) > NAMES_SHOWN else ""
    return f"{len(images)} image{'s' if len(images) > 1 else ''} ({', '.join(images[:NAMES_SHOWN])}{more})"


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
