"""Wrappers around data sets: serialised lists, mapped data sets, streams and batches of like aspect ratio."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch.utils.data as torchdata

from detectron2.utils.serialize import PicklableWrapper

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)

_PATIENCE = 3


class _MapIterableDataset(torchdata.IterableDataset):
    """A stream mapped item by item; items that become None are left out."""

    def __init__(self, dataset: Iterable[Any], map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return (mapped for mapped in map(self._map_func, self._dataset) if mapped is not None)


class MapDataset(torchdata.Dataset):
    """A data set whose items go through `map_func`.

    Where `map_func` returns None, another item chosen at random takes the place (in a stream: the item is left out).
    """

    def __new__(cls, dataset: Any, map_func: Callable[[Any], Any]) -> Any:
        if isinstance(dataset, torchdata.IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[Any, Any]:
        return self._dataset, self._map_func

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)
        self._rng = random.Random(42)
        self._candidates: set[int] | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        failures = 0
        while (item := self._map_func(self._dataset[index])) is None:
            failures += 1
            index = self._other_index(index, failures)
        return item

    def _other_index(self, index: int, failures: int) -> int:
        if failures >= _PATIENCE:
            logger.warning("the map function gave nothing for %d items in a row, the last is %d", failures, index)
        if self._candidates is None:
            self._candidates = set(range(len(self)))
        self._candidates.discard(index)
        if not self._candidates:
            raise RuntimeError("the map function gave nothing for every item of the data set")
        return self._rng.choice(tuple(self._candidates))


class DatasetFromList(torchdata.Dataset):
    """A list as a data set.

    Serialised, the list is one block of bytes: worker processes share it instead of each copying it object by object
    (reference counts touch every object), and whoever gets an item may change it.
    """

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True) -> None:
        """
        Args:
            lst: the items.
            copy: hand out deep copies (an unserialised list only; a serialised one always makes new objects).
            serialize: keep the items pickled.
        """
        self._copy = copy
        self._serialize = serialize
        self._items: Sequence[Any] = () if serialize else lst
        if serialize:
            pickled = [pickle.dumps(item, protocol=-1) for item in lst]
            self._ends = np.cumsum([len(data) for data in pickled], dtype=np.int64)
            self._bytes = np.frombuffer(b"".join(pickled), dtype=np.uint8)
            logger.info("The serialized dataset takes %.2f MiB", len(self._bytes) / 2**20)

    def __len__(self) -> int:
        return len(self._ends) if self._serialize else len(self._items)

    def __getitem__(self, index: int) -> Any:
        if not self._serialize:
            return copy.deepcopy(self._items[index]) if self._copy else self._items[index]
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return pickle.loads(self._bytes[start : self._ends[index]].data)


class ToIterableDataset(torchdata.IterableDataset):
    """A map-style data set read in the order of an (often endless) sampler."""

    def __init__(self, dataset: torchdata.Dataset, sampler: Iterable[int], shard_sampler: bool = True) -> None:
        """
        Args:
            shard_sampler: each of n worker processes takes every n-th index. Needed unless the sampler itself
                differs between workers, which all run it with the same seed.
        """
        if isinstance(dataset, torchdata.IterableDataset):
            raise TypeError("ToIterableDataset needs a data set that can be indexed")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        indices: Iterable[int] = self.sampler
        worker = torchdata.get_worker_info() if self.shard_sampler else None
        if worker is not None:
            indices = itertools.islice(indices, worker.id, None, worker.num_workers)
        return (self.dataset[index] for index in indices)


class AspectRatioGroupedDataset(torchdata.IterableDataset):
    """Batches a stream of dicts with "width" and "height" so that a batch is all landscape or all portrait.

    Images of a batch are padded to a common size, and like shapes waste little. Yields lists of `batch_size` dicts.
    """

    def __init__(self, dataset: Iterable[dict], batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._waiting: dict[bool, list[dict]] = {True: [], False: []}

    def __iter__(self) -> Iterator[list[dict]]:
        for item in self.dataset:
            group = self._waiting[item["width"] > item["height"]]
            group.append(item)
            if len(group) == self.batch_size:
                batch = group[:]
                # Emptied before yielding: what is read after a break must not get this batch again.
                group.clear()
                yield batch
