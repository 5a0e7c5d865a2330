"""Near-duplicates in traindir: found once for all experiments, and kept in dataroot while the images stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from active_learning.dataset.near_duplicates import (
    FILE,
    Groups,
    keep_near_duplicates,
    kept_near_duplicates,
    near_duplicates,
)
from active_learning.settings import Settings
from active_learning.system.wording import and_more, counted

MOST_CHECKED = 1000  # images that a check without --deep looks at, as all must be decoded
GROUPS_SHOWN = 3


def near_duplicates_file(settings: Settings) -> Path:
    return settings.dataroot / FILE


def find_near_duplicates(settings: Settings, images: Sequence[str]) -> Groups:
    """Of these images, which are all of traindir."""
    file, folder = near_duplicates_file(settings), settings.traindir
    groups = kept_near_duplicates(file, folder, images)
    if groups is None:
        groups = near_duplicates(folder, images, settings.most_pixels)
        keep_near_duplicates(file, folder, images, groups)
    return groups


def known_near_duplicates(settings: Settings, images: Sequence[str], *, deep: bool) -> Groups | None:
    """For --check, which keeps nothing; None where it would take long, and is not to be `deep`."""
    groups = kept_near_duplicates(near_duplicates_file(settings), settings.traindir, images)
    if groups is None and (deep or len(images) <= MOST_CHECKED):
        return near_duplicates(settings.traindir, images, settings.most_pixels)
    return groups


def describe_near_duplicates(folder: Path, count: int, groups: Groups | None) -> str:
    """Those among so many images of a folder, in words; "" for none.

    Args:
        groups: None where they were not looked for.
    """
    if groups is None:
        return f"{folder}: holds {count} images; --check --deep looks for near-duplicates among them, too"
    if not groups:
        return ""
    shown = "; ".join(and_more(group, 3) for group in groups[:GROUPS_SHOWN])
    return (
        f"{folder}: {sum(map(len, groups))} of its {counted(count, 'image')} are near-duplicates of another, in "
        f"{counted(len(groups), 'group')}, such as {shown}; the initial images are never two of one group, and "
        "min_distance keeps them apart later"
    )
