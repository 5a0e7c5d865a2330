"""The pool: what there is to choose from, and what is known of it.

K: classes. C: features of an image. M: images of the training set. N: images of the pool.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from active_learning.sampling.certainty import MODES
from active_learning.sampling.pool_record import ObjectRecord, PoolRecord

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """What there is to choose from, and what is known of it.

    Attributes:
        names: of the images, sorted.
        records: of each of them; empty for a strategy that needs no forward passes.
        mode: mean, min or max of an image's objects.
        count: how many are wanted; with a budget, about so many.
        rng: the source of random choices.
        training_features: (M, C), for strategies that need them.
        class_counts: (K,) objects of each class in the training set, for strategies that need them.
        costs: objects that each image is expected to hold, for a budget of objects.
        budget: images are chosen until their costs come to it; None: `count` of them.
        loop, loops: the images are chosen after this loop, counted from 0, of so many that choose.
        held_back: names of the order that were passed over; who follows an order adds to it on the way, as what is not
            taken does not count for what comes next.
    """

    names: Sequence[str]
    records: Mapping[str, PoolRecord]
    mode: str
    count: int
    rng: random.Random
    training_features: npt.NDArray[np.float32] | None = None
    class_counts: Sequence[int] = ()
    loop: int = 0
    loops: int = 1
    costs: Mapping[str, float] = field(default_factory=dict)
    budget: float | None = None
    held_back: set[str] = field(default_factory=set)

    @property
    def features(self) -> npt.NDArray[np.float64]:
        """(N, C)"""
        return np.stack([self.records[name].features for name in self.names]).astype(np.float64)

    @property
    def features_taken(self) -> npt.NDArray[np.float64]:
        """(M, C); M is 0 where there is no training set to compare with."""
        if self.training_features is None:
            return self.features[:0]
        return self.training_features.astype(np.float64)

    @property
    def shuffled(self) -> list[str]:
        """The names in an order of chance, for equal images: names follow the camera through the field. It is the same
        at each call, and leaves the other random choices as they are."""
        return copy.copy(self.rng).sample(self.names, len(self.names))

    def by_value(self, value: Callable[[PoolRecord], float]) -> list[str]:
        """The lowest first; chance orders equal ones."""
        return sorted(self.shuffled, key=lambda name: value(self.records[name]))

    def by_objects(self, value: Callable[[ObjectRecord], float]) -> list[str]:
        """As by_value, an image's value being the mode of its objects'. Images where nothing was detected come first:
        they are only here with images_without_detections: choose."""
        mode = MODES[self.mode]
        return self.by_value(
            lambda record: mode([value(one) for one in record.objects]) if record.objects else -math.inf
        )

    def by_certainty(self) -> list[str]:
        """As by_value; 0 where nothing was detected, which is only here with images_without_detections: choose."""
        return self.by_value(certainty)


def certainty(record: PoolRecord) -> float:
    """0 where nothing was detected, so that such an image counts as least certain."""
    return 0.0 if math.isnan(record.value) else record.value
