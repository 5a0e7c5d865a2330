"""Compared images of a network that is right at a known rate, and of a person who is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from active_learning.label_check.comparison import Match
from active_learning.label_check.passes import ComparedImage

CLASSES = 3


def match(
    label: int = 0,
    probabilities: tuple[float, ...] = (0.95, 0.02, 0.01),
    iou: float = 0.9,
    number: int = 0,
    agreement: float = 0.93,
) -> Match:
    """Without probabilities nothing was detected."""
    seen = sum(probabilities) > 0
    values = np.array(probabilities) if seen else np.zeros(CLASSES)
    return Match(number, label, (5, 5, 25, 25), 400, values, 10 * seen, agreement * seen, iou * seen)


def missing(probabilities: tuple[float, ...] = (0.95, 0.02, 0.01)) -> Match:
    return Match(-1, -1, (40, 40, 60, 60), 400, np.array(probabilities), 10, 0.93, 0.0)


@pytest.fixture(scope="session")
def right_images() -> Callable[[int, str], list[ComparedImage]]:
    """right_images(count, split): nothing is wrong in them, and the network is as sure as it is right."""

    def make(count: int, split: str = "val") -> list[ComparedImage]:
        rng, images = np.random.default_rng(count), []
        for number in range(count):
            label, score = int(rng.integers(CLASSES)), float(rng.beta(8, 1))
            probabilities = np.full(CLASSES, (1 - score) / 4)
            probabilities[label] = score
            matches = [match(label, tuple(probabilities), float(rng.beta(18, 2)))]
            if rng.random() < 0.3:  # what it takes for an object, and doubts
                matches.append(missing((float(rng.uniform(0.05, 0.4)), 0.0, 0.0)))
            images.append(ComparedImage(split, f"{number:03d}.png", 100, 100, tuple(matches)))
        return images

    return make
