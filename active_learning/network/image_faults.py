"""Faults of images in training and evaluation, which are reported with the image's name.

An exception of a worker process arrives as a text with its traceback. So a fault travels as a value in the place of
the image, and is raised where its batch is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from active_learning.errors import MaskALError, UnreadableImageError, first_line
from active_learning.network.model_input import TileInputs, is_tiled
from active_learning.system.disk_space import disk_failure
from active_learning.system.progress import progress
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.data.detection_utils import check_image_size
from detectron2.utils import comm

FAULT = "fault"  # the key of a record whose image cannot be used


class FaultKeepingMapper:
    """A `DatasetMapper` that adds the fault to the record where the image, or an annotation of it, cannot be used."""

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        self._map: Callable[[dict[str, Any]], dict[str, Any]] = (
            TileMapper(cfg) if is_tiled(cfg) and not is_train else DatasetMapper(cfg, is_train)
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._map(record)
        except Exception as error:  # noqa: BLE001 (decoders raise what they like; all of it is reported)
            return {**record, FAULT: _fault(str(record["file_name"]), error)}


class TileMapper:
    """Adds the tiles of a large image to its record: `TileInputs`, in the place of pixels."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Raises as `DatasetMapper`."""
        inputs = TileInputs(Path(record["file_name"]), self.cfg)
        check_image_size(dict(record), np.empty((inputs.height, inputs.width, 0)))
        return {key: value for key, value in record.items() if key != "annotations"} | inputs.content()


def _fault(image: str, error: Exception) -> str:
    if isinstance(error, UnreadableImageError):  # which names the remedy
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"{image}: is not there any more; put it back, or check that the drive is connected"
    if isinstance(error, MemoryError):
        return f"{image}: the machine's memory is too small for this image; use a smaller copy, or lower num_workers"
    if isinstance(error, OSError) and (failure := disk_failure(error)):
        return f"{image}: {failure}"
    reason = first_line(error).removeprefix(f"{image}: ")
    return f"{image}: {reason} ({type(error).__name__}); replace the image, or annotate it again"


class NamingLoader:
    """A loader of batches that raises the faults of their images, and knows which images the last batch holds.

    Attributes:
        images: of the batch at hand; empty while it is loaded.
    """

    def __init__(self, loader: Any, bar: str = "") -> None:
        """
        Args:
            loader: one of detectron2.data, with a FaultKeepingMapper.
            bar: what a progress bar over this process's share of the images is to call it; "" for none.
        """
        self._loader, self._bar = loader, bar
        self.images: list[str] = []

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Raises MaskALError, which names each image, at a batch with faults."""
        shown = bool(self._bar) and comm.is_main_process()
        for batch in progress(self._loader, what=self._bar, unit="image") if shown else self._loader:
            if faults := [record[FAULT] for record in batch if FAULT in record]:
                raise MaskALError("\n".join(dict.fromkeys(faults)))
            self.images = [Path(record["file_name"]).name for record in batch]
            yield batch
            self.images = []

    def state_dict(self) -> dict[str, Any]:
        """The place in the data, from which a training goes on."""
        state: dict[str, Any] = self._loader.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loader.load_state_dict(state)


def train_loader(cfg: CfgNode) -> NamingLoader:
    """Of the batches of cfg.DATASETS.TRAIN, without an end."""
    return NamingLoader(build_detection_train_loader(cfg, mapper=FaultKeepingMapper(cfg, is_train=True)))


def evaluation_loader(cfg: CfgNode, dataset: str, bar: str) -> NamingLoader:
    """Of the images of a registered data set, one at a time."""
    return NamingLoader(build_detection_test_loader(cfg, dataset, mapper=FaultKeepingMapper(cfg, is_train=False)), bar)
