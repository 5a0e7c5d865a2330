"""Looks at each image of the pool: read by worker processes, shared by ranks, kept on disk as it comes.

A rank is one of several processes with a GPU each (torchrun); each looks at its share of the pool. The records, and the
file in which they end, are the same for any number of ranks and workers, and after any interruption.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from active_learning.acquisition.record_files import (
    Conditions,
    begin_part,
    part,
    read_matching,
    remove_parts,
    write_records,
)
from active_learning.errors import MaskALError
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.forward_passes import Look
from active_learning.sampling.pool_record import PoolRecord, record_of, to_line
from active_learning.system.processes import Ranks
from active_learning.system.progress import progress

UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, MaskALError)  # what image decoders raise; Pillow: SyntaxError
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Eyes:
    """How images are looked at.

    Attributes:
        read: an image's name -> what `look` takes for it; runs in worker processes, so it must be picklable.
        look: pairs of a name and what `read` gave -> what is seen in each image.
        workers: processes that read; 0 reads in this one.
        batch_size: images handed to `look` at a time.
    """

    read: Callable[[str], Any]
    look: Callable[[Sequence[tuple[str, Any]]], Sequence[Look]]
    workers: int = 0
    batch_size: int = 1


def score_pool(
    images: Sequence[str],
    eyes: Eyes,
    *,
    iou_threshold: float,
    mode: str,
    records_file: Path,
    conditions: Conditions,
    ranks: Ranks | None = None,
) -> dict[str, PoolRecord]:
    """The record of each image, in the order of `images`, in every rank; they also stand in `records_file`.

    Images whose record stands there, from a run that was stopped, are not looked at again. An image that cannot be
    read is named in the log and left out.

    Args:
        conditions: what the values depend on beside the weights; records made under others are not taken over.

    Raises:
        MaskALError: `records_file` cannot be continued.
    """
    ranks = ranks or Ranks()
    known = _continue(records_file, conditions, ranks)
    left = [name for name in images if name not in known]
    share = left[ranks.rank :: ranks.count]
    own = part(records_file, ranks.rank)
    begin_part(own, conditions)
    faults: dict[str, str] = {}
    found: list[PoolRecord] = []
    bar = progress(what="sampling", unit="image", total=len(share), shown=ranks.rank == 0)
    with own.open("a", encoding="utf-8", newline="\n") as stream, bar:
        for batch in _batches(share, eyes):
            _note_faults(batch, faults)
            given = [(item.name, item.content) for item in batch if not item.fault]
            for (name, _), look in zip(given, eyes.look(given) if given else [], strict=True):
                certainty = certainty_of(look, iou_threshold=iou_threshold, mode=mode)
                found.append(record_of(name, look, certainty))
                stream.write(to_line(found[-1]) + "\n")
            stream.flush()
            bar.update(len(batch))
    return _gathered(images, known, found, faults, records_file, conditions, ranks)


def _continue(records_file: Path, conditions: Conditions, ranks: Ranks) -> dict[str, PoolRecord]:
    """What any rank finds on its disk; all read before one writes."""
    found = ranks.gather(read_matching(records_file, conditions))
    if ranks.rank == 0 and any(others for _, others in found):
        logger.info("The settings have changed since the pool was looked at: it is looked at again")
    return {name: record for records, _ in found for name, record in records.items()}


def _gathered(
    images: Sequence[str],
    known: dict[str, PoolRecord],
    found: list[PoolRecord],
    faults: dict[str, str],
    records_file: Path,
    conditions: Conditions,
    ranks: Ranks,
) -> dict[str, PoolRecord]:
    """All records in the order of the pool; the first rank writes them to one file."""
    everything, faulty = dict(known), {}
    for records, faults_of_rank in ranks.gather((found, faults)):
        everything.update((record.name, record) for record in records)
        faulty.update(faults_of_rank)
    if ranks.rank == 0:
        _report(faulty, len(images), faults)
    records = {name: everything[name] for name in images if name in everything}
    if ranks.rank == 0:
        write_records(records_file, conditions, records.values())
    # The parts go once the whole is there, those on other machines' disks too.
    ranks.gather(None)
    remove_parts(records_file)
    return records


@dataclass(frozen=True)
class _Item:
    """An image as it comes from a worker: what was read, or what is wrong with it."""

    name: str
    content: Any
    fault: str = ""


class _Images(Dataset[_Item]):
    def __init__(self, names: Sequence[str], read: Callable[[str], Any]) -> None:
        self.names = names
        self.read = read

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> _Item:
        name = self.names[index]
        try:
            return _Item(name, self.read(name))
        except UNREADABLE as error:
            return _Item(name, None, f"{type(error).__name__}: {error}")


def _batches(names: Sequence[str], eyes: Eyes) -> Iterator[list[_Item]]:
    """In the order of `names`."""
    if not names:
        return iter(())
    workers = min(eyes.workers, len(names))
    images = _Images(names, eyes.read)
    return iter(DataLoader(images, batch_size=eyes.batch_size, num_workers=workers, collate_fn=_as_it_is))


def _as_it_is(batch: list[_Item]) -> list[_Item]:
    return batch


def _note_faults(batch: Sequence[_Item], faults: dict[str, str]) -> None:
    for item in batch:
        if item.fault:
            faults[item.name] = item.fault
            _say_fault(item.name, item.fault)


def _say_fault(name: str, fault: str) -> None:
    logger.warning("%s: cannot be read (%s); it is left out", name, fault)


def _report(faults: dict[str, str], total: int, said: dict[str, str]) -> None:
    """Those of other ranks by name, and how many they are."""
    for name, fault in faults.items():
        if name not in said:
            _say_fault(name, fault)
    if faults:
        logger.warning("%d of %d pool images could not be read and were left out", len(faults), total)
