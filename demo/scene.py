"""One field picture with the outline of every head that shows: what a camera and a careful annotator would give.

Everything is drawn at twice the size and scaled down at the end, so that edges are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from demo.camera import Camera, View
from demo.field import Canvas, leaf, leaf_placing, soil
from demo.heads import draw_head

DRAWN_SCALE = 2
RADIUS_RANGE = {1: (48, 66), 2: (44, 60), 3: (38, 52), 4: (34, 45)}  # head radius in picture pixels, by number of heads
OCCLUDED_SHARE = 0.33  # of the heads have leaves above them
LEAST_VISIBLE = 0.45  # of a head; a leaf that would hide more is not drawn
SMALLEST_PART = 60  # pixels of a 320x240 picture; an annotator leaves smaller bits out
POLYGON_TOLERANCE = 0.7  # pixels
MARGIN = 0.08  # of the size, on each side: what the other views of a scene can show beyond the first


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


@dataclass(frozen=True)
class _Ground:
    """All that views can show, in drawn pixels: (H, W, 3) colours in 0..1, and each head with its visible mask."""

    picture: np.ndarray
    heads: tuple[tuple[str, np.ndarray], ...]


def draw_scene(rng: np.random.Generator, labels: list[str], height: int, width: int) -> Scene:
    """A field of `height` x `width` pixels with one head for each label; a head without room is left out."""
    return draw_views(rng, labels, height, width, [])[0]


def draw_views(
    rng: np.random.Generator, labels: list[str], height: int, width: int, others: Sequence[np.random.Generator]
) -> list[Scene]:
    """A scene as `draw_scene` makes them, then its near-duplicates: one view of it for each generator in `others`."""
    margin = MARGIN if others else 0.0
    ground = _ground(rng, labels, height, width, (math.ceil(margin * height), math.ceil(margin * width)))
    camera = Camera.sample(rng, height, width)
    scenes = [_view(ground, camera, View())]
    for other in others:
        view = View.sample(other)
        scenes.append(_view(ground, camera.again(other, view.brightness), view))
    return scenes


def _ground(rng: np.random.Generator, labels: list[str], height: int, width: int, margin: tuple[int, int]) -> _Ground:
    """The field of the first view, with a margin of (rows, columns) picture pixels on each side."""
    light = _light(rng)
    rows, columns = (DRAWN_SCALE * pixels for pixels in margin)
    canvas = soil(rng, height * DRAWN_SCALE + 2 * rows, width * DRAWN_SCALE + 2 * columns, light)
    places = [(x + columns, y + rows, radius) for x, y, radius in _places(rng, len(labels), height, width)]
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
    return _Ground(canvas.picture, tuple(zip(labels, visible, strict=False)))


def _view(ground: _Ground, camera: Camera, view: View) -> Scene:
    """The picture of a view, and the heads as they show in it."""
    height, width = camera.noise.shape[:2]
    drawn = (width * DRAWN_SCALE, height * DRAWN_SCALE)
    matrix = _view_matrix(view, ground.picture.shape[:2], drawn)
    picture = camera.photograph(cv2.warpAffine(ground.picture, matrix, drawn))
    masks = [cv2.warpAffine(mask.astype(np.uint8), matrix, drawn, flags=cv2.INTER_NEAREST) for _, mask in ground.heads]
    unit = _unit(height, width)
    heads = [VisibleHead(label, _polygons(mask, unit)) for (label, _), mask in zip(ground.heads, masks, strict=True)]
    return Scene(picture, tuple(head for head in heads if head.parts))


def _view_matrix(view: View, ground: tuple[int, ...], drawn: tuple[int, int]) -> np.ndarray:
    """The 2x3 matrix from pixels of the ground, (height, width), to those of the view, (width, height)."""
    middle = (np.array(ground[::-1]) - 1) / 2
    moved = (np.array(drawn) - 1) / 2 + np.array(view.shift) * drawn
    return np.column_stack([view.scale * np.eye(2), moved - view.scale * middle])


def _unit(height: int, width: int) -> float:
    """How large things are, compared with those in a picture of 320x240 pixels."""
    return min(height / 240, width / 320)


def _light(rng: np.random.Generator) -> np.ndarray:
    """A unit vector from the upper half of the picture, between low morning and high noon."""
    azimuth, elevation = rng.uniform(np.pi, 2 * np.pi), np.radians(rng.uniform(38, 68))
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _places(rng: np.random.Generator, count: int, height: int, width: int) -> list[tuple[float, float, float]]:
    """(x, y, radius) in drawn pixels: `count` heads that hardly overlap; fewer where there is no room."""
    low, high = RADIUS_RANGE[count]
    unit = _unit(height, width) * DRAWN_SCALE
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


def _polygons(mask: np.ndarray, unit: float = 1.0) -> tuple[np.ndarray, ...]:
    """The outlines of a drawn-size mask in picture coordinates, largest first; `unit` is that of `_unit`."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = [c for c in contours if cv2.contourArea(c) >= SMALLEST_PART * (unit * DRAWN_SCALE) ** 2]
    kept.sort(key=cv2.contourArea, reverse=True)
    rough = [cv2.approxPolyDP(c, POLYGON_TOLERANCE * DRAWN_SCALE, closed=True)[:, 0] for c in kept]
    return tuple(np.round((c + 0.5) / DRAWN_SCALE, 2) for c in rough if len(c) >= 3)
