"""The annotate folder: where chosen images wait for a person's annotations.

No file that a person may have made is deleted or overwritten. All that is removed are copies of images that are still
equal to the original, once it is annotated, what MaskAL wrote itself and nobody changed, the file DONE, and empty
folders.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.annotating.confirmation import Confirmation
from active_learning.annotating.corrections import Corrections, find_corrections
from active_learning.annotating.image_copies import fault_of_copy, renamed_copies
from active_learning.annotating.wait_report import AbsenceReport, Copies, CountLine, Faults
from active_learning.annotations import mask_files_of
from active_learning.annotations.coco import CocoImage
from active_learning.annotations.cvat_masks import MASKS
from active_learning.dataset.absence import absence, absent_images, is_there
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import (
    FolderSnapshot,
    annotation_key,
    claimants,
    find_annotations,
)
from active_learning.dataset.image_names import check_image_name, is_image, named_by_number
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system.disk_space import check_space, disk_failure
from active_learning.system.file_moves import (
    copy_beside,
    give_back_all,
    give_back_taken,
    move_beside,
    remove_copy,
    remove_leftovers,
    same_content,
)
from active_learning.system.names import normalised
from active_learning.system.own_files import OwnFiles


@dataclass(frozen=True)
class Progress:
    """Which images have a good annotation, which have none, the faults of the annotations of the others, and which
    images are gone with their drive (`absent_images`)."""

    annotated: tuple[str, ...]
    missing: tuple[str, ...]
    faulty: dict[str, str]
    absent: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.left

    @property
    def left(self) -> tuple[str, ...]:
        return (*self.missing, *self.faulty, *self.absent)


class AnnotateFolder:
    """`<folder>/annotate`.

    An annotation counts when it parses and its labels are known. It may lie beside the image copy, elsewhere below the
    annotate folder, or beside the original image. A pre-label that nobody has changed gives way to any other file.

    Attributes:
        awaited: the images of `fill` that had no good annotation beside them.
        later: images that lie there, too, to be annotated meanwhile: theirs stays, and DONE while nothing is awaited.
    """

    def __init__(self, annotations: AnnotationCache, later: Sequence[str] = ()) -> None:
        """`annotations` are those of the image folder."""
        self.folder = annotations.folder
        self.later = tuple(later)
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

    @property
    def annotation_files(self) -> list[str]:
        """Those of the awaited images, as they were found last."""
        return [str(self._good_files[name]) for name in self.awaited if name in self._good_files]

    def await_annotations(self, images: Sequence[str], snapshot: FolderSnapshot | None = None) -> None:
        """Finds which of these images have no good annotation beside them: these are awaited. Changes no file.

        Args:
            snapshot: what the image folder holds; without it the folders of the images are listed.

        Raises:
            MaskALError: an image is not there.
        """
        self._images = tuple(dict.fromkeys(map(check_image_name, images)))
        absent = [name for name in self._images if not is_there(self.folder / name)]
        if absent:
            raise MaskALError("\n".join(f"{self.folder / name}: there is no such image" for name in absent))
        self.await_rest(snapshot)

    def await_rest(self, snapshot: FolderSnapshot | None = None) -> None:
        """Awaits those that still have no good annotation beside them, such as one that was saved while it was
        collected; those that a person has taken away since are left out."""
        self.awaited = ()
        left = set(self._progress(self._images, snapshot).left)
        self.awaited = tuple(name for name in self._images if name in left)

    def fill(self, images: Sequence[str]) -> None:
        """Awaits annotations of these images, and copies those without a good one into the annotate folder.

        The annotate folder is searched for annotations of images that have no good one beside them, and only of these.

        Raises:
            MaskALError: an image is not there or cannot be copied, or the disk is too small for all copies.
        """
        give_back_all(self.path)
        self.await_annotations(images)
        progress = self.progress()
        # what is drawn on a turned copy would fit no more where the original takes its place
        renamed = renamed_copies(self.folder, progress.faulty)
        faulty = (name for name in progress.faulty if not (name in renamed or fault_of_copy(self.folder, name)))
        copies = (*progress.missing, *faulty)
        needed = sum((self.folder / name).stat().st_size for name in copies if not (self.path / name).exists())
        remedy = "annotate them beside the originals, or make `annotate` a link to a folder on another disk"
        check_space(self.path, needed, "copies of the images to annotate", remedy)
        for name in copies:
            self.copy_image(name)

    def copy_image(self, name: str) -> None:
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            copy_beside(self.folder / name, self.path / name)
        except OSError as error:
            reason = disk_failure(error) or error
            raise MaskALError(f"{self.path / name}: the image cannot be copied there: {reason}") from error

    def progress(self) -> Progress:
        """Where the images of `fill` stand; those that a person has taken away since are left out."""
        return self._progress(self._images)

    def absence(self) -> str:
        """Which folder is not there, in words, where images of `fill` are gone with their drive; "" for none."""
        return absence(self.folder, [name for name in self._images if not is_there(self.folder / name)], self._images)

    def _progress(self, all_images: Sequence[str], snapshot: FolderSnapshot | None = None) -> Progress:
        images = [name for name in all_images if is_there(self.folder / name)]
        gone = sorted(set(all_images) - set(images))
        beside, doubtful = find_annotations(self.folder, images, self._annotations, snapshot)
        wanted = set(self.awaited)
        awaited = [name for name in images if name in wanted]
        cache, own = self._annotations, self.own_files
        # a search for a few reads no file of the others again
        others = self._good_files.keys() - set(images)
        annotated = {*beside, *(name for name in others if not own.is_untouched(self._good_files[name]))}
        found = search_annotate_folder(
            self.folder, awaited, cache.image_named_in, cache.classes, annotated, own.is_untouched
        )
        good, missing, faulty = [], [], {}
        for name in images:
            found_here = found.files.get(name, ())
            candidates = [*found_here, *([beside[name]] if name in beside else [])]
            files = self.own_files.persons_first(candidates)
            usable, faults = self._look_at(files, name, in_annotate_folder=found_here)
            faults += [unclear[name] for unclear in (found.faults, doubtful) if name in unclear]
            if usable:
                # an export's file for an image that nobody has opened gives way to one with objects
                self._good_files[name] = min(usable, key=lambda path: usable[path].may_be_unopened)
            if usable and name not in found.outdated:
                good.append(name)
            elif faults:
                faulty[name] = "\n".join(faults)
            else:
                missing.append(name)
        renamed = renamed_copies(self.folder, missing)
        absent = absent_images(self.folder, gone, self._images)
        missing = [name for name in missing if name not in renamed]
        return Progress(tuple(good), tuple(missing), faulty | renamed, tuple(absent))

    def _look_at(
        self, files: Iterable[Path], image: str, *, in_annotate_folder: Collection[Path]
    ) -> tuple[dict[Path, CocoImage], list[str]]:
        """What the good ones of an image's files hold, and the faults of the others.

        Each is looked at once: at a second look a person's tool may be writing it.
        """
        usable, faults = {}, []
        for path in files:
            entry, fault = self._annotations.look(path, image)
            if not fault and path in in_annotate_folder:
                fault = fault_of_copy(self.folder, image)
            if fault or entry is None:
                faults.append(fault)
            else:
                usable[path] = entry
        return usable, faults

    def wait(
        self, *, poll_seconds: float = 2.0, report: Callable[[str], None], watch: Callable[[], None] = lambda: None
    ) -> None:
        """Returns when all images of `fill` are annotated; sleeps between searches, after calling `watch`.

        `report` gets each fault of an annotation, once, as soon as its file was the same in two searches (it may be
        half written), where standard output is no terminal the count whenever it changes, and a folder that is gone.
        """
        count = CountLine(len(self.awaited), report)
        faults, copies = Faults(), Copies(self.path)
        lookout = AbsenceReport(self.folder, self.absence, lambda text: count.report([text]))
        pending: tuple[str, ...] = self.awaited
        try:
            while True:
                if not lookout.sees_absence():
                    with lookout.forgiving():
                        progress = self._progress(pending)
                        count.report(faults.news(progress.faulty))
                        pending = progress.left
                        count.show(len(self.awaited) - len(set(pending) & set(self.awaited)))
                        pending = pending or self.progress().left  # one may have been taken away meanwhile
                        count.report(copies.news(pending))
                    if not pending:
                        return
                watch()
                time.sleep(poll_seconds)
        finally:
            count.end()

    def collect(self) -> list[str]:
        """Moves the good annotations beside their images, byte for byte, and removes the copies of these images.

        The mask files of an annotation go first, into a folder Masks beside it: the annotation is whole at any time.
        What stands beside the image and differs is kept as `<file name>.orig`. Pre-labels that gave way to a person's
        file go, and so does DONE. All else in the annotate folder stays, as does what is saved at this moment.

        Returns:
            The images whose annotations were moved.

        Raises:
            MaskALError: a file cannot be moved, or a mask has the name of one of another annotation.
        """
        annotated = self.progress().annotated
        found = {name: self._good_files[name] for name in annotated if self.path in self._good_files[name].parents}
        try:
            moved = self._move_beside(found)
            done = [name for name in annotated if name in moved or name not in found]
            for name in done:
                remove_copy(self.path / name, self.folder / name)
            self.own_files.remove(done)
            if len(done) == len(annotated) and (self.awaited or not self.later):
                self.confirmation.clear()
            remove_leftovers(self.path)
        except OSError as error:
            raise self._cannot_move(error) from error
        return moved

    def collect_touched(self) -> list[str]:
        """As `collect`, with those awaited images alone that a person has annotated or, if DONE is there, seen.

        Beside a fault, such as an export that nobody has converted, a pre-label may not be what a person has seen.
        """
        progress = self.progress()
        annotated = [name for name in progress.annotated if name in self.awaited]
        if progress.faulty or not self.confirmation.file_is_there:
            annotated = [name for name in annotated if not self.own_files.is_untouched(self._good_files[name])]
        self._images = self.awaited = tuple(annotated)
        return self.collect() if annotated else []

    def find_corrections(self) -> Corrections:
        """What `take_corrections` would move, and what it would not use. Changes no file."""
        images = [name for name in self._images if name not in set(self.awaited) and is_there(self.folder / name)]
        return find_corrections(self._annotations, self.own_files, images, self.later)

    def take_corrections(self) -> Corrections:
        """Moves what was saved in the annotate folder after its image was collected beside the image, too.

        What stood there is kept as `<file name>.orig`. Returns what was moved, and what is not used.

        Raises:
            MaskALError: a file cannot be moved.
        """
        try:
            found = self.find_corrections()
            moved = self._move_beside(found.files)
            for copy, original in found.copies.items():
                remove_copy(copy, original)
            remove_leftovers(self.path)
        except OSError as error:
            raise self._cannot_move(error) from error
        return Corrections({name: found.files[name] for name in moved}, unused=found.unused)

    def _cannot_move(self, error: OSError) -> MaskALError:
        reason = disk_failure(error) or error
        return MaskALError(f"{self.path}: the annotations cannot be moved beside their images: {reason}")

    def _move_beside(self, files: dict[str, Path]) -> list[str]:
        """Moves the annotation of each image beside it, but not those that have changed since they were read."""
        targets = self._targets(files)
        for place in {target.parent for target in targets.values()}:
            give_back_taken(place)
        beside, _ = find_annotations(self.folder, files, self._annotations)
        return [name for name, file in files.items() if self._move(file, targets[name], beside.get(name))]

    def _move(self, source: Path, target: Path, beside: Path | None) -> bool:
        try:
            masks = mask_files_of(source, within=self.folder)
        except AnnotationError:  # it is being saved
            return False
        copies = {file: target.parent / MASKS / name for name, file in masks.items() if file is not None}
        if None in masks.values():  # it was taken away since it was read
            return False
        _refuse_masks_of_others(source, copies, {source, target, beside}, self.folder)
        for file, copy in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            give_back_taken(copy.parent)
            copy_beside(file, copy)
        former = beside if beside != target else None
        is_ready = functools.partial(self._annotations.is_as_read, source)
        if not move_beside(source, target, is_ready=is_ready, former=former):
            return False
        for file, copy in copies.items():
            remove_copy(file, copy)
        return True

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


def _refuse_masks_of_others(
    source: Path, copies: Mapping[Path, Path], same_image: Collection[Path | None], folder: Path
) -> None:
    """Raises MaskALError where a mask would take the name of one that differs and belongs to another annotation.

    Args:
        copies: from the masks of the annotation `source` to where they are to lie.
        same_image: annotations of that image, whose masks may be replaced.
        folder: the image folder.
    """
    taken = {copy.resolve(): file for file, copy in copies.items() if copy.is_file() and not same_content(file, copy)}
    if not taken:
        return
    for other in sorted(folder.rglob("*")):
        if other.suffix.lower() != ".xml" or other in same_image or folder / ANNOTATE in other.parents:
            continue
        with suppress(AnnotationError):  # reported where it is read
            for mask in filter(None, mask_files_of(other, within=folder).values()):
                if file := taken.get(mask.resolve()):
                    reason = f"has the name of another mask, {mask}, which belongs to {other}; nothing was overwritten"
                    raise MaskALError(f"{file}: {reason}. Give it another name, in the <mask> of {source} as well")
