"""Tiles have the pixels of the image, however it is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from active_learning.errors import UnreadableImageError
from active_learning.tiles.grid import Tile, tiles_of
from active_learning.tiles.reading import ImageTiles
from detectron2.data.detection_utils import read_image
from tests.active_learning.tiff_files import write_tiff_with_part

HEIGHT, WIDTH = 130, 170
FILL = (1, 2, 3)


def pixels(channels: int, dtype: type = np.uint8) -> np.ndarray:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    coarse = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, shape, dtype)
    return np.repeat(coarse[::2], 2, axis=0)[:HEIGHT]


def tiff(path: Path, array: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, array, **options)  # type: ignore[arg-type]


def miscounted(path: Path, count: Callable[[int], int], part: int = -1, **options: object) -> None:
    """Without compression the length that a TIFF gives for a part is not needed, and may be wrong."""
    tag = "TileByteCounts" if "tile" in options else "StripByteCounts"
    write_tiff_with_part(path, pixels(3), tag, part, count, **options)


IN_PARTS = {
    "strips": lambda path: tiff(path, pixels(3), photometric="rgb", rowsperstrip=7),
    "strips, deflate": lambda path: tiff(path, pixels(3), photometric="rgb", rowsperstrip=7, compression="zlib"),
    "strips, predictor": lambda path: tiff(
        path, pixels(3), photometric="rgb", rowsperstrip=16, compression="zlib", predictor=True
    ),
    "tiles": lambda path: tiff(path, pixels(3), photometric="rgb", tile=(32, 48)),
    "tiles, deflate": lambda path: tiff(path, pixels(3), photometric="rgb", tile=(32, 48), compression="zlib"),
    "grey": lambda path: tiff(path, pixels(1), photometric="minisblack", tile=(32, 32)),
    "grey strips": lambda path: tiff(path, pixels(1), photometric="minisblack", rowsperstrip=1),
    "BigTIFF": lambda path: tiff(path, pixels(3), photometric="rgb", tile=(64, 64), bigtiff=True),
    "big-endian": lambda path: tiff(path, pixels(3), photometric="rgb", rowsperstrip=5, byteorder=">"),
    "one strip": lambda path: Image.fromarray(pixels(3)).save(path),
}
WHOLE = {
    "TIFF, turned": lambda path: tiff(path, pixels(3), photometric="rgb", extratags=[(274, 3, 1, 6, True)]),
    "TIFF, turned by XMP": lambda path: tiff(
        path, pixels(3), photometric="rgb", extratags=[(700, 1, None, b'<a tiff:Orientation="3"/>', True)]
    ),
    "TIFF, 16 bits": lambda path: tiff(path, pixels(1, np.uint16), photometric="minisblack"),
    "TIFF, alpha": lambda path: Image.fromarray(pixels(4)).save(path),
    "TIFF, palette": lambda path: Image.fromarray(pixels(3)).quantize(64).save(path),
    "TIFF, white is zero": lambda path: tiff(path, pixels(1), photometric="miniswhite"),
    "TIFF, planes": lambda path: tiff(path, np.moveaxis(pixels(3), 2, 0), photometric="rgb", planarconfig="separate"),
    "TIFF, LZW": lambda path: Image.fromarray(pixels(3)).save(path, compression="tiff_lzw"),
    "TIFF, ZSTD": lambda path: Image.fromarray(pixels(3)).save(path, compression="zstd"),
    "TIFF, JPEG": lambda path: Image.fromarray(pixels(3)).save(path, compression="jpeg"),
    "TIFF, first strip too short": lambda path: miscounted(path, lambda count: count // 2, 0, rowsperstrip=7),
    "TIFF, last strip too short": lambda path: miscounted(path, lambda count: count - 1, rowsperstrip=7),
    "TIFF, strip without length": lambda path: miscounted(path, lambda count: 0, 5, rowsperstrip=7),
    "TIFF, last strip too long": lambda path: miscounted(path, lambda count: 60_000, rowsperstrip=7),
    "TIFF, strip too long": lambda path: miscounted(path, lambda count: count + 9, 3, rowsperstrip=7),
    "TIFF, tile too short": lambda path: miscounted(path, lambda count: count // 2, 5, tile=(32, 48)),
    "TIFF, tile too long": lambda path: miscounted(path, lambda count: count + 9, 5, tile=(32, 48)),
    "TIFF, bits": lambda path: Image.fromarray(pixels(1)).convert("1").save(path),
    "PNG": lambda path: Image.fromarray(pixels(3)).save(path, "PNG"),
    "PNG, alpha": lambda path: Image.fromarray(pixels(4)).save(path, "PNG"),
    "JPEG": lambda path: Image.fromarray(pixels(3)).save(path, "JPEG"),
    "JPEG, grey": lambda path: Image.fromarray(pixels(1)).save(path, "JPEG"),
    "JPEG, CMYK": lambda path: Image.fromarray(pixels(4), "CMYK").save(path, "JPEG"),
    "WebP": lambda path: Image.fromarray(pixels(3)).save(path, "WebP"),
}


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
@pytest.mark.parametrize("kind", [*IN_PARTS, *WHOLE])
def test_tiles_have_the_pixels_of_the_image(tmp_path: Path, kind: str, image_format: str):
    path = tmp_path / "image.tif"
    {**IN_PARTS, **WHOLE}[kind](path)
    expected = read_image(str(path), format=image_format)
    with ImageTiles(path, image_format) as image:
        assert (image.height, image.width) == expected.shape[:2]
        assert image._parts or kind in WHOLE
        for tile in (*tiles_of(image.height, image.width, 50, 0.2), Tile(3, 5, 20), Tile(0, 0, 200)):
            x0, y0, x1, y1 = tile.bounds(image.height, image.width)
            found = image.read(tile, FILL)
            assert found.shape == (tile.size, tile.size, 3)
            assert np.array_equal(found[: y1 - y0, : x1 - x0], expected[y0:y1, x0:x1])
            outside = np.concatenate([found[y1 - y0 :].reshape(-1, 3), found[:, x1 - x0 :].reshape(-1, 3)])
            assert (outside == FILL).all()


@pytest.mark.parametrize("content", [b"", b"II*\0", b"text", b"II*\0\x08\0\0\0\0\0"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "image.tif"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"image\.tif: .*; replace or remove it"):
        ImageTiles(path, "BGR")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UnreadableImageError, match=r"none\.tif"):
        ImageTiles(tmp_path / "none.tif", "BGR")


@pytest.mark.parametrize("kind", ["strips, deflate", "tiles, deflate", "strips", "PNG"])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, kind: str):
    path = tmp_path / "image.tif"
    {**IN_PARTS, **WHOLE}[kind](path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match=r"image\.tif: "), ImageTiles(path, "BGR") as image:
        for tile in tiles_of(image.height, image.width, 50, 0.2):
            image.read(tile, FILL)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
@pytest.mark.parametrize("part", [0, 5, -1])
def test_a_file_that_is_damaged_inside_is_named(tmp_path: Path, compression: str, part: int):
    path = tmp_path / "image.tif"
    tiff(path, pixels(3), photometric="rgb", rowsperstrip=16, compression=compression)
    with tifffile.TiffFile(path) as file:
        middle = file.pages.first.dataoffsets[part] + file.pages.first.databytecounts[part] // 2
    content = bytearray(path.read_bytes())
    content[middle : middle + 40] = b"U" * 40
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"image\.tif: "), ImageTiles(path, "BGR") as image:
        for tile in tiles_of(image.height, image.width, 50, 0.2):
            image.read(tile, FILL)


def test_too_many_pixels_are_refused(tmp_path: Path):
    path = tmp_path / "image.tif"
    IN_PARTS["strips"](path)
    with pytest.raises(UnreadableImageError, match="max_image_megapixels"):
        ImageTiles(path, "BGR", most_pixels=HEIGHT * WIDTH - 1)


def test_only_the_parts_of_the_rows_at_hand_are_held(tmp_path: Path):
    path = tmp_path / "image.tif"
    IN_PARTS["tiles, deflate"](path)
    with ImageTiles(path, "BGR") as image:
        for tile in tiles_of(image.height, image.width, 40, 0.2):
            image.read(tile, FILL)
            assert image._parts is not None
            assert len(image._parts._decoded) <= 3 * 4  # three rows of four tiles of the file
