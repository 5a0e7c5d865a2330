"""Small pieces every drawn thing is made of: noise, bumps and light.

Heights and lengths are in canvas pixels, colours are RGB in 0..1, fields are float32 arrays of (H, W).
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

Field: TypeAlias = np.ndarray
Color: TypeAlias = tuple[float, float, float]


def fractal_noise(rng: np.random.Generator, height: int, width: int, coarsest: float, octaves: int) -> Field:
    """Noise of several octaves in about -1..1; `coarsest` is the size of its largest spots in pixels."""
    total = np.zeros((height, width), np.float32)
    amplitude, spot, weight = 1.0, coarsest, 0.0
    for _ in range(octaves):
        grid = (max(2, round(height / spot) + 1), max(2, round(width / spot) + 1))
        values = rng.uniform(-1, 1, grid).astype(np.float32)
        total += amplitude * cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
        weight += amplitude
        amplitude, spot = amplitude * 0.6, max(spot / 2, 1.0)
    return total * (1.6 / weight)


def grain(rng: np.random.Generator, height: int, width: int) -> Field:
    """Pixel noise of unit variance, slightly smoothed."""
    raw = rng.standard_normal((height, width), dtype=np.float32)
    return cv2.GaussianBlur(raw, (3, 3), 0.7) * 2.0


def nearest_points(points: np.ndarray, height: int, width: int) -> tuple[Field, np.ndarray]:
    """Distance of every pixel to its nearest point and that point's number; `points` is Nx2 (x, y)."""
    inside = np.clip(np.round(points).astype(int), 0, [width - 1, height - 1])
    free = np.full((height, width), 255, np.uint8)
    free[inside[:, 1], inside[:, 0]] = 0
    distance, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance, labels


def jittered_grid(rng: np.random.Generator, height: int, width: int, spacing: float) -> np.ndarray:
    """Points about `spacing` apart, without a visible grid: Nx2 (x, y)."""
    xs, ys = np.meshgrid(np.arange(0.0, width, spacing), np.arange(0.0, height, spacing * 0.87))
    xs[1::2] += spacing / 2
    points = np.stack([xs.ravel(), ys.ravel()], axis=1)
    return points + rng.uniform(-0.33, 0.33, points.shape) * spacing


def bumps(distance: Field, radius: Field | float) -> Field:
    """Half spheres of height 1 around the points that `distance` was measured from."""
    return np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1)).astype(np.float32)


def lit(height_field: Field, light: np.ndarray, ambient: float = 0.45) -> Field:
    """Brightness (about 0..1.3) of a surface under one light, `light` its unit direction (x right, y down, z up)."""
    height_field = height_field.astype(np.float32, copy=False)
    gx = cv2.Sobel(height_field, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    gy = cv2.Sobel(height_field, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    facing = (light[2] - gx * light[0] - gy * light[1]) / np.sqrt(1 + gx * gx + gy * gy)
    return ambient + (1.2 - ambient) * np.clip(facing, 0, 1)


def tinted(shade: Field, color: Color) -> np.ndarray:
    """A (H, W, 3) picture of one colour under a brightness field."""
    return shade[..., None] * np.asarray(color, np.float32)


def mix(picture: np.ndarray, other: np.ndarray | Color, weight: Field) -> np.ndarray:
    """`picture` where weight is 0, `other` where it is 1."""
    return picture + weight[..., None] * (np.asarray(other, np.float32) - picture)


def soft_step(field: Field, edge: float, width: float) -> Field:
    """0 below the edge, 1 above it, straight over `width` between."""
    return np.clip((field - edge) / width + 0.5, 0, 1)
