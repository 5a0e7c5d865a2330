"""The images of a run: the folders, what is annotated, and the lists and COCO files made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.request import Draw, have_annotated
from active_learning.dataset.coco import DatasetSummary, write_coco_json, write_image_list
from active_learning.dataset.image_folder import find_images
from active_learning.dataset.initial_images import copy_initial_train_dir, draw_initial_images
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.run.data_seen import DataMemory
from active_learning.run.lock import only_annotated_here
from active_learning.run.output_files import read_train_files
from active_learning.settings import Settings
from active_learning.system.log import logger
from active_learning.system.processes import run_on_all_ranks


class RunData:
    """The splits train, val and test of the settings; images are named by their path relative to their folder."""

    def __init__(self, settings: Settings, memory: DataMemory | None = None) -> None:
        """`memory` is what was seen of the folders; what has changed since is told in the log."""
        self.settings = settings
        self.memory = memory

    def folder(self, split: str) -> Path:
        return {"train": self.settings.traindir, "val": self.settings.valdir, "test": self.settings.testdir}[split]

    def images(self, split: str) -> list[str]:
        """Raises MaskALError where the folder holds no image."""
        images = find_images(self.folder(split))
        if not images:
            raise MaskALError(f"{self.folder(split)}: holds no image; put the images of {split}dir there")
        return images

    def initial_images(self, seed: int) -> list[str]:
        """The images that the run starts from: those of initial_train_dir, of an earlier run, or drawn at random."""
        settings = self.settings
        if settings.use_initial_train_dir:
            return copy_initial_train_dir(settings.initial_train_dir, settings.traindir)
        images = self.images("train")
        if settings.duplicate_initial_model_and_data and settings.initial_train_file:
            return self._images_of_earlier_run(settings.initial_train_file, images)
        return draw_initial_images(images, settings.initial_datasize, seed)

    def _images_of_earlier_run(self, source: Path, images: Sequence[str]) -> list[str]:
        names = read_train_files(source)
        absent = sorted(set(names) - set(images))
        if absent:
            raise MaskALError(
                f"{source}: {len(absent)} of its images are not in {self.settings.traindir}, "
                f"such as {absent[0]}; set traindir to the folder of that run"
            )
        return names

    def earlier_initial_model(self) -> Path:
        """best_model_000.pth of the run that initial_train_file belongs to.

        Raises:
            MaskALError: the file is not below resultsroot, or that run's model is not below weightsroot.
        """
        settings = self.settings
        source, results = Path(settings.initial_train_file or "").resolve(), settings.resultsroot.resolve()
        if not source.is_relative_to(results):
            raise MaskALError(f"initial_train_file: {source} is not below resultsroot ({results})")
        model = settings.weightsroot / source.parent.relative_to(results) / "best_model_000.pth"
        if not model.exists():
            raise MaskALError(f"initial_train_file: the initial model of that run is not there: {model}")
        return model

    def have_annotated(self, split: str, images: Sequence[str], *, wait: bool, draw: Draw | None = None) -> None:
        """Returns when each image has an annotation beside it; see `annotating.have_annotated`."""
        self.tell_changes(split, images)
        desk = AnnotateFolder(self.folder(split), self.settings.classes, self.settings.unknown_labels)
        desk.take_on(self.present(split, images))
        if desk.awaited or desk.path.exists():
            # Alone at the desk: a file DONE, or a half-made copy, could be that of another run with this folder.
            with only_annotated_here(desk.folder, wait=wait and bool(desk.awaited)) as is_ours:
                if is_ours:
                    have_annotated(desk, self.present(split, images), self.settings, wait=wait, draw=draw)
                elif desk.awaited:
                    raise AnnotationsAwaited(
                        f"Another run has images annotated in {desk.path}, and this one needs "
                        f"{len(desk.awaited)}, too; start it again when the other is done"
                    )
        if self.memory:
            self.memory.update(split, self.folder(split), images)  # what was annotated now is no news

    def tell_changes(self, split: str, images: Sequence[str]) -> None:
        """Tells what appeared, changed or vanished since the last time; `images` are those that the run uses."""
        if self.memory:
            for line in self.memory.update(split, self.folder(split), images):
                logger.info("%s", line)

    def present(self, split: str, images: Sequence[str]) -> list[str]:
        """Those that are still in their folder.

        Raises:
            MaskALError: not one is.
        """
        there = set(self.images(split))
        present = [name for name in images if name in there]
        if not present:
            raise MaskALError(
                f"{self.folder(split)}: none of the {len(images)} {split} images of the run is there any more, such as "
                f"{images[0]}; put them back, or look whether the drive is connected"
            )
        return present

    def write(self, split: str, images: Sequence[str]) -> DatasetSummary:
        """Writes <split>.txt and <split>.json into dataroot."""
        write_image_list(self.settings.dataroot / f"{split}.txt", images)
        return write_coco_json(
            self.folder(split),
            images,
            self.settings.classes,
            self.json(split),
            unknown_labels=self.settings.unknown_labels,
        )

    def json(self, split: str) -> Path:
        return self.settings.dataroot / f"{split}.json"

    def register(self, split: str) -> str:
        """Names the split in the engine's catalog; returns that name."""
        from active_learning.network.training import register_dataset

        name = f"maskal_{split}"
        run_on_all_ranks(register_dataset, name, self.json(split), self.folder(split), self.settings.classes)
        return name
