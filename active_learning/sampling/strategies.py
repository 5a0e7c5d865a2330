"""Which images of the pool to choose. A new strategy is one function and one line in STRATEGIES."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Rng = random.Random | np.random.Generator
Choose = Callable[[Mapping[str, float], int, Rng], list[str]]


@dataclass(frozen=True)
class Strategy:
    """`choose` takes the certainty of each image, how many to choose (at most all) and a source of chance."""

    choose: Choose
    needs_certainty: bool


def least_certain(values: Mapping[str, float], count: int, rng: Rng) -> list[str]:
    """The images on which the network disagrees most with itself; equal ones in order of name."""
    return sorted(values, key=lambda name: (values[name], name))[:count]


def most_certain(values: Mapping[str, float], count: int, rng: Rng) -> list[str]:
    return sorted(values, key=lambda name: (-values[name], name))[:count]


def drawn(values: Mapping[str, float], count: int, rng: Rng) -> list[str]:
    """By chance alone; the same for the same state of `rng`, whatever the order of `values`."""
    names = sorted(values)
    if isinstance(rng, random.Random):
        return rng.sample(names, count)
    return [names[index] for index in rng.permutation(len(names))[:count]]


STRATEGIES: dict[str, Strategy] = {
    "uncertainty": Strategy(least_certain, needs_certainty=True),
    "certainty": Strategy(most_certain, needs_certainty=True),
    "random": Strategy(drawn, needs_certainty=False),
}
NEEDS_CERTAINTY = frozenset(name for name, strategy in STRATEGIES.items() if strategy.needs_certainty)


def choose_images(
    strategy: str, values: Mapping[str, float], pool_size: int, *, rng: Rng, images_without_detections: str
) -> list[str]:
    """Names of at most `pool_size` images, first choice first.

    Args:
        values: certainty of each image of the pool, NaN where nothing was seen; `random` heeds the names alone.
        images_without_detections: `skip` leaves NaN images out, `choose` counts them as certainty 0.

    Raises:
        ValueError: unknown strategy or images_without_detections.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is not one of {', '.join(STRATEGIES)}")
    if images_without_detections not in ("skip", "choose"):
        raise ValueError(f"images_without_detections {images_without_detections!r} is not skip or choose")
    if strategy in NEEDS_CERTAINTY:
        values = _without_nan(values, images_without_detections)
    return STRATEGIES[strategy].choose(values, min(max(pool_size, 0), len(values)), rng)


def _without_nan(values: Mapping[str, float], images_without_detections: str) -> dict[str, float]:
    if images_without_detections == "choose":
        return {name: 0.0 if math.isnan(value) else value for name, value in values.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}
