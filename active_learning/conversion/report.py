"""What a conversion reports while it runs, and its counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from active_learning.annotations import Annotation
from active_learning.annotations.labels import unknown_label
from active_learning.system.wording import and_more, counted


class Report:
    """Writes warnings and errors at once, and counts what was converted."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line
        self._warnings = self._negatives = 0
        self._objects: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._empty: list[str] = []
        self.errors = self.images = 0

    def warn(self, text: str) -> None:
        self._warnings += 1
        self._write_line(f"warning: {text}")

    def fail(self, text: str) -> None:
        """A file, or an image of a file, is skipped."""
        self.errors += 1
        self._write_line(f"error: {text}")

    def leave_out(self, labels: Sequence[str]) -> None:
        """Objects of unknown labels are left out."""
        self._unknown.update(labels)

    def note_empty(self, image: str) -> None:
        """An image of an export has no object."""
        self._empty.append(image)

    def count(self, annotation: Annotation) -> None:
        """An image is written."""
        self.images += 1
        self._negatives += not annotation.instances
        self._objects.update(instance.label for instance in annotation.instances)

    def warn_of_labels(self, classes: Sequence[str]) -> None:
        """One warning a label that was left out."""
        for label, count in sorted(self._unknown.items()):
            self.warn(f"{unknown_label(label, classes)}: {counted(count, 'object')} left out")

    def report_empty_images(self, decision: str | None) -> None:
        """With their count; `decision` is what --empty-images says, None where it was not given."""
        if not self._empty or decision == "keep":
            return
        images = f"{counted(len(self._empty), 'image')} of the export without objects ({and_more(self._empty, 3)})"
        if decision is None:
            remedy = "if nobody has annotated them yet, remove what was written and convert with --empty-images leave"
            self.warn(f"{images}: kept as images without objects; {remedy} (keep: they hold none)")
        else:
            self._write_line(f"{images}: left out")

    def summary(self, classes: Sequence[str], without_annotation: int) -> str:
        """The counts, in lines."""
        each = ", ".join(f"{name} {self._objects[name]}" for name in classes)
        return "\n".join(
            [
                f"{counted(self.images, 'image')} converted, {self._negatives} of them without objects",
                f"{counted(self._objects.total(), 'object')}: {each}",
                f"{counted(without_annotation, 'image')} without an annotation",
                f"{counted(self._warnings, 'warning')}, {counted(self.errors, 'error')}",
            ]
        )
