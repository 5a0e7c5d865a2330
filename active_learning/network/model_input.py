"""What the network takes: an image, resized as for testing, or the tiles of one, read one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import detectron2.data.transforms as T
from active_learning.system.image_files import image_size
from active_learning.tiles.grid import Tile, tiles_of
from active_learning.tiles.reading import ImageTiles
from detectron2.config import CfgNode


def network_input(image: np.ndarray, cfg: CfgNode) -> dict[str, Any]:
    """`image` (3, h, w) uint8, resized as for testing, and `height` and `width` of the image (H, W, 3) in pixels."""
    resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    resized = resize.get_transform(image).apply_image(image)
    tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    return {"image": tensor, "height": image.shape[0], "width": image.shape[1]}


def seen_size(model_input: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of what is image in `image`: all of it, but for a tile that is larger than its image."""
    height, width = model_input.get("seen_size", model_input["image"].shape[-2:])
    return height, width


def is_tiled(cfg: CfgNode) -> bool:
    """Whether the network sees images tile by tile."""
    return bool(cfg.INPUT.get("TILE_SIZE", 0))


def tile_settings(cfg: CfgNode) -> list[float]:
    """Size in pixels and overlap: what is detected in tiles depends on them."""
    return [cfg.INPUT.TILE_SIZE, cfg.INPUT.TILE_OVERLAP]


def mean_colour(cfg: CfgNode) -> tuple[int, int, int]:
    """What the network takes for nothing, in the channels of INPUT.FORMAT, as 8 bits have it."""
    first, second, third = (min(max(round(value), 0), 255) for value in cfg.MODEL.PIXEL_MEAN)
    return first, second, third


def tile_name(image: str, tile: Tile, tiles: Sequence[Tile]) -> str:
    """Names what depends on the tile; an image of one tile has its own name."""
    return image if len(tiles) == 1 else f"{image} [{tile.x}, {tile.y}]"


@dataclass(frozen=True)
class TileInput:
    """A tile, and its pixels as `network_input` gives them."""

    tile: Tile
    content: dict[str, Any]


class TileInputs:
    """The tiles of an image file; the next is read while one is used. Only while tiles are read is the file open.

    Attributes:
        height, width: of the image, in pixels.
        tiles: in the order in which they come.

    Raises:
        UnreadableImageError: the file is no image, or has too many pixels; so may the reading of the tiles.
    """

    def __init__(self, path: Path, cfg: CfgNode) -> None:
        self.path, self.cfg = path, cfg
        self.height, self.width = image_size(path, cfg.INPUT.get("MAX_PIXELS"))
        self.tiles = tiles_of(self.height, self.width, cfg.INPUT.TILE_SIZE, cfg.INPUT.TILE_OVERLAP)

    def __iter__(self) -> Iterator[TileInput]:
        fill, settings = mean_colour(self.cfg), self.cfg.INPUT
        with (
            ImageTiles(self.path, settings.FORMAT, settings.get("MAX_PIXELS")) as image,
            ThreadPoolExecutor(1) as reader,
        ):
            waiting = reader.submit(image.read, self.tiles[0], fill)
            for tile, following in zip(self.tiles, [*self.tiles[1:], None], strict=True):
                pixels = waiting.result()
                if following is not None:
                    waiting = reader.submit(image.read, following, fill)
                content = network_input(pixels, self.cfg)
                yield TileInput(tile, {**content, "seen_size": self._seen_size(tile, content["image"])})

    def _seen_size(self, tile: Tile, resized: torch.Tensor) -> tuple[int, int]:
        x0, y0, x1, y1 = tile.bounds(self.height, self.width)
        height, width = resized.shape[-2:]
        return math.ceil((y1 - y0) * height / tile.size), math.ceil((x1 - x0) * width / tile.size)

    def read(self, tile: Tile) -> dict[str, Any]:
        """The network's input of one tile. Raises as the reading of all."""
        settings = self.cfg.INPUT
        with ImageTiles(self.path, settings.FORMAT, settings.get("MAX_PIXELS")) as image:
            return network_input(image.read(tile, mean_colour(self.cfg)), self.cfg)

    def content(self) -> dict[str, Any]:
        """What stands for the input of the whole image: `tiles` in the place of `image`."""
        return {"tiles": self, "height": self.height, "width": self.width}
