"""The images of a run: the folders, what is annotated, and the lists and COCO files made of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.offers import offer_annotations
from active_learning.annotating.request import Predict, collect_last, is_handed_in, request_ahead, request_annotations
from active_learning.annotating.tool import KeptTool
from active_learning.annotations.coco import CocoImage
from active_learning.dataset.absence import absence, absence_error, is_reachable, is_there
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import (
    DatasetSummary,
    content_digest,
    good_annotations,
    write_coco_json,
    write_image_list,
)
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import FolderSnapshot, find_annotations, take_snapshot
from active_learning.dataset.image_names import spelled_as
from active_learning.dataset.whole_images import WholeImages
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.run.data_seen import DataSeen
from active_learning.run.lock import only_annotated_here
from active_learning.run.state import RunState
from active_learning.settings import Settings
from active_learning.system.files import is_same_place
from active_learning.system.log import logger
from active_learning.system.processes import run_on_all_ranks
from active_learning.system.saving import is_being_written
from active_learning.system.wording import counted

SPLITS = ("train", "val", "test")
MEASURED = ("val", "test")
POLL_SECONDS = 0.5
SECONDS_TO_COME_TO_REST = 60.0


class RunData:
    """The splits train, val and test of the settings; images are named by their path relative to their folder.

    A folder is walked when it is first asked for, and again after `refresh`: where a phase begins, and where a person
    has annotated. Annotations are kept from loop to loop, so that unchanged files cost a `stat` each.
    """

    def __init__(self, settings: Settings, seen: DataSeen | None = None) -> None:
        """`seen` is what an earlier loop saw of the folders; what has changed since is logged."""
        self.settings = settings
        self.seen = seen
        self._snapshots: dict[str, FolderSnapshot] = {}
        self._annotations: dict[str, AnnotationCache] = {}
        self._whole: dict[str, WholeImages] = {}
        self._logged: set[str] = set()
        self._tool = KeptTool(logger.info)
        self._held: dict[Path, ExitStack] = {}

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on; what is known of folders and annotations stays where they are the same."""
        self.settings = settings
        how = (settings.classes, settings.unknown_labels, settings.most_pixels)
        self._snapshots = {split: one for split, one in self._snapshots.items() if one.folder == self.folder(split)}
        self._annotations = {
            split: one
            for split, one in self._annotations.items()
            if (one.folder, one.classes, one.unknown_labels, one.most_pixels) == (self.folder(split), *how)
        }

    def refresh(self, *splits: str) -> None:
        """The folders of these splits, or of all, are walked again when they are next asked for."""
        for split in splits or tuple(self._snapshots):
            self._snapshots.pop(split, None)

    def folder(self, split: str) -> Path:
        return {"train": self.settings.traindir, "val": self.settings.valdir, "test": self.settings.testdir}[split]

    def walked(self, split: str) -> FolderSnapshot:
        """As `snapshot`, of a folder that may be empty.

        Raises:
            MaskALError: there is no such folder, or images that were there are gone with their drive.
        """
        if split not in self._snapshots:
            known = self.seen.images(split) if self.seen is not None else ()
            folder = self.folder(split)
            if known and not is_reachable(folder):
                raise absence_error(absence(folder, known, known))
            snapshot = take_snapshot(folder)
            known = tuple(spelled_as(known, snapshot.images).values())
            if found := absence(folder, sorted(set(known) - set(snapshot.images)), [*known, *snapshot.images]):
                raise absence_error(found)
            self._snapshots[split] = snapshot
        return self._snapshots[split]

    def snapshot(self, split: str) -> FolderSnapshot:
        """Raises MaskALError where the folder holds no image, or as `walked`."""
        snapshot = self.walked(split)
        if not snapshot.images:
            raise MaskALError(f"{self.folder(split)}: holds no image; put the images of {split}dir there")
        return snapshot

    def spell(self, state: RunState) -> None:
        """Has a state name its images as the folder does."""
        with suppress(MaskALError):  # which is said where the images are used
            state.spell_as(self.walked("train").images)

    def absence(self) -> str:
        """Which folder is gone with its drive, in words, as far as its images are known; "" for none."""
        for split, snapshot in self._snapshots.items():
            images = snapshot.images
            gone = [name for name in images if not is_there(self.folder(split) / name)]
            if found := absence(self.folder(split), gone, images):
                return found
        return ""

    def annotations(self, split: str) -> AnnotationCache:
        if split not in self._annotations:
            self._annotations[split] = annotation_cache(self.folder(split), self.settings)
        return self._annotations[split]

    def _whole_images(self, split: str) -> WholeImages:
        folder, most_pixels = self.folder(split), self.settings.most_pixels
        known = self._whole.get(split)
        if known is None or (known.folder, known.most_pixels) != (folder, most_pixels):
            known = self._whole[split] = WholeImages(folder, most_pixels)
        return known

    def images(self, split: str) -> list[str]:
        """Raises MaskALError where the folder holds no image."""
        return list(self.snapshot(split).images)

    def mean_objects(self) -> float:
        """Objects an image, of all images of the run's folders that are annotated; 0 where there are none."""
        found = [one for split in SPLITS for one in self.annotated(split, self.images(split)).values()]
        return sum(len(one.labels) for one in found) / len(found) if found else 0.0

    def count_objects(self, split: str, images: Sequence[str]) -> int:
        """In those of these images that are annotated."""
        return sum(len(one.labels) for one in self.annotated(split, images).values())

    def request_annotations(
        self,
        split: str,
        images: Sequence[str],
        *,
        wait: bool,
        predict: Predict | None = None,
        later: Sequence[str] = (),
        hold: bool = False,
        before_waiting: Callable[[], None] = lambda: None,
    ) -> float:
        """Returns when each image has an annotation beside it; see `request.request_annotations`.

        Args:
            later: images that have been put there by `request_ahead`.
            hold: the annotate folder stays this run's, for what `request_ahead` will put there.

        Returns:
            When a person confirmed, in seconds since 1970; 0 where nobody did.

        Raises:
            AnnotationsAwaited: some are missing, and `wait` is False; also where another run has the folder.
        """
        folder = AnnotateFolder(self.annotations(split), later)
        folder.await_annotations(self.present(split, images), self.snapshot(split))
        self.log_changes(split, images)
        if folder.awaited or folder.path.exists():
            # Nobody else's meanwhile: a file DONE, or a half-made copy, could be that of another run with this folder.
            with self._annotated_here(folder.folder, wait=wait and bool(folder.awaited), hold=hold) as is_ours:
                if is_ours:
                    present = self.present(split, images)
                    # Ours may be open on training images that lie ahead.
                    tool = self._tool if split == "train" else KeptTool(logger.info)
                    how: dict[str, Any] = {"tool": tool, "before_waiting": before_waiting}
                    request_annotations(folder, present, self.settings, wait=wait, predict=predict, **how)
                elif folder.awaited:
                    raise AnnotationsAwaited(
                        f"Another run has images annotated in {folder.path}, and this one needs "
                        f"{len(folder.awaited)}, too; start it again when the other is done"
                    )
            self.refresh()  # a person may have worked on all splits
            self._note_changes(split, images)  # what was annotated now is no news
        return folder.confirmation.given_at

    def request_ahead(self, images: Sequence[str], *, open_tool: bool, predict: Predict | None = None) -> bool:
        """Puts training images of the next loop into the annotate folder, which stays this run's, and returns.

        Returns:
            Whether some are to be annotated, and lie there.
        """
        folder = self._awaiting("train", images)
        if not folder.awaited:
            self.let_go()
            return False
        with self._annotated_here(folder.folder, wait=False, hold=True) as is_ours:
            if is_ours:
                request_ahead(folder, images, self.settings, self._tool if open_tool else None, predict=predict)
            else:
                logger.info("Another run has images annotated in %s: those of the next loop come later", folder.path)
        return is_ours

    def collect_last(self, split: str, images: Sequence[str], ahead: Sequence[str] = ()) -> str:
        """Collects what a person has annotated of the images `ahead`, and corrected of `images`, and asks for no more.

        Returns:
            What was collected and what is left in the annotate folder of the images `ahead`, in words; "" for nothing.
        """
        self._tool.end()
        path, collected = self.folder(split) / ANNOTATE, 0
        with self._annotated_here(path.parent, wait=False, hold=False) as is_ours:
            if is_ours and path.exists():
                collected = collect_last(self.annotations(split), self.present(split, images), ahead)
                self.refresh(split)
        left = sum(is_there(path / name) for name in ahead)
        if not collected and not left:
            return ""
        return f"{counted(collected, 'annotation')} collected, {counted(left, 'image')} left in {path}"

    def offer(self, split: str, images: Sequence[str]) -> list[str]:
        """Puts annotated images into the annotate folder for correction, unless it is another run's; see `offers`."""
        with self._annotated_here(self.folder(split), wait=False, hold=False) as is_ours:
            return offer_annotations(self.annotations(split), self.present(split, images)) if is_ours else []

    def is_awaited(self, split: str, images: Sequence[str], *, pre_labelled: bool) -> bool:
        """Whether a person is to be waited for: one of these images has no good annotation, here or in the annotate
        folder, or pre-labels are not confirmed."""
        folder = self._awaiting(split, images)
        return bool(folder.awaited) and not is_handed_in(folder, pre_labelled=pre_labelled)

    @contextmanager
    def _annotated_here(self, folder: Path, *, wait: bool, hold: bool) -> Iterator[bool]:
        """As `only_annotated_here`; with `hold` until `let_go`."""
        with ExitStack() as taken:
            is_held = any(is_same_place(folder, held) for held in self._held)
            is_ours = is_held or taken.enter_context(only_annotated_here(folder, wait=wait))
            yield is_ours
            if hold and is_ours and not is_held:
                self._held[folder] = taken.pop_all()

    def let_go(self) -> None:
        """Ends the annotation tool, and leaves the annotate folder to other runs."""
        self._tool.end()
        for held in self._held.values():
            held.close()
        self._held.clear()

    def last_saved(self, split: str, images: Sequence[str]) -> float:
        """When the newest annotation beside these images was saved, in seconds since 1970; 0 where there is none."""
        folder, there = self.folder(split), set(self.snapshot(split).images)
        names = [name for name in images if name in there]
        pairs, _ = find_annotations(folder, names, self.annotations(split), self.snapshot(split))
        times = [0.0]
        for path in pairs.values():
            with suppress(OSError):  # removed at this moment
                times.append(path.stat().st_mtime)
        return max(times)

    def log_changes(self, split: str, images: Sequence[str]) -> None:
        """Logs what appeared, changed or vanished since the last time, and, once, what is passed over.

        `images` are those that the run uses.
        """
        for note in self.snapshot(split).notes:
            if note not in self._logged:
                logger.warning("%s", note)
        self._logged.update(self.snapshot(split).notes)
        for line in self._note_changes(split, images):
            logger.info("%s", line)

    def _note_changes(self, split: str, images: Sequence[str]) -> list[str]:
        if self.seen is None:
            return []
        return self.seen.update(split, self.snapshot(split), self.annotations(split), images)

    def present(self, split: str, images: Sequence[str]) -> list[str]:
        """Those that are in their folder, and still are: the snapshot may be a moment old.

        Raises:
            MaskALError: not one is, or some are gone with their drive.
        """
        folder, there = self.folder(split), set(self.snapshot(split).images)
        present = [name for name in images if name in there and is_there(folder / name)]
        if not present:
            raise MaskALError(
                f"{folder}: none of the {len(images)} {split} images of the run is there any more, such as "
                f"{images[0]}; put them back, or check that the drive is connected"
            )
        if found := absence(folder, sorted(set(images) - set(present)), images):
            raise absence_error(found)
        return present

    def write(self, split: str, images: Sequence[str]) -> DatasetSummary:
        """Writes <split>.txt and <split>.json into dataroot.

        Where that fails while somebody writes in the folder, such as a copy of images that is not through, it is tried
        again when the folder is at rest.

        Raises:
            MaskALError: images have no good annotation, those to measure on hold no object, or one cannot be decoded,
                which would end hours of training.
        """
        end = time.monotonic() + SECONDS_TO_COME_TO_REST
        while True:
            try:
                return self._write(split, images)
            except MaskALError:
                if not is_being_written(self.folder(split)) or time.monotonic() > end:
                    raise
            time.sleep(POLL_SECONDS)
            self.refresh(split)

    def _write(self, split: str, images: Sequence[str]) -> DatasetSummary:
        if faults := self._whole_images(split).faults(images):
            raise MaskALError("\n".join(faults))
        write_image_list(self.settings.dataroot / f"{split}.txt", images)
        summary = write_coco_json(self.annotations(split), images, self.json(split), self.snapshot(split))
        if fault := without_object(split, self.folder(split), len(images), summary.objects):
            raise MaskALError(fault)
        return summary

    def leave_out_gone(self, split: str) -> None:
        """Writes them again where images that are measured on were taken away since."""
        names = [image["file_name"] for image in json.loads(self.json(split).read_text(encoding="utf-8"))["images"]]
        if not all(is_there(self.folder(split) / name) for name in names):
            self.refresh(split)
            self.log_changes(split, names)
            self.write(split, self.present(split, names))

    def lacks_annotations(self, split: str, images: Sequence[str]) -> bool:
        """Whether one of these images has no good annotation beside it."""
        return bool(self._awaiting(split, images).awaited)

    def _awaiting(self, split: str, images: Sequence[str]) -> AnnotateFolder:
        folder = AnnotateFolder(self.annotations(split))
        folder.await_annotations(images, self.snapshot(split))
        return folder

    def annotated(self, split: str, images: Sequence[str]) -> dict[str, CocoImage]:
        """What is annotated in these images, less those without a good annotation."""
        return good_annotations(self.annotations(split), images, self.snapshot(split))

    def json(self, split: str) -> Path:
        return self.settings.dataroot / f"{split}.json"

    def content_digest(self, split: str) -> str:
        """Of what `write` wrote last, and of its images: what is measured on them can be compared while it stays."""
        return content_digest(self.json(split), self.folder(split))

    def register(self, split: str) -> str:
        """Names the split in the engine's catalog; returns that name."""
        from active_learning.network.training import register_dataset

        name = f"maskal_{split}"
        run_on_all_ranks(register_dataset, name, self.json(split), self.folder(split), self.settings.classes)
        return name


def annotation_cache(folder: Path, settings: Settings) -> AnnotationCache:
    """Of an image folder, as the settings have it read."""
    return AnnotationCache(folder, settings.classes, settings.unknown_labels, settings.most_pixels)


def without_object(split: str, folder: Path, images: int, objects: Mapping[str, int]) -> str:
    """What is wrong with annotated images to measure on that hold no object; "" for nothing, and of training images."""
    if split not in MEASURED or any(objects.values()):
        return ""
    return (
        f"{folder}: its {counted(images, 'image')} hold no object of the classes ({', '.join(objects)}), and the mAP "
        f"is measured on objects; add images with some to {split}dir, or annotate those that are there"
    )
