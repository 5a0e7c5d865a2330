"""Colours that people can distinguish, for drawing instances."""

from __future__ import annotations

import colorsys

import numpy as np

_TONES = ((0.85, 0.95), (0.55, 1.0), (0.95, 0.7))
# A golden angle from hue to hue: neighbours in the table differ and later ones fill the gaps; three tones in turn.
_TABLE = np.array([colorsys.hsv_to_rgb(i * 0.381966 % 1.0, *_TONES[i // 8 % 3]) for i in range(80)], dtype=np.float32)


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """80x3 float32 colours from 0 to `maximum` (1 or 255), in BGR order unless `rgb`."""
    if maximum not in (1, 255):
        raise ValueError(f"maximum of a colour is 1 or 255, got {maximum}")
    return (_TABLE if rgb else _TABLE[:, ::-1]) * maximum


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """One of the colours of `colormap`, sampled by numpy's global generator."""
    return colormap(rgb, maximum)[np.random.randint(len(_TABLE))]
