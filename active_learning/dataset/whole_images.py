"""Whether images can be decoded to their last pixel: their headers do not show what is cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from active_learning.system.image_ends import whole_fault
from active_learning.system.image_files import image_threads
from active_learning.system.progress import progress
from active_learning.system.saving import Signature, signature


class WholeImages:
    """Of one image folder: each image is decoded once while its size and time stay."""

    def __init__(self, folder: Path, most_pixels: int | None = None) -> None:
        self.folder = folder
        self.most_pixels = most_pixels
        self._whole: dict[str, Signature | None] = {}

    def faults(self, images: Iterable[str]) -> list[str]:
        """What is wrong with these images, a line each; empty where all can be decoded."""
        found = {name: signature(self.folder / name) for name in images}
        unknown = [name for name, now in found.items() if now is None or self._whole.get(name) != now]
        if not unknown:
            return []
        faults = dict(zip(unknown, self._decode(unknown), strict=True))
        self._whole |= {name: found[name] for name, fault in faults.items() if not fault}
        return [fault for fault in faults.values() if fault]

    def _decode(self, images: Sequence[str]) -> list[str]:
        """The fault of each."""
        with image_threads(self.most_pixels) as threads:
            faults = threads.map(lambda name: whole_fault(self.folder / name, self.most_pixels), images)
            return list(progress(faults, what=f"decoding {self.folder}", unit="image", total=len(images)))
