"""Wrappers around data sets: serialised lists, mapped data sets, streams and batches of like aspect ratio."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch.utils.data as torchdata

from detectron2.utils.env import random_states_kept, seed_for_item
from detectron2.utils.serialize import PicklableWrapper

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)


class _MapIterableDataset(torchdata.IterableDataset):
    """A stream mapped item by item; items that become None are left out."""

    def __init__(self, dataset: Iterable[Any], map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return (mapped for mapped in map(self._map_func, self._dataset) if mapped is not None)

    def state_dict(self) -> dict[str, Any]:
        """The place in the stream, where the stream knows it; else {}."""
        return place_of(self._dataset)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._dataset.load_state_dict(state)  # type: ignore[attr-defined]


def place_of(stream: Any) -> dict[str, Any]:
    """The state of a stream that can go on elsewhere; {} of one that cannot."""
    return stream.state_dict() if hasattr(stream, "state_dict") else {}


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

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        item = self._map_func(self._dataset[index])
        return self._another_than(index) if item is None else item

    def _another_than(self, index: int) -> Any:
        # No memory of what failed before: an item must not depend on those that were read before it.
        for failures, other in enumerate(random.sample(range(len(self)), len(self)), start=1):
            if failures == 3:
                logger.warning("the map function gave nothing for %d items in a row, the first is %d", failures, index)
            if other != index and (item := self._map_func(self._dataset[other])) is not None:
                return item
        raise RuntimeError("the map function gave nothing for every item of the data set")


class DatasetFromList(torchdata.Dataset):
    """A list as a data set.

    Serialised, the list is one block of bytes: worker processes share it instead of each copying it object by object
    (reference counts touch every object), and whoever gets an item may change it.
    """

    def __init__(self, lst: Sequence[Any], copy: bool = True, serialize: bool = True) -> None:
        """`copy` hands out deep copies of an unserialised list's items; a serialised one always makes new objects."""
        self._copy, self._serialize = copy, serialize
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
    """A map-style data set read in the order of an (often endless) sampler.

    Once `begin` was called, the random numbers for an item depend on the seed and the item's position in the
    order only, so that reading can start anywhere, with any number of workers.
    """

    def __init__(
        self, dataset: Any, sampler: Iterable[int], shard_sampler: bool = True, shard_chunk_size: int = 1
    ) -> None:
        """
        Args:
            shard_sampler: each of n worker processes takes every n-th chunk of indices. Needed unless the sampler
                itself differs between workers, which all run it with the same seed.
            shard_chunk_size: indices in a chunk.
        """
        if isinstance(dataset, torchdata.IterableDataset):
            raise TypeError("ToIterableDataset needs a data set that can be indexed")
        self.dataset, self.sampler = dataset, sampler
        self.shard_sampler, self.shard_chunk_size = shard_sampler, shard_chunk_size
        self._start = 0
        self._seeds: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def begin(self, seeds: tuple[int, ...], start: int) -> None:
        """Start the next pass at position `start`; random numbers of an item depend on `seeds` and its position."""
        self._seeds, self._start = seeds, start

    def items_at(self, positions: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """(position, item) of some positions of the pass, in rising order."""
        wanted = set(positions)
        order = itertools.islice(enumerate(self.sampler), max(wanted, default=-1) + 1)
        return ((position, self._item(position, index)) for position, index in order if position in wanted)

    def __iter__(self) -> Iterator[Any]:
        order = itertools.islice(enumerate(self.sampler), self._start, None)
        worker = torchdata.get_worker_info() if self.shard_sampler else None
        return (
            self._item(position, index)
            for position, index in order
            if worker is None or (position - self._start) // self.shard_chunk_size % worker.num_workers == worker.id
        )

    def _item(self, position: int, index: int) -> Any:
        if not self._seeds:
            return self.dataset[index]
        # Without workers this is the process that trains, whose own generators must not depend on the images.
        with random_states_kept():
            seed_for_item(*self._seeds, position)
            return self.dataset[index]


class AspectRatioGroupedDataset(torchdata.IterableDataset):
    """Batches a stream of dicts with "width" and "height" so that a batch is all landscape or all portrait.

    Images of a batch are padded to a common size, and like shapes waste little. Yields lists of `batch_size` dicts.
    """

    def __init__(self, dataset: Iterable[dict], batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        # Portrait and landscape: each dict with its position in the stream.
        self._buckets: tuple[list[tuple[int, dict]], list[tuple[int, dict]]] = ([], [])
        self._to_reload: list[int] = []

    def _numbered(self) -> Iterator[tuple[int, dict]]:
        reload, self._to_reload = self._to_reload, []
        numbered_items = getattr(self.dataset, "numbered_items", None)
        if numbered_items is None:
            return enumerate(self.dataset)
        # What waited belongs to a pass of which the positions no longer count.
        for group in self._buckets:
            group.clear()
        return numbered_items(reload)

    def __iter__(self) -> Iterator[list[dict]]:
        for position, item in self._numbered():
            group = self._buckets[item["width"] > item["height"]]
            group.append((position, item))
            if len(group) == self.batch_size:
                batch = [item for _, item in group]
                # Emptied before yielding: what is read after a break must not get this batch again.
                group.clear()
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place in the stream, and which items of before it wait for their batch; {} where it cannot be known."""
        waiting = sorted(position for group in self._buckets for position, _ in group)
        place = place_of(self.dataset)
        return {**place, "waiting": self._to_reload or waiting} if place else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.dataset.load_state_dict(state)  # type: ignore[attr-defined]
        self._to_reload = list(state.get("waiting", []))
