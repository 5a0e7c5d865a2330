"""Samplers that split one order of images over the processes of a distributed run."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import Sampler

from detectron2.utils import comm
from detectron2.utils.errors import InputError


class _EndlessSampler(Sampler[int]):
    """An endless order of indices, epoch after epoch, of which each process takes every world_size-th."""

    def __init__(self, shuffle: bool, seed: int | None) -> None:
        self._shuffle = shuffle
        # The order is the same in all processes, so they must agree on the seed.
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        raise NotImplementedError

    def _all_indices(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            indices = self._epoch(generator)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._all_indices(), self._rank, None, self._world_size)

    def state_dict(self) -> dict[str, Any]:
        """The seed: with it another sampler of the same images gives the same order."""
        return {"seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seed = int(state["seed"])


class TrainingSampler(_EndlessSampler):
    """Endless passes over all images, each pass in a new random order."""

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """Of `size` images; `seed` must be the same in all processes, None lets them agree on a random one."""
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler needs the number of images as an int, not {type(size)}")
        if size <= 0:
            raise InputError(f"TrainingSampler needs at least one image, not {size}")
        super().__init__(shuffle, seed)
        self._size = size

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        return torch.arange(self._size)


class RepeatFactorTrainingSampler(_EndlessSampler):
    """As TrainingSampler, but images with rare classes come more often (Gupta et al., "LVIS", 2019, section on
    repeat factor sampling)."""

    def __init__(self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None) -> None:
        """`repeat_factors`: how often each image comes in a pass; a fraction is the probability of one time more."""
        super().__init__(shuffle, seed)
        self._whole = repeat_factors.trunc()
        self._fraction = repeat_factors - self._whole

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """Repeat factor of each image: the largest of its classes' max(1, sqrt(threshold / f)).

        f is the fraction of images that have the class; images without objects get 1. Without `sqrt` no root is taken.
        """
        classes = [{annotation["category_id"] for annotation in d["annotations"]} for d in dataset_dicts]
        images_with = Counter(itertools.chain.from_iterable(classes))
        ratios = {c: max(1.0, repeat_thresh * len(dataset_dicts) / count) for c, count in images_with.items()}
        factor = {c: math.sqrt(ratio) if sqrt else ratio for c, ratio in ratios.items()}
        return torch.tensor([max((factor[c] for c in found), default=1.0) for found in classes], dtype=torch.float32)

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        extra = torch.rand(len(self._fraction), generator=generator) < self._fraction
        repeats = (self._whole + extra).long()
        return torch.repeat_interleave(torch.arange(len(repeats)), repeats)


class InferenceSampler(Sampler[int]):
    """Every image exactly once: process k takes the k-th of world_size contiguous parts, sizes equal within one."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise InputError(f"InferenceSampler cannot take {size} images")
        share, extra = divmod(size, comm.get_world_size())
        rank = comm.get_rank()
        begin = share * rank + min(rank, extra)
        self._local_indices = range(begin, begin + share + (rank < extra))

    def __iter__(self) -> Iterator[int]:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)
