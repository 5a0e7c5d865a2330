"""Random objects and random damage, for the tests of all formats."""

from __future__ import annotations

import random

import numpy as np

from active_learning.annotations import Instance, Part

JUNK = [
    None, True, -1, 0, 0.5, 1e308, 10**30, "x", "", [], {}, [[]], {"a": []}, "\ud800", float("nan"), {"x": 1, "y": 2},
]  # fmt: skip


def instance_of(seed: int, label: str = "healthy") -> Instance:
    """One to three star-shaped parts, some with a hole, some over the border of a 300x260 (width x height) image."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(rng.integers(1, 4)):
        centre, radius = rng.uniform(0, 260, 2), rng.uniform(25, 60)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 30)))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        outline = centre + radius * rng.uniform(0.6, 1, (len(ring), 1)) * ring
        circle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        hole = centre + radius / 4 * np.stack([np.cos(circle), np.sin(circle)], axis=1)
        parts.append(Part(outline, (hole,) if rng.random() < 0.4 else ()))
    return Instance(label, tuple(parts), score=0.5)


def damaged_value(rng: random.Random, value: object) -> object:
    """A json value with one thing in it replaced, dropped or doubled."""
    if isinstance(value, (list, dict)) and value and rng.random() < 0.87:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, copy = rng.choice(keys), value.copy()
        action = rng.random()
        if action < 0.1:
            del copy[key]
        elif action < 0.15 and isinstance(copy, list):
            copy.append(copy[key])
        else:
            copy[key] = damaged_value(rng, copy[key])
        return copy
    return rng.choice(JUNK)


def damaged_bytes(rng: random.Random, content: bytes, most: int = 5) -> bytes:
    """Some other bytes, and in one of three cases no end."""
    broken = bytearray(content[: rng.randint(0, len(content)) if rng.random() < 0.3 else None])
    for _ in range(rng.randint(1, most) if broken else 0):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)
