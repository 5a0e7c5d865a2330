"""Images of a folder, found by the names that annotation files give them."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from active_learning.dataset.image_names import IMAGE_SUFFIXES, is_image, other_spellings
from active_learning.system.names import normalised

_SUFFIXES = IMAGE_SUFFIXES | {
    ".arw",
    ".avif",
    ".cr2",
    ".dng",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".nef",
}  # or converted
TOOL_FOLDERS = frozenset(["images", "Images", "img", "default"])  # tools put them before the names of images

_NOT_OF_IMAGES = TOOL_FOLDERS | {"ann", "annotations", "json", "labels", "xml"}


@dataclass(frozen=True)
class Match:
    """The images that a name may mean; `exact`: nothing but a tool's folders stands before it; `other_suffix`: they
    have another one than the name, as where an image was converted, or is gone and this is its namesake."""

    images: tuple[str, ...] = ()
    exact: bool = False
    other_suffix: bool = False


class ImageIndex:
    """Finds images by the end of their path, with or without suffix."""

    def __init__(self, root: Path, images: Iterable[str], files: Iterable[str] = ()) -> None:
        """`images` are names relative to the folder `root`, and so are `files`: of all kinds."""
        self._root = normalised(root.absolute().as_posix())
        self._by_tail: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._folders: set[str] = set()
        names = {file: normalised(posixpath.basename(file)) for file in files}
        unread = {file: name for file, name in names.items() if not is_image(name)}
        self._unread = {key: file for file, name in unread.items() for key in (_stem(name), name)}
        for image in images:
            parts = normalised(image).split("/")
            self._folders.update(parts[:-1])
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                self._by_tail[tail].append(image)
                self._by_stem[_stem(tail)].append(image)

    def find(self, named: str, place: str) -> Match:
        """The images that a name may mean.

        Args:
            named: a name or path; relative to `place`, to the root or any folder between, or of another machine. Its
                suffix may be missing or another, as in CVAT and V7.
            place: the folder of the annotation file, relative to the root; of several images the nearest are meant.
        """
        match = self._find(path := normalised(named).replace("\\", "/"), normalised(place))
        suffixes = {posixpath.splitext(image)[1].lower() for image in match.images}
        return replace(match, other_suffix=bool(suffixes) and _suffix(path) not in ("", *suffixes))

    def _find(self, path: str, place: str) -> Match:
        here = posixpath.normpath(posixpath.join(place, path))
        for table, key in self._tables(here):
            whole = [image for image in table.get(key, ()) if normalised(image).count("/") == key.count("/")]
            if whole:
                return Match(tuple(whole), exact=True)
        for tail in self._tails(path):
            for table, key in self._tables(tail):
                if key in table:
                    return _nearest(table[key], key, place)
        return Match()

    def find_first(self, names: Iterable[str], place: str) -> Match:
        """As `find`, of the first name that means some."""
        found = (self.find(name, place) for name in names)
        return next((match for match in found if match.images), Match())

    def find_by_end(self, path: str, place: str) -> Match:
        """The images at the longest end of a path, as the folders before it may be another machine's; else of the path
        as it was before it became a web address, or an upload of Label Studio."""
        paths = (PurePosixPath(one).parts for one in (path, *other_spellings(path)))
        ends = ("/".join(parts[start:]) for parts in paths for start in range(len(parts)))
        return replace(self.find_first(ends, place), exact=False)

    def is_shared(self, name: str) -> bool:
        """Whether several images have that name, with or without suffix."""
        return len(self._by_stem.get(_stem(normalised(name)), ())) > 1

    def unread(self, named: str) -> str:
        """The image of that name, with or without suffix, that is of a kind that is not read; "" for none."""
        return self._unread.get(posixpath.basename(normalised(named).replace("\\", "/")), "")

    def in_other_capitals(self, named: str) -> str:
        """The image of that name but for capitals, with or without suffix; "" for none, and where one has that name."""
        stem = _stem(posixpath.basename(normalised(named).replace("\\", "/")))
        return "" if stem in self._by_stem else self._folded.get(stem.casefold(), "")

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {stem.casefold(): images[0] for stem, images in self._by_stem.items() if "/" not in stem}

    def is_another(self, image: str, named: str, file: str, *, is_of_many: bool) -> bool:
        """Whether an annotation means another image of that name, which is gone: its path, or else the place of its
        file, or the name of a file of many (instances_train2017.json), is of a folder of images that this one is not
        in."""
        path = normalised(named).replace("\\", "/")
        if "/" not in path and is_of_many:
            folders = self._folders.intersection(words_of(file))
        else:
            parts = (path if "/" in path else normalised(file)).split("/")[:-1]
            folders = self._folders.intersection(_own_folders(parts)[-1:])
        return bool(folders) and folders.isdisjoint(PurePosixPath(normalised(image)).parent.parts)

    def _tables(self, path: str) -> Iterator[tuple[dict[str, list[str]], str]]:
        yield self._by_tail, path
        yield self._by_stem, path
        yield self._by_stem, _stem(path)

    def _tails(self, path: str) -> list[str]:
        """What the end of an image's path must be, the likeliest first: of a path of another machine the longest, as
        the names of the folders that it begins with mean nothing here."""
        if is_of_another_machine(path) or ".." in path.split("/"):
            parts = [part for part in path.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
            return ["/".join(parts[start:]) for start in range(len(parts))]
        path = posixpath.normpath(path)
        parts = path.split("/")
        heads = {count: "/".join(parts[:count]) for count in range(1, len(parts))}
        inside = [count for count, head in heads.items() if self._root.endswith(f"/{head}")]
        return [path, *("/".join(parts[count:]) for count in inside)]


def is_of_another_machine(path: str) -> bool:
    """Whether a path, with "/", begins at the root of a system."""
    return posixpath.isabs(path) or bool(PureWindowsPath(path).drive)


def words_of(file: str) -> list[str]:
    """Of a file's name: instances_val2017.json has val2017."""
    return re.split(r"[\W_]+", PurePosixPath(file).stem)


def _stem(path: str) -> str:
    """Without the suffix of an image: in plot_1.5m there is none."""
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in _SUFFIXES else path


def _suffix(path: str) -> str:
    """Of an image, else ""."""
    return path[len(_stem(path)) :].lower()


def _nearest(images: Sequence[str], tail: str, place: str) -> Match:
    """The images that share most folders with a place, of these the ones in folders of the same names (json/field_1 and
    photos/field_1), and of these the ones in the fewest folders, those of tools not counted: which of backup/1.png and
    data/images/1.png is meant, nobody can tell."""
    folders = PurePosixPath(place).parts
    ranks: dict[str, tuple[int, ...]] = {}
    for image in images:
        parts = PurePosixPath(normalised(image)).parent.parts
        shared = _equal_at_start(parts, folders)
        mirrored = _equal_at_start(*(_own_folders(rest[shared:])[::-1] for rest in (parts, folders)))
        own = sum(part not in TOOL_FOLDERS for part in parts[shared:])
        ranks[image] = (-shared, -mirrored, own, 0 if own else len(parts))
    best = min(ranks.values())
    found = tuple(image for image, rank in ranks.items() if rank == best)
    head = PurePosixPath(found[0]).parts[: -(tail.count("/") + 1)]
    return Match(found, exact=TOOL_FOLDERS.union(folders).issuperset(head))


def _equal_at_start(parts: Sequence[str], others: Sequence[str]) -> int:
    equal = [one == other for one, other in zip(parts, others, strict=False)]
    return equal.index(False) if False in equal else len(equal)


def _own_folders(parts: Iterable[str]) -> list[str]:
    """Of a path, without those of tools."""
    return [part for part in parts if part not in ("", ".", "..", *_NOT_OF_IMAGES)]
