"""Moving and copying files without ever overwriting one, nor deleting what exists nowhere else."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from active_learning.system.files import write_errors_named

DRAFT = ".maskal-draft"  # only this package makes files of that suffix


def same_content(one: Path, other: Path) -> bool:
    """Whether both are files of the same bytes."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def same_place(one: Path, other: Path) -> bool:
    """Whether both are the same directory entry, reached in two ways."""
    return one.name == other.name and one.parent.resolve() == other.parent.resolve()


def keep_aside(path: Path) -> Path:
    """Renames a file to `<name>.orig`, or `.orig2`, `.orig3`, ... where that is taken."""
    for number in count(1):
        aside = path.with_name(f"{path.name}.orig{number if number > 1 else ''}")
        try:
            rename_new(path, aside)
        except FileExistsError:
            continue
        return aside
    raise AssertionError("there are endless numbers")


def copy_beside(source: Path, target: Path) -> None:
    """Copies a file; what stands at the target and differs is kept aside."""
    if os.path.lexists(target):
        if same_content(source, target):
            return
        keep_aside(target)
    with draft_of_new(target) as draft:
        shutil.copyfile(source, draft)


@contextmanager
def draft_of_new(target: Path) -> Iterator[Path]:
    """A file to write, which gets its name at the end of the block; raises FileExistsError where that is taken."""
    draft = target.with_name(target.name + DRAFT)
    draft.unlink(missing_ok=True)  # a kill in rename_new leaves it as a second name of the finished file
    try:
        with write_errors_named(target):
            yield draft
        rename_new(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def move_beside(source: Path, target: Path) -> None:
    """Moves a file, also to another drive; what stands at the target and differs is kept aside."""
    if same_place(source, target):
        return
    if same_content(source, target) and not target.is_symlink():
        source.unlink()
    elif source.is_symlink() or source.stat().st_dev != target.parent.stat().st_dev:
        copy_beside(source, target)
        source.unlink()
    else:
        if os.path.lexists(target):
            keep_aside(target)
        rename_new(source, target)


def remove_copy(copy: Path, original: Path) -> None:
    """Removes a copy, if it is still one."""
    if not same_place(copy, original) and not copy.is_symlink() and same_content(copy, original):
        copy.unlink()


def remove_leftovers(folder: Path) -> None:
    """Removes half-made copies of an interrupted run and empty folders, `folder` included.

    A folder that cannot be removed stays: it is a link or a mount, or, on Windows, open in another program.
    """
    for place, _, files in os.walk(folder, topdown=False):
        for draft in (Path(place, name) for name in files if name.endswith(DRAFT)):
            draft.unlink(missing_ok=True)
        with suppress(OSError):
            Path(place).rmdir()  # takes empty ones alone


def rename_new(source: Path, target: Path) -> None:
    """Renames a file; raises FileExistsError rather than overwrite."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError) as error:  # a folder, or a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(f"{target}: is there already") from error
        source.rename(target)
    else:
        source.unlink()
