"""Broccoli-like heads of five classes, drawn as bumps on bumps on a dome.

A class shows in traits that cover much of the head: colour and density of the buds (healthy, matured), pale spots
(cateye), bruises, gaps and scratches (damaged), wet brown patches (headrot).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from demo.texture import (
    Color,
    Field,
    bumps,
    fractal_noise,
    grain,
    jittered_grid,
    lit,
    mix,
    nearest_points,
    soft_step,
    tinted,
)

CLASSES = ("healthy", "damaged", "matured", "cateye", "headrot")


@dataclass(frozen=True)
class Sprite:
    """A drawn thing: (H, W, 3) colours in 0..1 and its cover in 0..1, (H, W)."""

    picture: np.ndarray
    alpha: Field


@dataclass(frozen=True)
class Build:
    """How a class grows. Lengths are in head radii, colours RGB in 0..1."""

    color: Color
    gap_color: Color
    floret: float = 0.36
    looseness: float = 1.0
    cluster: float = 0.15
    bud: float = 0.05
    roughness: float = 0.5


GREEN = Build(color=(0.40, 0.52, 0.40), gap_color=(0.13, 0.21, 0.14))
MATURED = Build(
    color=(0.66, 0.59, 0.25),
    gap_color=(0.27, 0.27, 0.09),
    floret=0.46,
    looseness=1.35,
    cluster=0.2,
    bud=0.085,
    roughness=0.8,
)
BUILDS = {"healthy": GREEN, "damaged": GREEN, "matured": MATURED, "cateye": GREEN, "headrot": GREEN}


@dataclass
class Surface:
    """A head while it grows: all fields are (H, W), `radius` is in pixels, `rim` 0 in the middle and 1 at the edge."""

    rng: np.random.Generator
    radius: float
    light: np.ndarray
    rim: Field
    height: Field
    alpha: Field
    picture: np.ndarray
    bud_distance: Field
    bud_number: np.ndarray

    def noise(self, coarsest: float, octaves: int = 3) -> Field:
        """Noise over the patch, its largest spots `coarsest` head radii wide."""
        height, width = self.rim.shape
        return fractal_noise(self.rng, height, width, coarsest * self.radius, octaves)

    def some_buds(self, share: float) -> Field:
        """1 on a random share of the buds, 0 on the others."""
        chosen = self.rng.random(int(self.bud_number.max()) + 1) < share
        return chosen[self.bud_number].astype(np.float32)


def draw_head(rng: np.random.Generator, label: str, radius: float, light: np.ndarray) -> Sprite:
    """One head of class `label`, its middle in the middle of the sprite; `radius` in pixels, `light` a unit vector."""
    surface = _grow(rng, BUILDS[label], radius, light)
    TRAITS[label](surface)
    return Sprite(np.clip(surface.picture, 0, 1), surface.alpha)


def _grow(rng: np.random.Generator, build: Build, radius: float, light: np.ndarray) -> Surface:
    size = 2 * int(radius * 1.25) + 1
    floret = build.floret * radius * rng.uniform(0.88, 1.12)
    bud = build.bud * radius * rng.uniform(0.9, 1.1)
    floret_distance, floret_number, rim = _florets(rng, radius, floret, size)
    cluster = build.cluster * radius
    cluster_distance, _ = nearest_points(jittered_grid(rng, size, size, cluster), size, size)
    bud_distance, bud_number = nearest_points(jittered_grid(rng, size, size, bud), size, size)
    reach = floret * 0.74
    floret_bump, cluster_bump = bumps(floret_distance, reach), bumps(cluster_distance, cluster * 0.7)
    bud_bump = bumps(bud_distance, bud * 0.62)
    height = 0.6 * radius * bumps(rim, 1.1) + 0.5 * build.looseness * floret * floret_bump
    height += 0.28 * build.looseness * cluster * cluster_bump + build.roughness * bud * bud_bump
    alpha = _outline(floret_distance < reach * 0.93)
    shade = lit(height, light) * (0.72 + 0.28 * bud_bump) + 0.04 * grain(rng, size, size)
    tone = rng.uniform(0.88, 1.12, int(floret_number.max()) + 1).astype(np.float32)[floret_number]
    tip = soft_step(floret_bump + 0.25 * cluster_bump, 0.75 * build.looseness, 0.8)
    color = np.asarray(build.color, np.float32) * rng.uniform([0.92, 0.95, 0.9], [1.08, 1.05, 1.1])
    picture = mix(tinted(shade, build.gap_color), tinted(shade * tone, tuple(color)), tip)
    return Surface(rng, radius, light, rim, height, alpha, picture, bud_distance, bud_number)


def _florets(rng: np.random.Generator, radius: float, floret: float, size: int) -> tuple[Field, np.ndarray, Field]:
    """Distance to the nearest floret, its number, and the distance from the middle in head radii."""
    count = max(8, round(3.4 * (radius / floret) ** 2))
    number = np.arange(count)
    away = (radius - 0.6 * floret) * np.sqrt((number + 0.5) / count)
    angle = number * 2.39996 + rng.uniform(0, 6.28)
    stretch_x, stretch_y = float(rng.uniform(0.86, 1.0)), float(rng.uniform(0.86, 1.0))
    points = np.stack([np.cos(angle) * stretch_x, np.sin(angle) * stretch_y], axis=1) * away[:, None]
    points = points + rng.normal(0, 0.13 * floret, points.shape) + size / 2
    distance, labels = nearest_points(points, size, size)
    distance = distance * rng.uniform(0.86, 1.16, int(labels.max()) + 1).astype(np.float32)[labels]
    distance = distance + 0.14 * floret * fractal_noise(rng, size, size, floret * 0.7, 3)
    ys, xs = np.mgrid[:size, :size].astype(np.float32) - size / 2
    return distance, labels, np.hypot(xs / stretch_x, ys / stretch_y) / radius


def _outline(cover: np.ndarray) -> Field:
    """A solid, soft-edged cover: the largest region, its gaps filled."""
    closed = cv2.morphologyEx(cover.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solid = np.zeros_like(closed)
    cv2.drawContours(solid, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return cv2.GaussianBlur(solid.astype(np.float32), (5, 5), 1.0)


def _healthy(head: Surface) -> None:
    """A bluish bloom lies over the buds."""
    head.picture = mix(
        head.picture, head.picture * np.array([0.84, 1.0, 1.16], np.float32), soft_step(head.noise(0.8), -0.3, 1.6)
    )


def _matured(head: Surface) -> None:
    """Pale yellow buds, some of them open flowers."""
    pale = head.some_buds(0.35) * soft_step(-head.bud_distance, -0.05 * head.radius, 2.0)
    head.picture = mix(head.picture, (0.78, 0.76, 0.36), 0.55 * pale)
    opened = head.some_buds(0.14) * soft_step(-head.bud_distance, -0.05 * head.radius, 2.0)
    opened *= soft_step(head.noise(0.6), -0.1, 0.3)
    head.picture = mix(head.picture, (0.95, 0.83, 0.18), 0.9 * opened)


def _cateye(head: Surface) -> None:
    """Single buds swell and turn pale: yellow-green eyes with a darker middle, on a head that fades."""
    size = head.rim.shape[0]
    spacing = 0.2 * head.radius
    head.picture = head.picture * np.array([1.22, 1.16, 1.0], np.float32)
    distance, number = nearest_points(jittered_grid(head.rng, size, size, spacing), size, size)
    count = int(number.max()) + 1
    strength = (head.rng.uniform(0.6, 1.0, count) * (head.rng.random(count) < 0.9)).astype(np.float32)[number]
    eye = head.rng.uniform(0.055, 0.095, count).astype(np.float32)[number] * head.radius
    distance = distance + 0.015 * head.radius * head.noise(0.1, 1)
    pale = strength * soft_step(eye - distance, 0.0, 2.0) * soft_step(-head.rim, -0.95, 0.1)
    pupil = soft_step(0.36 * eye - distance, 0.0, 2.0)
    shade = lit(head.height * 0.6, head.light)
    head.picture = mix(head.picture, tinted(shade, (0.86, 0.90, 0.60)), 0.9 * pale)
    head.picture = mix(head.picture, tinted(shade, (0.40, 0.47, 0.22)), 0.65 * pale * pupil)


def _damaged(head: Surface) -> None:
    """Dull, bruised florets, torn-out ones with the pale stem showing, white scratches."""
    shade = lit(head.height, head.light)
    dull = head.picture.mean(axis=2, keepdims=True) * np.array([1.22, 1.0, 0.86], np.float32)
    head.picture = 0.4 * head.picture + 0.6 * dull
    bruise = soft_step(head.noise(0.75), -0.05, 0.35)
    head.picture = mix(head.picture, tinted(shade, (0.48, 0.37, 0.24)), 0.8 * bruise)
    for _ in range(head.rng.integers(2, 5)):
        _tear(head)
    for _ in range(head.rng.integers(3, 7)):
        _scratch(head)


def _spot(head: Surface, reach: float) -> np.ndarray:
    """A random place (x, y) within `reach` head radii of the middle."""
    angle, away = head.rng.uniform(0, 6.28), reach * head.radius * np.sqrt(head.rng.random())
    return head.rim.shape[0] / 2 + away * np.array([np.cos(angle), np.sin(angle)])


def _tear(head: Surface) -> None:
    size = head.rim.shape[0]
    x, y = _spot(head, 0.75)
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    reach = head.rng.uniform(0.13, 0.22) * head.radius
    away = np.hypot(xs - x, ys - y) / reach + 0.35 * head.noise(0.2, 2)
    bowl = -0.7 * reach * bumps(np.clip(away, 0, None), 1.0)
    flesh = tinted(lit(bowl, head.light), (0.66, 0.68, 0.50))
    head.picture = mix(head.picture, (0.20, 0.17, 0.09), 0.6 * soft_step(-away, -1.15, 0.25))
    head.picture = mix(head.picture, flesh, soft_step(-away, -0.85, 0.25))


def _scratch(head: Surface) -> None:
    start, bend = _spot(head, 0.8), head.rng.uniform(-0.8, 0.8)
    angle, length = head.rng.uniform(0, 6.28), head.rng.uniform(0.35, 0.8) * head.radius
    steps = np.linspace(0, 1, 12)
    turn = angle + bend * steps
    path = start + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0) * length / 12
    line = np.zeros(head.rim.shape, np.uint8)
    points = np.round(path * 16).astype(np.int32)[:, None]
    cv2.polylines(line, [points], False, 255, max(1, round(0.03 * head.radius)), cv2.LINE_AA, shift=4)
    head.picture = mix(head.picture, (0.85, 0.86, 0.78), line.astype(np.float32) / 255 * 0.8)


def _headrot(head: Surface) -> None:
    """Wet dark brown patches: the buds melt, the surface shines."""
    blot = head.noise(0.9, 4) - 0.6 * head.rim
    cut = float(np.quantile(blot[head.alpha > 0.5], head.rng.uniform(0.35, 0.55)))
    rot = soft_step(blot, cut, 0.16)
    rim = soft_step(blot, cut - 0.12, 0.2)
    melted = cv2.GaussianBlur(head.height, (0, 0), 0.025 * head.radius) + 0.04 * head.radius * head.noise(0.15, 2)
    shade = lit(melted, head.light, ambient=0.35)
    shine = np.clip(lit(melted * 1.5, head.light, ambient=0.0) - 1.08, 0, 1) * 5
    head.picture = mix(head.picture, head.picture * np.array([0.95, 0.78, 0.5], np.float32), 0.8 * rim)
    wet = tinted(shade, (0.25, 0.16, 0.10)) + 0.3 * shine[..., None]
    head.picture = mix(head.picture, wet, 0.93 * rot)


TRAITS: dict[str, Callable[[Surface], None]] = {
    "healthy": _healthy,
    "damaged": _damaged,
    "matured": _matured,
    "cateye": _cateye,
    "headrot": _headrot,
}
