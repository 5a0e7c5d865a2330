"""The annotate folder: where chosen images wait for a person's annotations.

No file that a person may have made is deleted or overwritten. All that is removed are copies of images that are still
equal to the original, once it is annotated, what MaskAL wrote itself and nobody changed, the file DONE, and empty
folders.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.annotating.confirmation import Confirmation
from active_learning.annotating.own_files import OwnFiles
from active_learning.annotations import mask_files_of
from active_learning.annotations.cvat_masks import MASKS
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import (
    FolderSnapshot,
    annotation_key,
    claimants,
    find_annotations,
    is_image,
    named_by_number,
)
from active_learning.dataset.image_names import check_image_name, normalised
from active_learning.errors import MaskALError
from active_learning.system.disk_space import check_space
from active_learning.system.file_moves import copy_beside, keep_aside, move_beside, remove_copy, remove_leftovers


@dataclass(frozen=True)
class Progress:
    """Which images have a good annotation, which have none, and the faults of the annotations of the others."""

    annotated: tuple[str, ...]
    missing: tuple[str, ...]
    faulty: dict[str, str]

    @property
    def complete(self) -> bool:
        return not self.missing and not self.faulty


class AnnotateFolder:
    """`<folder>/annotate`.

    An annotation counts when it parses and its labels are known. It may lie beside the image copy, elsewhere below the
    annotate folder, or beside the original image. A pre-label that nobody has changed gives way to any other file.

    Attributes:
        awaited: the images of `fill` that had no good annotation beside them.
    """

    def __init__(self, annotations: AnnotationCache) -> None:
        """`annotations` are those of the image folder."""
        self.folder = annotations.folder
        self.path = self.folder / ANNOTATE
        self._annotations = annotations
        self._images: tuple[str, ...] = ()
        self.awaited: tuple[str, ...] = ()
        self._good_files: dict[str, Path] = {}
        self.own_files = OwnFiles(self.path)
        self.confirmation = Confirmation(self.path)

    @property
    def has_pre_labels(self) -> bool:
        """Whether one of them was given a pre-label that nobody had changed when the folder was last searched."""
        files = (self._good_files[name] for name in self.awaited if name in self._good_files)
        return any(map(self.own_files.is_untouched, files))

    def await_annotations(self, images: Sequence[str], snapshot: FolderSnapshot | None = None) -> None:
        """Finds which of these images have no good annotation beside them: these are awaited. Changes no file.

        Args:
            snapshot: what the image folder holds; without it the folders of the images are listed.

        Raises:
            MaskALError: an image is not there.
        """
        self._images = tuple(dict.fromkeys(map(check_image_name, images)))
        absent = [name for name in self._images if not (self.folder / name).is_file()]
        if absent:
            raise MaskALError("\n".join(f"{self.folder / name}: there is no such image" for name in absent))
        self.awaited = ()
        there = set(self._progress(self._images, snapshot).annotated)
        self.awaited = tuple(name for name in self._images if name not in there)

    def fill(self, images: Sequence[str]) -> None:
        """Awaits annotations of these images, and copies those without a good one into the annotate folder.

        The annotate folder is searched for annotations of images that have no good one beside them, and only of these.

        Raises:
            MaskALError: an image is not there or cannot be copied, or the disk is too small for all copies.
        """
        self.await_annotations(images)
        progress = self.progress()
        copies = (*progress.missing, *progress.faulty)
        needed = sum((self.folder / name).stat().st_size for name in copies if not (self.path / name).exists())
        check_space(self.path, needed, "copies of the images to annotate", "have fewer images chosen (pool_size)")
        for name in copies:
            self._copy(name)

    def _copy(self, name: str) -> None:
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            copy_beside(self.folder / name, self.path / name)
        except OSError as error:
            raise MaskALError(f"{self.path / name}: the image cannot be copied there: {error}") from error

    def progress(self) -> Progress:
        """Where the images of `fill` stand; those that a person has taken away since are left out."""
        return self._progress(self._images)

    def _progress(self, all_images: Sequence[str], snapshot: FolderSnapshot | None = None) -> Progress:
        images = [name for name in all_images if (self.folder / name).is_file()]
        beside, doubtful = find_annotations(self.folder, images, self._annotations, snapshot)
        wanted = set(self.awaited)
        awaited = [name for name in images if name in wanted]
        cache = self._annotations
        found = search_annotate_folder(self.folder, awaited, cache.image_named_in, cache.classes)
        annotated, missing, faulty = [], [], {}
        for name in images:
            candidates = [*found.files.get(name, ()), *([beside[name]] if name in beside else [])]
            files = self.own_files.persons_first(candidates)
            faults = [self._annotations.fault(path, name) for path in files]
            good = [path for path, fault in zip(files, faults, strict=True) if not fault]
            faults += [unclear[name] for unclear in (found.faults, doubtful) if name in unclear]
            if good:
                self._good_files[name] = good[0]
                annotated.append(name)
            elif faults:
                faulty[name] = "\n".join(faults)
            else:
                missing.append(name)
        return Progress(tuple(annotated), tuple(missing), faulty)

    def wait(
        self, *, poll_seconds: float = 2.0, report: Callable[[str], None], watch: Callable[[], None] = lambda: None
    ) -> None:
        """Returns when all images of `fill` are annotated; sleeps between searches, after calling `watch`.

        `report` gets each fault of an annotation, once, as soon as its file was the same in two searches (it may be
        half written), and, where standard output is no terminal, the count whenever it changes.
        """
        count = _CountLine(len(self.awaited), report)
        reported: dict[str, str] = {}
        seen: dict[str, str] = {}
        pending: tuple[str, ...] = self.awaited
        try:
            while True:
                progress = self._progress(pending)
                rested = {name: fault for name, fault in progress.faulty.items() if seen.get(name) == fault}
                count.report([fault for name, fault in rested.items() if reported.get(name) != fault])
                # What is still faulty: a fault that comes back is reported again.
                reported = {name: fault for name, fault in reported.items() if name in progress.faulty} | rested
                seen = progress.faulty
                pending = (*progress.missing, *progress.faulty)
                count.show(len(self.awaited) - len(set(pending) & set(self.awaited)))
                if not pending:
                    whole = self.progress()  # one may have been taken away meanwhile
                    pending = (*whole.missing, *whole.faulty)
                    if whole.complete:
                        return
                watch()
                time.sleep(poll_seconds)
        finally:
            count.end()

    def collect(self) -> list[str]:
        """Moves the good annotations beside their images, byte for byte, and removes the copies of these images.

        The mask files of an annotation go first, into a folder Masks beside it: the annotation is whole at any time.
        What stands beside the image and differs is kept as `<file name>.orig`. Pre-labels that gave way to a person's
        file go, and so does DONE. All else in the annotate folder stays.

        Returns:
            The images whose annotations were moved.

        Raises:
            MaskALError: a file cannot be moved.
        """
        annotated = self.progress().annotated
        moves = {name: self._good_files[name] for name in annotated if self.path in self._good_files[name].parents}
        beside, _ = find_annotations(self.folder, moves, self._annotations)
        targets = self._targets(moves)
        try:
            for name, source in moves.items():
                if name in beside and beside[name] != targets[name]:
                    keep_aside(beside[name])
                self._move(source, targets[name])
            for name in annotated:
                remove_copy(self.path / name, self.folder / name)
            self.own_files.remove(annotated)
            self.confirmation.clear()
            remove_leftovers(self.path)
        except OSError as error:
            raise MaskALError(f"{self.path}: the annotations cannot be moved beside their images: {error}") from error
        return list(moves)

    def _move(self, source: Path, target: Path) -> None:
        masks = mask_files_of(source, within=self.folder)
        copies = {file: target.parent / MASKS / name for name, file in masks.items() if file is not None}
        for file, copy in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy_beside(file, copy)
        move_beside(source, target)
        for file, copy in copies.items():
            remove_copy(file, copy)

    def _targets(self, moves: dict[str, Path]) -> dict[str, Path]:
        """Under the file's own name; named after the image where that is a number, is not the image's stem, or is
        another image's too."""
        targets, owners = {}, {}
        for name, source in moves.items():
            parent = (self.folder / name).parent
            if parent not in owners:
                owners[parent] = claimants(entry for entry in os.listdir(parent) if is_image(entry))  # noqa: PTH208
            image = PurePosixPath(name)
            key = normalised(image.stem) if named_by_number(source.name) else annotation_key(source.name) or ""
            own = image.stem + source.suffix if named_by_number(source.name) else source.name
            alone = len(owners[parent].get(key, ())) <= 1 and key in (normalised(image.name), normalised(image.stem))
            targets[name] = parent / (own if alone else image.name + source.suffix)
        return targets


class _CountLine:
    """ "37 / 200 annotated": one line that is written over on a terminal, else a line at each change."""

    def __init__(self, total: int, log: Callable[[str], None]) -> None:
        self._total = total
        self._log = log
        self._live = sys.stdout.isatty()
        self._shown = ""

    def show(self, annotated: int) -> None:
        text = f"{annotated} / {self._total} annotated"
        if text == self._shown or not self._total:
            return
        self._shown = text
        if self._live:
            self._write(f"\r{text}")
        else:
            self._log(text)

    def report(self, faults: Iterable[str]) -> None:
        for fault in faults:
            if self._live and self._shown:
                self._write("\r" + " " * len(self._shown) + "\r")
                self._shown = ""
            self._log(fault)

    def end(self) -> None:
        if self._live and self._shown:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
