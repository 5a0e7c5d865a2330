"""What a person has made in a folder that is to be pre-labelled, and is not read there.

Pre-labels would be taken for it: what `convert` makes of an export comes after a file that is beside the image already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from active_learning.annotations import read_leniently
from active_learning.annotations.annotation import Size
from active_learning.annotations.labels import refuse_loss_of_all
from active_learning.dataset.exported_images import may_hold
from active_learning.dataset.exports import Export, FolderAnnotations, find_exports, rename_and_convert
from active_learning.dataset.image_folder import FolderSnapshot, claimants
from active_learning.dataset.unconverted import describe_exports, describe_misnamed, describe_stray
from active_learning.errors import AnnotationError, ManyImagesError, UnreadableImageError
from active_learning.system.image_files import image_size
from active_learning.system.progress import progress


class PersonsWork:
    """Of the images of a folder. Pre-labels are of its `bare` images: where there is none, nothing is at stake."""

    def __init__(
        self, snapshot: FolderSnapshot, annotated: Mapping[str, Path], bare: Sequence[str], classes: Sequence[str]
    ) -> None:
        """
        Args:
            annotated: from image to the annotation beside it.
            bare: the images without one.
            classes: for the command that converts an export; none where they are not known.
        """
        self.snapshot = snapshot
        self.annotated = annotated
        self.bare = frozenset(bare)
        self.classes = classes

    def mistakes(self) -> Iterator[str]:
        """The files that may hold objects of bare images, with what makes annotations beside these of them."""
        if self.bare:
            yield from self._describe(self._at_stake)
            yield from (f"{text}; or move it away" for text in describe_misnamed(self._found))
            yield from (fault for image, fault in self.faults.items() if image in self._of_many)

    def warnings(self) -> Iterator[str]:
        """Of such files that cannot be converted, or are of no image here as far as is known."""
        if self.bare:
            # One that came later is of annotated images alone.
            yield from self._describe(one for one in self._found.exports if not (one in self._at_stake or one.later))
            yield from describe_stray(self._found)

    @cached_property
    def faults(self) -> dict[str, str]:
        """From images whose annotation cannot be read to the reason, with its remedy; any label will do."""
        found = {image: str(error) for image, error in self._errors.items()}
        for image in self._of_many:
            found[image] += f"; {rename_and_convert(self.annotated[image], image, self.classes)}"
        return found

    @cached_property
    def _errors(self) -> dict[str, AnnotationError]:
        files = progress(self.annotated.items(), what=f"reading {self.snapshot.folder}", unit="file")
        errors = {image: self._error(image, path) for image, path in files}
        return {image: error for image, error in errors.items() if error is not None}

    @cached_property
    def _of_many(self) -> set[str]:
        """The images whose name an export of many bears."""
        return {image for image, error in self._errors.items() if isinstance(error, ManyImagesError)}

    def _error(self, image: str, path: Path) -> AnnotationError | None:
        try:
            annotation = read_leniently(path, image=image, size=self._size(image), within=self.snapshot.folder)
            refuse_loss_of_all(annotation, path)
        except AnnotationError as error:
            return error
        return None

    def _size(self, image: str) -> Size | None:
        """None where the image cannot be read, which is not its annotation's fault."""
        try:
            return image_size(self.snapshot.folder / image)
        except UnreadableImageError:
            return None

    @cached_property
    def _found(self) -> FolderAnnotations:
        return find_exports(self.snapshot, annotated=self.annotated)

    @cached_property
    def _at_stake(self) -> tuple[Export, ...]:
        """Where nothing is annotated yet, all that can be converted, as at the start of a run."""
        owners = claimants(self.snapshot.images)
        waiting = (export for export in self._found.exports if not (export.remedy or export.later))
        return tuple(one for one in waiting if not self.annotated or may_hold(one.path, owners, self.bare))

    def _describe(self, exports: Iterable[Export]) -> Iterator[str]:
        return describe_exports(self.classes, self.snapshot.folder, replace(self._found, exports=tuple(exports)))
