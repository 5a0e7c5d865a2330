"""A loader of training batches that can go on where another one stopped."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.utils.data as torchdata

from detectron2.data.common import ToIterableDataset
from detectron2.utils import comm


class ResumableLoader(torchdata.DataLoader):
    """A DataLoader over a stream of indexed items that knows its position and its random seed.

    Its state is this process's only. With another number of processes the stream is resumed at the same fraction.
    `position` is how many items of this process's share of the stream were given in this pass.
    """

    def __init__(
        self,
        stream: ToIterableDataset,
        batch_size: int | None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> None:
        """
        Args:
            stream: gets `begin` at each pass.
            batch_size: None gives single items.
            generator: the passes' seeds are sampled from it; None takes the global ones.
            options: DataLoader's. `persistent_workers` last for a pass: they learn its seed when they are started.
        """
        # With its own generator, starting a pass takes nothing from the global one but the seed.
        super().__init__(stream, batch_size=batch_size, generator=torch.Generator(), **options)
        self._seeds = generator
        self.position = 0
        self._seed: int | None = None
        self._resumed = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._seed is None or not self._resumed:
            self._seed, self.position = self._sample_seed(), 0
        self._resumed = False
        self.generator.manual_seed(self._seed)
        self.stream.begin((self._seed, comm.get_rank()), self.position)
        self._iterator = None  # workers that stayed have a copy of the stream as it was in the pass before
        return self._counted(super().__iter__())

    @property
    def stream(self) -> ToIterableDataset:
        assert isinstance(self.dataset, ToIterableDataset)
        return self.dataset

    def _sample_seed(self) -> int:
        if self._seeds is not None:
            return int(torch.randint(2**31, (), generator=self._seeds))
        # As without resuming: workers follow PyTorch's generator, transforms in this process follow numpy's.
        return int(torch.randint(2**31, ())) if self.num_workers else int(np.random.randint(2**31))

    def _counted(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self.position += self.batch_size or 1
            yield batch

    def numbered_items(self, first: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """(position, item) of a pass without batches; before it, once more, the items at the positions `first`."""
        items = iter(self)  # sets the position
        return itertools.chain(self.stream.items_at(first), enumerate(items, self.position))

    def state_dict(self) -> dict[str, Any]:
        """Seeds and position; {} before the first pass."""
        if self._seed is None:
            return {}
        state = {"seed": self._seed, "position": self.position, "world_size": comm.get_world_size()}
        sampler = self.stream.sampler
        return {**state, "sampler": sampler.state_dict()} if hasattr(sampler, "state_dict") else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next pass go on where the one of `state` stopped."""
        self._seed = state["seed"]
        self.position = state["position"] * state["world_size"] // comm.get_world_size()
        self._resumed = True
        load = getattr(self.stream.sampler, "load_state_dict", None)
        if load is not None and "sampler" in state:
            load(state["sampler"])
