"""Scores each image of the pool by forward passes: shared by ranks, kept on disk as it comes.

A rank is one of several processes with a GPU each (torchrun); each scores its share of the pool. The records, and the
file in which they end, are the same for any number of ranks, and after any interruption.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from active_learning.acquisition import record_files
from active_learning.acquisition.record_files import Conditions
from active_learning.errors import UnreadableImageError
from active_learning.network.image_batches import ImageInput, UnreadableImage
from active_learning.sampling.pool_record import PoolRecord
from active_learning.system.files import write_errors_named
from active_learning.system.processes import Ranks
from active_learning.system.progress import progress
from active_learning.system.wording import counted

logger = logging.getLogger(__name__)


def score_pool(
    images: Sequence[str],
    read: Callable[[Sequence[str]], Iterable[ImageInput | UnreadableImage]],
    score: Callable[[ImageInput], PoolRecord],
    *,
    records_file: Path,
    conditions: Conditions,
    is_current: Callable[[PoolRecord], bool] = lambda record: True,
    ranks: Ranks | None = None,
) -> dict[str, PoolRecord]:
    """The record of each image, in the order of `images`, in every rank; they also stand in `records_file`.

    Images whose record stands there, from a run that was stopped, are not scored again. An image that cannot be read
    is named in the log and left out.

    Args:
        read: names of images -> each image or its fault, in that order (network/image_batches.py).
        score: an image -> its record, by forward passes.
        conditions: what the values depend on beside the weights; records made under others are not used.
        is_current: whether a record that stands there is of the file that is there now.

    Raises:
        MaskALError: `records_file` cannot be continued.
    """
    ranks = ranks or Ranks()
    known = _continue(records_file, conditions, is_current, ranks)
    left = [name for name in images if name not in known]
    share = left[ranks.rank :: ranks.count]
    own = record_files.part(records_file, ranks.rank)
    record_files.begin_part(own, conditions)
    unreadable: list[UnreadableImage] = []
    found: list[PoolRecord] = []
    bar = progress(read(share), what="sampling", unit="image", total=len(share), shown=ranks.rank == 0)
    with own.open("a", encoding="utf-8", newline="\n") as stream, bar:
        for image in bar:
            record = _scored(image, score)
            if isinstance(record, UnreadableImage):
                unreadable.append(record)
                _warn(record)
            else:
                found.append(record)
                with write_errors_named(own):
                    stream.write(record_files.to_line(record) + "\n")
                    stream.flush()
    return _gathered(images, known, found, unreadable, records_file, conditions, ranks)


def _scored(
    image: ImageInput | UnreadableImage, score: Callable[[ImageInput], PoolRecord]
) -> PoolRecord | UnreadableImage:
    if isinstance(image, UnreadableImage):
        return image
    try:
        return score(image)
    except UnreadableImageError as error:  # of a large image, whose tiles are read while it is scored
        return UnreadableImage(image.name, str(error))


def _continue(
    records_file: Path, conditions: Conditions, is_current: Callable[[PoolRecord], bool], ranks: Ranks
) -> dict[str, PoolRecord]:
    """What any rank finds on its disk; all read before one writes."""
    records, has_others = record_files.read_matching(records_file, conditions)
    current = {name: record for name, record in records.items() if is_current(record)}
    found = ranks.gather((current, has_others, len(records) - len(current)))
    if ranks.rank == 0 and any(others for _, others, _ in found):
        logger.info("The settings have changed since the pool was scored: it is scored again")
    if ranks.rank == 0 and (replaced := max(count for *_, count in found)):
        logger.info("%s replaced or removed since the pool was scored", counted(replaced, "image"))
    known = {name: record for records, *_ in found for name, record in records.items()}
    if ranks.rank == 0 and known:
        logger.info("%s scored before", counted(len(known), "image"))
    return known


def _gathered(
    images: Sequence[str],
    known: dict[str, PoolRecord],
    found: list[PoolRecord],
    unreadable: list[UnreadableImage],
    records_file: Path,
    conditions: Conditions,
    ranks: Ranks,
) -> dict[str, PoolRecord]:
    """All records in the order of the pool; the first rank writes them to one file."""
    everything, faulty = dict(known), []
    for records, unreadable_of_rank in ranks.gather((found, unreadable)):
        everything.update((record.name, record) for record in records)
        faulty += unreadable_of_rank
    records = {name: everything[name] for name in images if name in everything}
    if ranks.rank == 0:
        _report(faulty, len(images), unreadable)
        record_files.write_records(records_file, conditions, records.values())
    # The parts go once the whole is there, those on other machines' disks too.
    ranks.gather(None)
    record_files.remove_parts(records_file)
    return records


def _report(unreadable: Sequence[UnreadableImage], total: int, reported: Sequence[UnreadableImage]) -> None:
    """Those of other ranks by name, and how many they are."""
    for image in unreadable:
        if image not in reported:
            _warn(image)
    if unreadable:
        logger.warning("%d of %d pool images could not be read and were left out", len(unreadable), total)


def _warn(image: UnreadableImage) -> None:
    logger.warning("%s; until then it is left out", image.fault)
