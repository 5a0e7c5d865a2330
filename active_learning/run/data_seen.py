"""Images and annotations that appeared, changed or vanished since a run last used them, by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import FolderSnapshot, find_annotations
from active_learning.dataset.image_names import spelled_as
from active_learning.errors import AnnotationError
from active_learning.run.recorded import ImageName, RecordedText, check_values, read_json
from active_learning.system.files import write_if_changed
from active_learning.system.wording import and_more, counted

NAMES_SHOWN = 5


@dataclass(frozen=True)
class SplitSeen:
    """All images of a folder, and a digest of the annotation file of each image that is used."""

    images: tuple[ImageName, ...]
    annotations: dict[ImageName, RecordedText]


_SEEN: TypeAdapter[dict[str, SplitSeen]] = TypeAdapter(dict[Literal["train", "val", "test"], SplitSeen])  # type: ignore[arg-type]


def _split_seen(snapshot: FolderSnapshot, annotations: AnnotationCache, used: Iterable[str]) -> SplitSeen:
    """`used` are image names; those without annotation have no digest."""
    there = set(snapshot.images)
    names = [name for name in used if name in there]
    pairs, _ = find_annotations(snapshot.folder, names, annotations, snapshot)
    digests = {}
    for name, path in pairs.items():
        with suppress(AnnotationError):  # removed at this moment
            digests[name] = annotations.digest(path)
    return SplitSeen(snapshot.images, digests)


class DataSeen:
    """What was seen of each split, in a file of the results. The methods raise MaskALError where it is damaged."""

    def __init__(self, file: Path, *others: Path) -> None:
        """`others` are of further experiments, whose images count as seen, too."""
        self._file, self._others = file, others

    def images(self, split: str) -> tuple[str, ...]:
        """All of its folder; none where it was not seen yet."""
        found = [_read(file).get(split) for file in (self._file, *self._others)]
        return tuple(dict.fromkeys(name for seen in found if seen for name in seen.images))

    def update(
        self, split: str, snapshot: FolderSnapshot, annotations: AnnotationCache, used: Sequence[str]
    ) -> list[str]:
        """A line for each kind of change since the last time; none where there was no last time."""
        splits, now = _read(self._file), _split_seen(snapshot, annotations, used)
        before = splits.get(split)
        if before is not None:
            spelling = spelled_as([*before.images, *before.annotations], snapshot.images)
            digests = {spelling[name]: digest for name, digest in before.annotations.items()}
            before = SplitSeen(tuple(map(spelling.__getitem__, before.images)), digests)
        splits[split] = now
        text = json.dumps({name: asdict(seen) for name, seen in splits.items()}, ensure_ascii=False, indent=0)
        write_if_changed(self._file, text + "\n")
        return list(_changes(split, snapshot.folder, before, now, set(used))) if before else []


def _read(file: Path) -> dict[str, SplitSeen]:
    """Empty where there is none."""
    if not file.exists():
        return {}
    remedy = "put back a copy of the file, or remove it: what has changed since the last time is then not reported"
    return check_values(_SEEN, read_json(file, "what the run has seen", remedy), f"{file}", remedy)


def _changes(split: str, folder: Path, before: SplitSeen, now: SplitSeen, used: set[str]) -> Iterator[str]:
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
    return f"{counted(len(images), 'image')} ({and_more(images, NAMES_SHOWN)})"
