"""Walks an image folder: its regular files, and what is passed over by name."""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from active_learning.errors import MaskALError
from active_learning.system.files import DRAFT, report_unreadable_folder
from active_learning.system.names import shown
from active_learning.system.wording import and_more, counted

ANNOTATE = "annotate"
# Files that people and programs keep among images; all other kinds that are not read are counted.
_OTHER_SUFFIXES = frozenset([".txt", ".csv", ".tsv", ".md", ".json", ".xml", ".yaml", ".yml", ".html", ".log", ".ini",
                             ".db", ".tmp", ".lock", ".py", ".sh", ".bat", ".names", ".data", ".labels",
                             ".cache", DRAFT, ""])  # fmt: skip
# Of annotations and tables, that nobody could save as an image; a copy that an editor keeps ends in ~.
_NO_IMAGES = (".geojson", ".jsn", ".jsonl", ".ndjson", ".npy", ".npz", ".mat", ".pkl", ".h5", ".hdf5", ".gz", ".bz2",
              ".xz", ".parquet", ".tfrecord", ".xls", ".xlsx", ".roi", ".svg", ".bak", ".icloud", "~")  # fmt: skip
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
UNOPENED_ARCHIVES = (".7z", ".rar")  # which Python cannot open; counted with the other kinds
# Folders of storage systems and archive programs, for previews of images, waste and remarks of their own.
_OF_SYSTEMS = frozenset(["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX"])
_NO_FILE = "no regular file (a pipe, device or socket); remove it"
_LEADS_OUT = "a link out of the folder; copy the file there, or name its own folder in the settings"
_LEADS_NOWHERE = "a link that leads nowhere; remove it, or put back what it led to"


class FolderWalk:
    """Iterates over a folder and its sub-folders, each relative to the folder, with the names of its regular files.

    Folders of other programs (`is_of_programs`) and the `annotate` folder are left out. Links inside the folder are
    followed, after all else, so that a file keeps its own name; each folder is visited once. `passed_over` grows
    meanwhile: from a reason to the names, those of folders with `/` at the end.
    """

    def __init__(self, folder: Path) -> None:
        """Raises MaskALError where the folder is not there."""
        if not folder.is_dir():
            raise MaskALError(f"{folder}: there is no such folder")
        self.folder = folder
        self.passed_over: dict[str, list[str]] = defaultdict(list)
        self._home = os.path.realpath(folder)

    def __iter__(self) -> Iterator[tuple[Path, list[str]]]:
        """Raises MaskALError where a folder cannot be read."""
        waiting, links, visited = deque([Path()]), deque[Path](), set[tuple[int, int]]()
        while waiting or links:
            place = (waiting or links).popleft()
            try:
                status = (self.folder / place).stat()
                if (status.st_dev, status.st_ino) in visited:  # a link that leads back
                    continue
                visited.add((status.st_dev, status.st_ino))
                files = self.scan(place, waiting, links)
            except OSError as error:
                report_unreadable_folder(error)
                continue
            yield place, files

    def scan(self, place: Path, folders: deque[Path], links: deque[Path]) -> list[str]:
        """The regular files of a folder; adds its sub-folders, and links to some, to those that wait."""
        files: list[str] = []
        with os.scandir(self.folder / place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                fault = self._link_fault(entry) if entry.is_symlink() else ""
                is_folder = fault != _LEADS_NOWHERE and entry.is_dir()
                if is_folder and (is_of_programs(entry.name) or (place == Path() and self._is_annotate(entry))):
                    continue
                if fault or not (is_folder or entry.is_file()):
                    name = (place / entry.name).as_posix()
                    self.passed_over[fault or _NO_FILE].append(f"{name}/" if is_folder else name)
                elif is_folder:
                    (links if entry.is_symlink() else folders).append(place / entry.name)
                else:
                    files.append(entry.name)
        return files

    def _is_annotate(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder is the `annotate` folder: where a disk ignores case, it may be written in capitals."""
        if entry.name == ANNOTATE or entry.name.casefold() != ANNOTATE:
            return entry.name == ANNOTATE
        folder = self.folder / ANNOTATE
        return folder.is_dir() and folder.samefile(entry.path)

    def _link_fault(self, link: os.DirEntry[str]) -> str:
        """Why a link is passed over; "" where it leads to something in the folder."""
        if not os.path.exists(link.path):  # noqa: PTH110 (as of os.DirEntry)
            return _LEADS_NOWHERE
        target = os.path.realpath(link.path)
        inside = target == self._home or target.startswith(os.path.join(self._home, ""))  # noqa: PTH118
        return "" if inside else _LEADS_OUT


def is_of_programs(folder_name: str) -> bool:
    """Whether a folder is hidden, or one that a system keeps for itself."""
    return folder_name.startswith(".") or folder_name in _OF_SYSTEMS


def files_of(folder: Path, place: Path) -> list[str]:
    """The regular files of one sub-folder, as `FolderWalk` finds them; none where it is not there."""
    return FolderWalk(folder).scan(place, deque(), deque()) if (folder / place).is_dir() else []


def walk_notes(folder: Path, passed_over: Mapping[str, Iterable[str]], files: Iterable[str]) -> list[str]:
    """What a person should know of the files that are not used, a line a reason.

    Args:
        passed_over: of `FolderWalk`, with the names that matter.
        files: names of the others that are neither images nor annotations.
    """
    notes = [
        f"{folder}: {and_more(list(map(shown, names)), 3)}: passed over: {reason}"
        for reason, names in passed_over.items()
    ]
    kinds = Counter(suffix for name in files if (suffix := _unread_suffix(name)))
    others = Counter({suffix: count for suffix, count in kinds.items() if suffix.endswith(_NO_IMAGES)})
    unpack = "" if kinds.keys().isdisjoint(UNOPENED_ARCHIVES) else "unpack archives, "
    remedies = ((kinds - others, f"; {unpack}save images as JPEG or PNG"), (others, ""))
    return notes + [f"{folder}: {_counts(some)}{remedy}" for some, remedy in remedies if some]


def _counts(kinds: Counter[str]) -> str:
    counts = ", ".join(f"{count} {shown(suffix)}" for suffix, count in kinds.most_common())
    return f"{counted(kinds.total(), 'file')} of kinds that are not read: {counts}"


def _unread_suffix(name: str) -> str:
    is_known = name.startswith(".") or name.lower().endswith(ARCHIVE_SUFFIXES)
    suffix = "" if is_known else os.path.splitext(name)[1].lower()  # noqa: PTH122
    return "" if suffix in _OTHER_SUFFIXES or suffix.startswith(".orig") else suffix
