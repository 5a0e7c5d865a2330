"""One field picture with the outline of every head that shows: what a camera and a careful annotator would give.

Everything is drawn at twice the size and scaled down at the end, so that edges are smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from demo.field import Canvas, leaf, leaf_placing, soil
from demo.heads import draw_head
from demo.texture import fractal_noise

DRAWN_SCALE = 2
RADIUS_RANGE = {1: (48, 66), 2: (44, 60), 3: (38, 52), 4: (34, 45)}  # head radius in picture pixels, by number of heads
OCCLUDED_SHARE = 0.33  # of the heads have leaves above them
LEAST_VISIBLE = 0.45  # of a head; a leaf that would hide more is not drawn
SMALLEST_PART = 60  # pixels; an annotator leaves smaller bits out
POLYGON_TOLERANCE = 0.7  # pixels


@dataclass(frozen=True)
class VisibleHead:
    """A head as an annotator outlines it: class, and one (N, 2) polygon of (x, y) corner coordinates for each part."""

    label: str
    parts: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Scene:
    """A picture, (H, W, 3) uint8 BGR, and the heads in it."""

    picture: np.ndarray
    heads: tuple[VisibleHead, ...]


def draw_scene(rng: np.random.Generator, labels: list[str], height: int, width: int) -> Scene:
    """A field of `height` x `width` pixels with one head for each label; a head without room is left out."""
    light = _light(rng)
    canvas = soil(rng, height * DRAWN_SCALE, width * DRAWN_SCALE, light)
    places = _places(rng, len(labels), height, width)
    for x, y, radius in places:
        _rosette(rng, canvas, (x, y), radius)
    visible: list[np.ndarray] = []
    for label, (x, y, radius) in zip(labels, places, strict=False):
        sprite = draw_head(rng, label, radius, light)
        cover = canvas.lay(sprite, _upright(sprite.alpha.shape, x, y), lift=0.3 * radius)
        visible = [mask & ~cover for mask in visible] + [cover]
    for place in places:
        if rng.random() < OCCLUDED_SHARE:
            visible = _occlude(rng, canvas, place, visible)
    heads = [VisibleHead(label, _polygons(mask)) for label, mask in zip(labels, visible, strict=False)]
    return Scene(_photograph(rng, canvas.picture, height, width), tuple(head for head in heads if head.parts))


def _light(rng: np.random.Generator) -> np.ndarray:
    """A unit vector from the upper half of the picture, between low morning and high noon."""
    azimuth, elevation = rng.uniform(np.pi, 2 * np.pi), np.radians(rng.uniform(38, 68))
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _places(rng: np.random.Generator, count: int, height: int, width: int) -> list[tuple[float, float, float]]:
    """(x, y, radius) in drawn pixels: `count` heads that hardly overlap; fewer where there is no room."""
    low, high = RADIUS_RANGE[count]
    unit = min(height / 240, width / 320) * DRAWN_SCALE
    places: list[tuple[float, float, float]] = []
    for _ in range(80):
        if len(places) == count:
            break
        radius = rng.uniform(low, high) * unit
        x = rng.uniform(0.75 * radius, width * DRAWN_SCALE - 0.75 * radius)
        y = rng.uniform(0.75 * radius, height * DRAWN_SCALE - 0.75 * radius)
        if all(np.hypot(x - ox, y - oy) > 0.93 * (radius + other) for ox, oy, other in places):
            places.append((x, y, radius))
    return places


def _upright(shape: tuple[int, ...], x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x - shape[1] / 2], [0, 1, y - shape[0] / 2]], np.float64)


def _rosette(rng: np.random.Generator, canvas: Canvas, middle: tuple[float, float], radius: float) -> None:
    """Leaves all round below a head."""
    count = int(rng.integers(6, 10))
    first = rng.uniform(0, 2 * np.pi)
    for step in rng.permutation(count):
        angle = first + 2 * np.pi * step / count + rng.normal(0, 0.15)
        length = radius * rng.uniform(1.35, 2.0)
        wide = length * rng.uniform(0.42, 0.6)
        canvas.lay(leaf(rng), leaf_placing(middle, angle, length, wide), lift=0.12 * radius)


def _occlude(
    rng: np.random.Generator, canvas: Canvas, place: tuple[float, float, float], visible: list[np.ndarray]
) -> list[np.ndarray]:
    """Bend a leaf over a head; returns the visible masks with what it hides taken out."""
    x, y, radius = place
    across, angle = rng.random() < 0.5, rng.uniform(0, 2 * np.pi)
    offset = radius * (rng.uniform(-0.25, 0.25) if across else rng.uniform(0.5, 0.85) * rng.choice([-1, 1]))
    back = 1.45 * radius
    stem = (
        x - back * np.cos(angle) - offset * np.sin(angle),
        y - back * np.sin(angle) + offset * np.cos(angle),
    )
    length = radius * rng.uniform(2.9, 3.4)
    wide = radius * (rng.uniform(0.5, 0.75) if across else rng.uniform(0.8, 1.1))
    sprite, matrix = leaf(rng), leaf_placing(stem, angle, length, wide)
    hidden = cv2.warpAffine(sprite.alpha, matrix, canvas.size[::-1]) > 0.5
    left = [mask & ~hidden for mask in visible]
    if any(new.sum() < LEAST_VISIBLE * old.sum() for new, old in zip(left, visible, strict=True)):
        return visible
    canvas.lay(sprite, matrix, lift=0.2 * radius)
    return left


def _polygons(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outlines of a drawn-size mask in picture coordinates, largest first."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = [c for c in contours if cv2.contourArea(c) >= SMALLEST_PART * DRAWN_SCALE**2]
    kept.sort(key=cv2.contourArea, reverse=True)
    rough = [cv2.approxPolyDP(c, POLYGON_TOLERANCE * DRAWN_SCALE, closed=True)[:, 0] for c in kept]
    return tuple(np.round((c + 0.5) / DRAWN_SCALE, 2) for c in rough if len(c) >= 3)


def _photograph(rng: np.random.Generator, drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale down and take the picture: exposure, white balance, vignette, blur and sensor noise; uint8 BGR."""
    picture = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    warmth = rng.uniform(-0.05, 0.05)
    balance = np.array([1 + warmth, 1.0, 1 - warmth]) * rng.uniform(0.88, 1.22)
    cloud = 1 + 0.08 * fractal_noise(rng, height, width, width, 1)
    picture = picture * (cloud[..., None] * balance.astype(np.float32))
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 0.9)))
    picture = picture + rng.standard_normal(picture.shape, dtype=np.float32) * float(rng.uniform(0.005, 0.02))
    graded = np.clip(picture, 0, 1) ** float(rng.uniform(0.85, 1.0))
    return (graded[..., ::-1] * 255 + 0.5).astype(np.uint8)
