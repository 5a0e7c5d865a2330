"""Images that are gone because their drive is: they are waited for or asked back, not left out as taken away."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from active_learning.errors import MaskALError
from active_learning.system.disk_space import reason_and_remedy
from active_learning.system.wording import counted

IS_IT_CONNECTED = "is its drive connected?"
GO_ON = "Nothing is lost: when it is back, the same command goes on"


def absence_error(found: str) -> MaskALError:
    """`found` in words (`absence`)."""
    return MaskALError(f"{found}; {IS_IT_CONNECTED} {GO_ON}")


def is_there(path: Path) -> bool:
    """Whether it is a file that can be reached; a drive that fails is none."""
    return os.path.isfile(path)  # noqa: PTH113 (Path's raises where a drive fails)


def is_reachable(folder: Path) -> bool:
    """The same of a folder."""
    return os.path.isdir(folder)  # noqa: PTH112 (as above)


def absent_images(folder: Path, gone: Sequence[str], images: Sequence[str]) -> list[str]:
    """Of images that are gone, those that no person took away: a whole folder is not there, nothing is in it, or the
    image itself cannot be reached, as of a drive that fails.

    Args:
        images: all that are known of the folder; where not one is there, the folder itself is taken for absent.
    """
    if not gone or not any(is_there(folder / name) for name in images):
        return list(gone)
    places = {name: name.rpartition("/")[0] for name in gone}
    absent = {place: _absent_place(folder, place) is not None for place in set(places.values())}
    return [name for name, place in places.items() if absent[place] or _failure(folder / name) is not None]


def absence(folder: Path, gone: Sequence[str], images: Sequence[str]) -> str:
    """What is not there, in words, where some of the images are absent (`absent_images`); "" for nothing."""
    absent = absent_images(folder, gone, images)
    if not absent:
        return ""
    if not is_reachable(folder):
        return f"{folder}: the folder is not there"
    place = _absent_place(folder, absent[0].rpartition("/")[0])
    if place is not None:
        held = sum((folder / name).is_relative_to(place) for name in absent)
        return f"{place}: nothing is there any more, it held {counted(held, 'image')} (remove it to go on without)"
    if failure := _failure(folder / absent[0]):
        more = f", nor can {len(absent) - 1} more" if len(absent) > 1 else ""
        return f"{folder / absent[0]}: cannot be reached ({reason_and_remedy(failure)}){more}"
    return f"{folder}: none of {counted(len(images), 'image')} is there any more, such as {absent[0]}"


def _failure(path: Path) -> OSError | None:
    """Why it cannot be known whether a file is there; None where it can."""
    try:
        os.stat(path)  # noqa: PTH116 (as `is_there`)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error
    return None


def _absent_place(folder: Path, parent: str) -> Path | None:
    """The sub-folder on the way to `parent` that is empty, cannot be read, or is a link that leads nowhere.

    What is not there at all was removed by a person: a mount point stays when its drive goes.
    """
    place = folder / parent
    while place != folder:
        try:
            return None if os.listdir(place) else place  # noqa: PTH208 (one entry is enough)
        except FileNotFoundError:
            if place.is_symlink():
                return place
        except OSError:
            return place
        place = place.parent
    return None
