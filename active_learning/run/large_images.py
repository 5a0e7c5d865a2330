"""What becomes of images that are larger than the network sees them, or than a tile, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.system.wording import counted
from active_learning.tiles.grid import tiles_of

if TYPE_CHECKING:
    from detectron2.config import CfgNode

SHRUNK = 2  # so many times, or more often, small objects vanish


def describe_large_images(folder: Path, sizes: Mapping[str, tuple[int, int]], config: CfgNode) -> Iterator[str]:
    """Notes on the images of a folder.

    Args:
        sizes: (height, width) of images, by their names; not all need be there.
        config: of the network.
    """
    tile = config.INPUT.get("TILE_SIZE", 0)
    longest = tile or SHRUNK * config.INPUT.MAX_SIZE_TEST
    large = {name: size for name, size in sizes.items() if max(size) > longest}
    if not large:
        return
    name, (height, width) = max(large.items(), key=lambda one: max(one[1]))
    such = f"{folder}: {len(large)} of {counted(len(sizes), 'image')}, such as {name} ({width} x {height} pixels)"
    verb = "is" if len(large) == 1 else "are"
    if tile:
        count = sum(len(tiles_of(*size, tile, config.INPUT.TILE_OVERLAP)) for size in sizes.values())
        yield f"{such}, {verb} larger than a tile; the network sees {count / len(sizes):.1f} tiles an image on average"
    else:
        times = max(height, width) / config.INPUT.MAX_SIZE_TEST
        yield (
            f"{such}, {verb} shrunk before the network sees them, up to {times:.1f} times; where objects are small, "
            "set tile_size"
        )


def describe_tiles(config: CfgNode) -> Iterator[str]:
    """A note where the network does not see tiles as they are in the image."""
    tile, seen = config.INPUT.get("TILE_SIZE", 0), min(config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
    if tile and tile != seen:
        change = "shrunk" if seen < tile else "enlarged"
        yield (
            f"tile_size: tiles of {tile} pixels are {change} to {seen} before the network sees them; image_min_size "
            f"{tile}, and no smaller image_max_size, leaves them as they are"
        )
