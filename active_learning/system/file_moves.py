"""Moving and copying files without ever overwriting one, nor deleting what exists nowhere else.

Others may save a file at any moment, so none is looked at and then removed under its own name: it is first renamed to
a name that nobody else knows (`taken`). A save that comes then makes another file, which stays.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from active_learning.system.files import DRAFT, with_ending, write_errors_named

TAKEN = ".maskal-taken-"  # only this package makes folders of that prefix; each holds one file while it is moved


def same_content(one: Path, other: Path) -> bool:
    """Whether both are files of the same bytes."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def is_same_entry(one: Path, other: Path) -> bool:
    """Whether both are the same directory entry, reached in two ways."""
    return one.name == other.name and one.parent.resolve() == other.parent.resolve()


@contextmanager
def taken(path: Path) -> Iterator[Path]:
    """Inside the block the file has the name that the block gets; others who save `path` make a new file.

    What the block leaves gets its name back, or `<name>.orig` where there is a newer file by then.
    """
    place = Path(tempfile.mkdtemp(prefix=TAKEN, dir=path.parent))
    mine = place / path.name
    try:
        path.rename(mine)
        try:
            yield mine
        finally:
            _give_back(mine, path)
    finally:
        with suppress(OSError):  # a tool has put something there; the next start gives it back
            place.rmdir()


def _give_back(mine: Path, path: Path) -> None:
    if not os.path.lexists(mine):
        return
    try:
        rename_new(mine, path)
    except FileExistsError:
        if path.exists() and path.samefile(mine):  # a kill in rename_new leaves two names of one file
            mine.unlink()
        else:
            _rename_aside(mine, path)


def give_back_taken(folder: Path) -> None:
    """Puts back what an interrupted run had taken in this folder, its sub-folders aside."""
    for place in folder.glob(f"{TAKEN}*"):
        for mine in place.iterdir():
            _give_back(mine, folder / mine.name)
        with suppress(OSError):
            place.rmdir()


def give_back_all(folder: Path) -> None:
    """As `give_back_taken`, with the sub-folders."""
    for place, folders, _ in os.walk(folder):
        if any(name.startswith(TAKEN) for name in folders):
            give_back_taken(Path(place))


def keep_aside(path: Path) -> Path:
    """Renames a file to `<name>.orig`, or `.orig2`, `.orig3`, ... where that is taken."""
    with taken(path) as mine:
        return _rename_aside(mine, path)


def _rename_aside(mine: Path, path: Path) -> Path:
    for number in count(1):
        aside = with_ending(path, f".orig{number if number > 1 else ''}")
        with suppress(FileExistsError):
            rename_new(mine, aside)
            return aside
    raise AssertionError("there are endless numbers")


def remove_if(path: Path, is_ours: Callable[[Path], bool]) -> bool:
    """Removes a file if `is_ours`, which gets it under a name that nobody else knows; whether it was removed."""
    if not is_ours(path):
        return False
    with suppress(FileNotFoundError), taken(path) as mine:
        if is_ours(mine):
            mine.unlink()
            return True
    return False


def copy_beside(source: Path, target: Path) -> None:
    """Copies a file; what stands at the target and differs is kept aside."""
    while not same_content(source, target):
        _make_way(target)
        try:
            with draft_of_new(target) as draft:
                _copy_at_rest(source, draft)
        except FileExistsError:  # saved at this moment
            continue
        return


def _make_way(target: Path) -> None:
    if os.path.lexists(target):
        with suppress(FileNotFoundError):  # gone at this moment
            keep_aside(target)


def _copy_at_rest(source: Path, draft: Path) -> None:
    """Copies until nobody has written into the source meanwhile."""
    before = None
    while before != (before := _version(source)):
        shutil.copyfile(source, draft)


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@contextmanager
def draft_of_new(target: Path) -> Iterator[Path]:
    """A file to write, which gets its name at the end of the block; raises FileExistsError where that is taken."""
    draft = with_ending(target, DRAFT)
    draft.unlink(missing_ok=True)  # a kill in rename_new leaves it as a second name of the finished file
    try:
        with write_errors_named(target):
            yield draft
        rename_new(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def move_beside(
    source: Path, target: Path, *, is_ready: Callable[[Path], bool] = lambda _: True, former: Path | None = None
) -> bool:
    """Moves a file, also to another drive; what stands at the target and differs is kept aside.

    Args:
        is_ready: gets the file under a name that nobody else knows; what is not ready is given back.
        former: another file, which is kept aside where this one is ready.

    Returns:
        Whether it was there, and ready.
    """
    if is_same_entry(source, target):
        return True
    if source.is_symlink():
        return _move_linked(source, target, is_ready, former)
    with ExitStack() as held:
        try:
            mine = held.enter_context(taken(source))
        except FileNotFoundError:  # a tool may be removing it to save it anew
            return False
        if not is_ready(mine):
            return False
        if former is not None:
            _make_way(former)
        _put(mine, target)
    return True


def _move_linked(source: Path, target: Path, is_ready: Callable[[Path], bool], former: Path | None) -> bool:
    """The file that a link leads to is copied, and the link removed."""
    if not is_ready(source):
        return False
    if former is not None:
        _make_way(former)
    if target.is_symlink():
        keep_aside(target)
    place = source.readlink()
    copy_beside(source, target)
    remove_if(source, lambda link: link.is_symlink() and link.readlink() == place)
    return True


def _put(mine: Path, target: Path) -> None:
    """Gives a file that nobody else knows its place."""
    while target.is_symlink() or not same_content(mine, target):
        _make_way(target)
        try:
            _put_new(mine, target)
        except FileExistsError:  # saved at this moment
            continue
        return
    mine.unlink()


def _put_new(mine: Path, target: Path) -> None:
    try:
        rename_new(mine, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:  # another drive, or the same one mounted twice
            raise
    with draft_of_new(target) as draft:
        _copy_at_rest(mine, draft)
        with suppress(OSError):
            os.utime(draft, ns=(mine.stat().st_atime_ns, mine.stat().st_mtime_ns))  # when it was saved
    mine.unlink()


def remove_copy(copy: Path, original: Path) -> None:
    """Removes a copy, if it is still one."""
    if not is_same_entry(copy, original):
        remove_if(copy, lambda file: not file.is_symlink() and same_content(file, original))


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
    """Renames a file that nobody else knows; raises FileExistsError rather than overwrite."""
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
