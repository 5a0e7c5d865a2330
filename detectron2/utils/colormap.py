"""Colours that people can tell apart, for drawing instances."""

from __future__ import annotations

import colorsys
import functools

import numpy as np

__all__ = ["colormap", "random_color", "random_colors"]

_COLORS = 72
# a third of the golden ratio's turn, so that neighbours in the table differ in hue and later ones fill the gaps
_HUE_STEP = 0.381966


@functools.cache
def _table() -> np.ndarray:
    """Nx3, RGB from 0 to 1: hues a golden angle apart, in three tones."""
    tones = [(0.85, 0.95), (0.55, 1.0), (0.95, 0.7)]
    rows = [colorsys.hsv_to_rgb(i * _HUE_STEP % 1.0, *tones[i // 8 % len(tones)]) for i in range(_COLORS)]
    return np.asarray(rows, dtype=np.float32)


def _check_maximum(maximum: int) -> None:
    if maximum not in (1, 255):
        raise ValueError(f"maximum of a colour is 1 or 255, got {maximum}")


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """Nx3 float32 colours from 0 to `maximum` (1 or 255), in BGR order unless `rgb`."""
    _check_maximum(maximum)
    colors = _table() * maximum
    return colors if rgb else colors[:, ::-1].copy()


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """One of the colours of `colormap`, drawn by numpy's global generator."""
    return colormap(rgb, maximum)[np.random.randint(_COLORS)]


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:
    """N colours of `colormap` in random order; all different up to the table's length."""
    order = np.random.permutation(_COLORS)
    colors = colormap(rgb, maximum)
    return [colors[order[i % _COLORS]] for i in range(N)]
