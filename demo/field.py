"""What heads grow on and among: soil with stones and straw, leaves, and the canvas that things are laid on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from demo.heads import Sprite
from demo.texture import Field, bumps, fractal_noise, grain, lit, mix, soft_step, tinted

LEAF_SHAPE = (112, 240)  # height and width of a leaf sprite; it grows from the left edge to the right
LEAF_KINDS = 10
SOIL_COLORS = ((0.46, 0.36, 0.27), (0.40, 0.33, 0.27), (0.52, 0.42, 0.31), (0.36, 0.29, 0.23))


@dataclass
class Canvas:
    """The picture so far, (H, W, 3) in 0..1, and the light's direction (x right, y down, z up)."""

    picture: np.ndarray
    light: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.picture.shape[0], self.picture.shape[1]

    def lay(self, sprite: Sprite, placing: np.ndarray, lift: float) -> np.ndarray:
        """Lay a sprite on top through a 2x3 matrix, with the shadow of a thing `lift` pixels high.

        Returns its cover as a bool (H, W) array.
        """
        x0, y0, x1, y1 = self._window(sprite, placing, margin=lift)
        cover = np.zeros(self.size, bool)
        if x0 >= x1 or y0 >= y1:
            return cover
        moved = placing - np.array([[0, 0, x0], [0, 0, y0]])
        shape = (x1 - x0, y1 - y0)
        alpha = cv2.warpAffine(sprite.alpha, moved, shape)
        paint = cv2.warpAffine(sprite.picture, moved, shape, borderMode=cv2.BORDER_REPLICATE)
        under = self.picture[y0:y1, x0:x1]
        under *= (1 - 0.55 * self._shadow(alpha, lift))[..., None]
        under += alpha[..., None] * (paint - under)
        cover[y0:y1, x0:x1] = alpha > 0.5
        return cover

    def _shadow(self, alpha: Field, lift: float) -> Field:
        """The cover, moved away from the light and blurred; worked out at half size, it is soft anyway."""
        height, width = alpha.shape
        small = cv2.resize(alpha, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
        away = -lift * self.light[:2] / max(self.light[2], 0.3) / 2
        moved = cv2.warpAffine(small, np.array([[1, 0, away[0]], [0, 1, away[1]]]), small.shape[::-1])
        return cv2.resize(cv2.GaussianBlur(moved, (0, 0), max(1.0, lift / 4)), (width, height))

    def _window(self, sprite: Sprite, placing: np.ndarray, margin: float) -> tuple[int, int, int, int]:
        height, width = sprite.alpha.shape
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ placing.T
        low, high = np.floor(corners.min(0) - 1.5 * margin), np.ceil(corners.max(0) + 1.5 * margin)
        limit_y, limit_x = self.size
        return max(0, int(low[0])), max(0, int(low[1])), min(limit_x, int(high[0])), min(limit_y, int(high[1]))


def soil(rng: np.random.Generator, height: int, width: int, light: np.ndarray) -> Canvas:
    """Bare ground, (height, width), with clods, stones and straw."""
    clods = fractal_noise(rng, height, width, 70, 6)
    crumbs = np.abs(fractal_noise(rng, height, width, 16, 3))
    relief = 9 * clods - 5 * crumbs + 0.5 * grain(rng, height, width)
    tone = 1 + 0.16 * fractal_noise(rng, height, width, 120, 2)
    color = np.asarray(SOIL_COLORS[rng.integers(len(SOIL_COLORS))]) * rng.uniform(0.9, 1.1)
    canvas = Canvas(tinted(lit(relief, light, ambient=0.3) * tone, tuple(color)), light)
    for _ in range(rng.integers(6, 20)):
        _stone(rng, canvas)
    for _ in range(rng.integers(0, 9)):
        _straw(rng, canvas)
    return canvas


def _stone(rng: np.random.Generator, canvas: Canvas) -> None:
    radius = float(np.clip(rng.lognormal(1.7, 0.5), 3, 18))
    size = 2 * int(radius * 1.5) + 3
    ys, xs = np.mgrid[:size, :size].astype(np.float32) - size / 2
    away = np.hypot(xs, ys * rng.uniform(1.0, 1.6)) / radius + 0.25 * fractal_noise(rng, size, size, radius, 2)
    shade = lit(radius * 0.6 * bumps(np.clip(away, 0, None), 1.15), canvas.light, ambient=0.3)
    shade *= 1 + 0.12 * fractal_noise(rng, size, size, 3, 2)
    color = np.array([0.58, 0.52, 0.46]) * rng.uniform(0.75, 1.2) + rng.uniform(-0.03, 0.03, 3)
    sprite = Sprite(tinted(shade, tuple(color)), soft_step(-away, -1.0, 2.5 / radius).astype(np.float32))
    canvas.lay(sprite, placing(rng, sprite, anywhere(rng, canvas), 1.0), lift=0.35 * radius)


def _straw(rng: np.random.Generator, canvas: Canvas) -> None:
    length = rng.uniform(15, 60)
    x, y = anywhere(rng, canvas)
    angle = rng.uniform(0, np.pi)
    end = (x + length * np.cos(angle), y + length * np.sin(angle))
    color = np.array([0.72, 0.62, 0.42]) * rng.uniform(0.7, 1.1)
    ends = [(round(px * 16), round(py * 16)) for px, py in ((x, y), end)]
    cv2.line(canvas.picture, ends[0], ends[1], tuple(float(c) for c in color), int(rng.integers(1, 4)), 16, shift=4)


def anywhere(rng: np.random.Generator, canvas: Canvas) -> tuple[float, float]:
    """A random place (x, y) on the canvas."""
    height, width = canvas.size
    return rng.uniform(0, width), rng.uniform(0, height)


def placing(rng: np.random.Generator, sprite: Sprite, middle: tuple[float, float], scale: float) -> np.ndarray:
    """The 2x3 matrix that lays a sprite's middle on `middle`, at a random turn."""
    height, width = sprite.alpha.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), scale)
    matrix[:, 2] += [middle[0] - width / 2, middle[1] - height / 2]
    return matrix


def leaf_placing(stem: tuple[float, float], angle: float, length: float, width: float) -> np.ndarray:
    """The 2x3 matrix that lays a leaf with its stem at `stem` (x, y), pointing to `angle` (radians)."""
    height_px, width_px = LEAF_SHAPE
    along = length / width_px * np.array([np.cos(angle), np.sin(angle)])
    across = width / height_px * np.array([-np.sin(angle), np.cos(angle)])
    matrix = np.stack([along, across, np.zeros(2)], axis=1)
    matrix[:, 2] = np.asarray(stem) - across * height_px / 2
    return matrix


def leaf(rng: np.random.Generator) -> Sprite:
    """A leaf of a random kind in its own tint."""
    kind = _leaf_kind(int(rng.integers(LEAF_KINDS)))
    tint = rng.uniform(0.8, 1.12) * rng.uniform([0.9, 0.96, 0.88], [1.1, 1.04, 1.12])
    return Sprite(kind.picture * tint.astype(np.float32), kind.alpha)


@lru_cache(maxsize=LEAF_KINDS)
def _leaf_kind(number: int) -> Sprite:
    """One of a few leaves, the same in every run: blue-green, wavy-edged, a pale midrib with veins to the edges."""
    rng = np.random.default_rng([20, number])
    height, width = LEAF_SHAPE
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    along = xs / width
    bend = rng.uniform(-0.16, 0.16) * np.sin(np.pi * along) * height
    across = (ys - height / 2 - bend) / (height / 2)
    wave = 0.10 * fractal_noise(rng, height, width, 26, 3)
    stalk = 0.045 * (along < 0.3)
    blade = 0.78 * np.sin(np.pi * np.clip(along * 1.12 - 0.13, 0, 1) ** 0.85) ** 0.75
    edge = np.maximum(stalk, blade + wave * (blade > 0.1))
    rib, veins = _veins(along, across, float(rng.uniform(5, 8)))
    relief = 5 * fractal_noise(rng, height, width, 40, 4) - 9 * np.abs(across) - 1.2 * veins + 2.0 * rib
    shade = lit(relief, np.array([-0.4, -0.45, 0.8]), ambient=0.5)
    picture = mix(tinted(shade, (0.42, 0.53, 0.38)), tinted(shade, (0.62, 0.70, 0.53)), 0.55 * veins)
    picture = mix(picture, tinted(shade, (0.70, 0.77, 0.64)), 0.8 * rib)
    alpha = soft_step(edge - np.abs(across), 0.0, 0.04)
    alpha *= soft_step(along, 0.01, 0.01) * soft_step(-along, -0.985, 0.02)
    return Sprite(picture.astype(np.float32), alpha.astype(np.float32))


def _veins(along: Field, across: Field, count: float) -> tuple[Field, Field]:
    """Strength 0..1 of the midrib and of the side veins that leave it slanting forward."""
    rib = np.exp(-((across / (0.055 * (1.15 - along))) ** 2))
    phase = (along - 0.28 * np.abs(across)) * count + 0.25 * (across > 0)
    veins = np.exp(-(((phase % 1.0) - 0.5) ** 2) / 0.006) * np.clip(1.1 - np.abs(across), 0, 1)
    return rib.astype(np.float32), veins.astype(np.float32)
