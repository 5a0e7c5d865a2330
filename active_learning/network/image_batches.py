"""The images of a folder as inputs of the network, decoded by worker processes, in batches of one shape.

Images of one shape need no padding, so that what is detected in one does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from active_learning.errors import MaskALError, first_line
from active_learning.network.prediction import read_input
from detectron2.config import CfgNode
from detectron2.data.worker_start import worker_start_method

WAITING_BATCHES = 4  # as many batches of images may wait for others of their shape, so that memory stays bounded


@dataclass(frozen=True)
class ImageInput:
    """An image's name and the model's input, as `read_input` gives it."""

    name: str
    content: dict[str, Any]


@dataclass(frozen=True)
class UnreadableImage:
    """An image's name, and why it cannot be read (file and reason)."""

    name: str
    fault: str

    @classmethod
    def of(cls, name: str, path: Path, error: Exception) -> UnreadableImage:
        """Errors of MaskAL name the file themselves."""
        ours = isinstance(error, MaskALError)
        return cls(name, str(error) if ours else f"{path}: {type(error).__name__}: {first_line(error)}")


def read_images(folder: Path, names: Sequence[str], cfg: CfgNode) -> Iterator[ImageInput | UnreadableImage]:
    """The images in that order, read by DATALOADER.NUM_WORKERS processes (0: by this one).

    Raises:
        MaskALError: a process was ended from outside, or the system lets no more files be opened.
    """
    workers = min(cfg.DATALOADER.NUM_WORKERS, len(names))
    processes: dict[str, Any] = {"num_workers": workers, "multiprocessing_context": worker_start_method(workers)}
    try:
        yield from DataLoader(_Images(folder, names, cfg), batch_size=None, **processes)
    except (OSError, RuntimeError) as error:  # of starting processes; what happens to them later is RuntimeError
        raise MaskALError(
            f"{folder}: images could not be loaded ({first_line(error)}); lower num_workers ({workers}). "
            "Start again: the run goes on"
        ) from error


class _Images(Dataset[ImageInput | UnreadableImage]):
    def __init__(self, folder: Path, names: Sequence[str], cfg: CfgNode) -> None:
        self.folder, self.names, self.cfg = folder, names, cfg

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ImageInput | UnreadableImage:
        name = self.names[index]
        try:
            return ImageInput(name, read_input(self.folder / name, self.cfg))
        except Exception as error:  # noqa: BLE001 (decoders raise what they like; all of it is reported)
            return UnreadableImage.of(name, self.folder / name, error)


def same_shape_batches(inputs: Iterable[ImageInput], size: int) -> Iterator[list[ImageInput]]:
    """Lists of up to `size` inputs whose images have one shape; each input once, in no particular order."""
    waiting: dict[tuple[int, ...], list[ImageInput]] = {}
    for one in inputs:
        shape = tuple(one.content["image"].shape)
        waiting.setdefault(shape, []).append(one)
        if len(waiting[shape]) == size:
            yield waiting.pop(shape)
        elif sum(map(len, waiting.values())) >= WAITING_BATCHES * size:
            yield waiting.pop(max(waiting, key=lambda key: len(waiting[key])))
    yield from waiting.values()
