"""The pixels of a tile: of a TIFF only the parts of the file that hold them are decoded, else the whole image, once."""

from __future__ import annotations

import logging
import lzma
import math
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from active_learning.errors import UnreadableImageError
from active_learning.system.image_files import eight_bits, image_error, image_file, image_size, read_pixels
from active_learning.tiles.grid import Tile
from detectron2.utils.image_file import DAMAGED

Pixels = npt.NDArray[np.uint8]
PART_DAMAGED = (*DAMAGED, RuntimeError, zlib.error, lzma.LZMAError)  # imagecodecs raises RuntimeErrors
LARGEST_PART = 2**24  # pixels; of files in larger strips or tiles than that, reading parts saves no memory

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds odd is read as a whole, or reported here


class ImageTiles:
    """An image file that is open for reading tiles, best row by row: use it in a `with` block.

    A TIFF of 8 bits, grey or RGB, is read in parts, where it is stored in strips or tiles and its compression is known
    to tifffile (which knows more of them where imagecodecs is installed). Every other image is decoded as a whole, also
    one whose parts turn out to be damaged: what can be read without tiles can be read here. The pixels are in either
    case those of the engine's `read_image`.

    Args:
        image_format: "BGR" or "RGB".
        most_pixels: a larger image is refused; None: the engine's limit.

    Raises:
        UnreadableImageError: the file cannot be read; so may `read`, where it is damaged further on.
    """

    def __init__(self, path: Path, image_format: str, most_pixels: int | None = None) -> None:
        self.path = path
        self.height, self.width = image_size(path, most_pixels)
        self._format, self._most_pixels = image_format, most_pixels
        self._parts = _TiffParts.of(path, self.height, self.width)
        self._whole = None if self._parts else _decoded(path, most_pixels)

    def __enter__(self) -> ImageTiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole = None
        self._close_parts()

    def _close_parts(self) -> None:
        if self._parts:
            self._parts.close()
            self._parts = None

    def read(self, tile: Tile, fill: Sequence[int]) -> Pixels:
        """(size, size, 3) in the channels of `image_format`; what lies outside of the image has the colour `fill`."""
        x0, y0, x1, y1 = tile.bounds(self.height, self.width)
        pixels = np.empty((tile.size, tile.size, 3), dtype=np.uint8)
        pixels[:] = fill
        pixels[: y1 - y0, : x1 - x0] = self._window(x0, y0, x1, y1)
        return pixels

    def _window(self, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        window = self._read_parts(x0, y0, x1, y1)
        if window is None:
            self._whole = self._whole or _decoded(self.path, self._most_pixels)
            window = np.asarray(self._whole.crop((x0, y0, x1, y1)).convert("RGB"))
        return window[..., ::-1] if self._format == "BGR" else window

    def _read_parts(self, x0: int, y0: int, x1: int, y1: int) -> Pixels | None:
        """None where the file is not read in parts, or not any more: whole decoders also read some damaged ones."""
        if self._parts is not None:
            with suppress(*PART_DAMAGED):
                return self._parts.read(x0, y0, x1, y1)
            self._close_parts()
        return None


def _decoded(path: Path, most_pixels: int | None) -> Image.Image:
    """In its own mode, of which windows are brought to colours: so there is never a second array of the whole."""
    try:
        with image_file(path, most_pixels) as file:
            return eight_bits(read_pixels(file))
    except UnreadableImageError:
        raise
    except MemoryError as error:
        remedy = "save it as a TIFF in tiles, which is read in parts, or use a smaller copy"
        text = f"{path}: the machine's memory is too small for this image; {remedy}"
        raise UnreadableImageError(text) from error
    except Exception as error:  # noqa: BLE001 (decoders raise what they like; all of it is reported)
        raise image_error(path, error) from error


class _TiffParts:
    """A TIFF file that is decoded strip by strip, or tile by tile. Those of the rows that were read last are kept."""

    def __init__(self, file: tifffile.TiffFile) -> None:
        self._file = file
        self._page = file.pages.first
        page = self._page
        self._height, self._width = (page.tilelength, page.tilewidth) if page.is_tiled else (
            min(page.rowsperstrip, page.imagelength), page.imagewidth
        )  # fmt: skip
        self._columns = math.ceil(page.imagewidth / self._width)
        self._decoded: dict[int, Pixels] = {}

    @classmethod
    def of(cls, path: Path, height: int, width: int) -> _TiffParts | None:
        """None where the file is another, or is not read in parts."""
        try:
            file = tifffile.TiffFile(path)
        except (*DAMAGED, tifffile.TiffFileError):
            return None
        try:
            if _is_plain(file.pages.first, height, width):
                parts = cls(file)
                if parts._height * parts._width <= LARGEST_PART:
                    parts._part(0)
                    return parts
        except (*PART_DAMAGED, ImportError):  # among them: an unknown compression
            pass
        file.close()
        return None

    def close(self) -> None:
        self._decoded.clear()
        self._file.close()

    def read(self, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        """(y1 - y0, x1 - x0, 3) red, green, blue."""
        rows = range(y0 // self._height, math.ceil(y1 / self._height))
        columns = range(x0 // self._width, math.ceil(x1 / self._width))
        needed_rows = {index for index in self._decoded if index // self._columns in rows}
        self._decoded = {index: self._decoded[index] for index in needed_rows}
        window = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        for row in rows:
            for column in columns:
                self._copy(row, column, x0, y0, window)
        return window

    def _copy(self, row: int, column: int, x0: int, y0: int, window: Pixels) -> None:
        """What a part and the window, whose corner is at x0, y0, have in common."""
        part = self._part(row * self._columns + column)
        top, left = row * self._height, column * self._width
        upper, lower = max(top, y0), min(top + len(part), y0 + len(window))
        near, far = max(left, x0), min(left + part.shape[1], x0 + window.shape[1])
        window[upper - y0 : lower - y0, near - x0 : far - x0] = part[
            upper - top : lower - top, near - left : far - left
        ]

    def _part(self, index: int) -> Pixels:
        """(h, w, 3), or (h, w, 1) of greys."""
        if index not in self._decoded:
            page, handle = self._page, self._file.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
            if len(data) < page.databytecounts[index]:
                raise OSError("image file is truncated")
            decoded, _, shape = page.decode(data, index)
            if decoded is None:  # a part that is not stored holds zeros
                decoded = np.zeros(shape, dtype=np.uint8)
            self._decoded[index] = decoded[0, : shape[1], : shape[2]]
        return self._decoded[index]


def _is_plain(page: tifffile.TiffPage, height: int, width: int) -> bool:
    """Whether the pixels stand in the file as they are shown: 8 bits, upright, grey from black on, or RGB."""
    colours = {int(tifffile.PHOTOMETRIC.MINISBLACK): 1, int(tifffile.PHOTOMETRIC.RGB): 3}.get(page.photometric)
    return (
        page.dtype == np.uint8
        and page.bitspersample == 8
        and page.samplesperpixel == colours
        and (colours == 1 or page.planarconfig == tifffile.PLANARCONFIG.CONTIG)
        and (page.imagelength, page.imagewidth, page.imagedepth) == (height, width, 1)
        and _is_upright(page)
    )


def _is_upright(page: tifffile.TiffPage) -> bool:
    """By the tag of its own, or else by XMP, as the engine has it."""
    orientation, xmp = page.tags.get(274), page.tags.get(700)
    if orientation is not None:
        return bool(orientation.value == 1)
    return xmp is None or "Orientation" not in str(xmp.value)
