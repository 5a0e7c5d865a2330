"""Batches whose members belong to one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch.utils.data import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Batches the indices of `sampler` so that all indices of a batch have the same group id.

    Follows the sampler's order as far as that allows; a batch comes as soon as its group has `batch_size` members.
    """

    def __init__(self, sampler: Sampler[int], group_ids: Sequence[int], batch_size: int) -> None:
        """`group_ids` holds the group of each index; a remainder smaller than a batch is not yielded."""
        if not isinstance(sampler, Sampler):
            raise TypeError(f"sampler must be a torch.utils.data.Sampler, not {type(sampler)}")
        self.sampler = sampler
        self.group_ids = [int(group) for group in group_ids]
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = defaultdict(list)
        for index in self.sampler:
            group = self.group_ids[index]
            waiting[group].append(index)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)

    def __len__(self) -> int:
        # A TypeError, so that list() takes it as "unknown".
        raise TypeError("the number of batches depends on the order of the groups")
