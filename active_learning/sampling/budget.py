"""Budgets in objects: how many objects an image is expected to hold, before anybody has annotated it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from active_learning.sampling.pool_record import PoolRecord

LEAST = 1.0  # an image is work like an object at least, as a person must look through it


def expected_objects(names: Sequence[str], records: Mapping[str, PoolRecord], mean: float) -> dict[str, float]:
    """Of each image the sum of its objects' occurrences; where no pass detected anything, or none was made, `mean`.

    Args:
        mean: objects an image in the training set.
    """
    detected = {name: _occurrences(records[name]) if name in records else 0.0 for name in names}
    return {name: max(objects or mean, LEAST) for name, objects in detected.items()}


def images_for(budget: float, costs: Mapping[str, float]) -> int:
    """About how many images a budget is, by the mean of their costs."""
    return math.ceil(budget * len(costs) / math.fsum(costs.values())) if costs else 0


def _occurrences(record: PoolRecord) -> float:
    return math.fsum(one.occurrence for one in record.objects)
