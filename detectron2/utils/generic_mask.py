"""One instance's mask in any form that data sets and networks store, and where to draw and label it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor


def as_numpy(values: Any) -> np.ndarray:
    """A tensor on any device, or what numpy takes, as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def decode_run_lengths(runs: dict[str, Any]) -> np.ndarray:
    """HxW uint8 of COCO's {"size": [H, W], "counts": ...}, packed or, as crowds are stored, a plain list of counts."""
    plain = isinstance(runs["counts"], list)
    return coco_mask.decode(coco_mask.frPyObjects(runs, *runs["size"]) if plain else runs)


class GenericMask:
    """A mask given as polygons, run lengths or an HxW array, read as any of them."""

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        """Raises ValueError for a mask of another size and for what is no mask."""
        self.height = height
        self.width = width
        self._mask: np.ndarray | None = None
        self._polygons: list[np.ndarray] | None = None
        self._has_holes = False
        self._given_polygons = isinstance(mask_or_polygons, (list, tuple))
        if self._given_polygons:
            self._polygons = [np.asarray(polygon, dtype=np.float64).ravel() for polygon in mask_or_polygons]
        elif isinstance(mask_or_polygons, dict):
            self._mask = self._sized(decode_run_lengths(mask_or_polygons))
        elif isinstance(mask_or_polygons, (np.ndarray, Tensor)):
            self._mask = self._sized(as_numpy(mask_or_polygons))
        else:
            raise ValueError(f"a mask is polygons, run lengths or an array, not {type(mask_or_polygons).__name__}")

    def _sized(self, mask: np.ndarray) -> np.ndarray:
        if mask.shape != (self.height, self.width):
            raise ValueError(f"a mask of shape {mask.shape} does not fit an image of {self.height} x {self.width}")
        return (mask != 0).astype(np.uint8)

    @property
    def mask(self) -> np.ndarray:
        """HxW uint8, 0 or 1."""
        if self._mask is None:
            self._mask = self.polygons_to_mask(self.polygons)
        return self._mask

    @property
    def polygons(self) -> list[np.ndarray]:
        """Outlines as flat arrays (x0, y0, x1, y1, ...); of a mask with holes, those of the holes are among them."""
        if self._polygons is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Of a mask that was given as polygons always False: they are united."""
        return bool(self.polygons) and self._has_holes

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Outlines of an HxW mask, through the centres of its border pixels, and whether one of them is a hole's."""
        pixels = np.ascontiguousarray(mask, dtype=np.uint8)
        contours, hierarchy = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if hierarchy is None:
            return [], False
        has_holes = bool((hierarchy.reshape(-1, 4)[:, 3] >= 0).any())
        return [contour.ravel() + 0.5 for contour in contours if len(contour) >= 3], has_holes

    def polygons_to_mask(self, polygons: Sequence[np.ndarray]) -> np.ndarray:
        """HxW uint8: the union of the polygons, rasterised as COCO does."""
        if len(polygons) == 0:
            return np.zeros((self.height, self.width), dtype=np.uint8)
        runs = coco_mask.frPyObjects([np.asarray(polygon).tolist() for polygon in polygons], self.height, self.width)
        return coco_mask.decode(coco_mask.merge(runs))

    def outlines(self) -> list[np.ndarray]:
        """Nx2 (x, y) points of each outline; filled by the non-zero rule together they give the mask."""
        points = [polygon.reshape(-1, 2) for polygon in self.polygons]
        if not self._given_polygons:
            return points
        # united polygons must turn the same way, or overlaps would cancel out
        return [outline if _turn(outline) >= 0 else outline[::-1] for outline in points]

    def area(self) -> int:
        """Number of pixels of the mask."""
        return int(self.mask.sum())

    def bbox(self) -> np.ndarray:
        """(x0, y0, x1, y1) around the mask's pixels; zeros if it has none."""
        x, y, width, height = cv2.boundingRect(self.mask)
        return np.array([x, y, x + width, y + height], dtype=np.float64)


def _turn(points: np.ndarray) -> float:
    """Twice the signed area of Nx2 points."""
    x, y = points.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def inner_point(mask: np.ndarray) -> tuple[float, float]:
    """(x, y) of the pixel of an HxW mask that is farthest from its border: a place for a label."""
    padded = np.pad((mask != 0).astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(x) + 0.5, float(y) + 0.5


def without_specks(mask: np.ndarray, area_threshold: float) -> np.ndarray:
    """HxW uint8: the connected parts of a mask with at least `area_threshold` pixels."""
    pixels = np.ascontiguousarray(mask != 0, dtype=np.uint8)
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    keep = sizes[:, cv2.CC_STAT_AREA] >= area_threshold
    keep[0] = False
    return keep[parts].astype(np.uint8)
