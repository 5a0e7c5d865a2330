"""Image files that are cut off, found by their ends: decoding all pixels takes a hundred times as long.

A copy that broke off may have the length of the whole file, and zeros from there on, which decoders take for pixels.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from PIL import TiffImagePlugin

from active_learning.system.image_files import pixels_fault
from detectron2.utils.image_file import DAMAGED, open_image

_END_OF_JPEG, _START_OF_SCAN = b"\xff\xd9", b"\xda"
_END_OF_PNG = b"IEND\xaeB\x60\x82"
_TAIL = 4096  # bytes; some programs add padding or a few words of their own
_PART = 2**16  # bytes that are read at a time
_STRIPS, _TILES = (273, 279), (324, 325)  # TIFF's tags of the offsets of pixels, and of how many bytes are there
_COMPRESSION, _UNCOMPRESSED = 259, 1  # TIFF's tag, and its value for pixels that may be black to the end
_SECTOR = 512  # bytes: the least that a copy leaves out; of whole compressed images few end in as many zeros
_PAGE = 4096  # bytes: where such a copy ends, as disks and memory are divided so


def cut_off_fault(path: Path, most_pixels: int | None = None) -> str:
    """What is wrong with an image that is cut off; "" for nothing, and for formats whose end does not show it.

    An end that looks cut off is only a reason to decode the image: what others append to theirs is no fault.
    """
    return whole_fault(path, most_pixels) if _looks_cut_off(path) else ""


def whole_fault(path: Path, most_pixels: int | None = None) -> str:
    """What is wrong with an image, all of it decoded, or with its end; "" for nothing."""
    return pixels_fault(path, most_pixels) or broken_off_fault(path)


def broken_off_fault(path: Path) -> str:
    """What is wrong with an image whose end was never written, whatever a decoder says; "" for nothing.

    Not of formats that have no sign of an end where black pixels may be zeros: BMP, and TIFF that is not compressed.
    """
    with suppress(*DAMAGED):
        if path.is_file():
            with path.open("rb") as file:
                start, size = file.read(16), os.fstat(file.fileno()).st_size
                zeros = _zeros_at_end(file, size := _length(start, size))
                if zeros >= _SECTOR and _lacks_its_end(file, start, size - zeros):
                    reason = f"its last {zeros} bytes are zeros, as of a copy that broke off"
                    return f"{path}: cannot be read as an image: {reason}; replace or remove it"
    return ""


def _lacks_its_end(file: IO[bytes], start: bytes, end: int) -> bool:
    """Of a file that holds zeros alone from `end` on. A WebP image has no sign of its end, and a lossy one that is even
    at the bottom may end in zeros, but hardly in just so many that a copy could have ended where they begin."""
    if start.startswith(b"RIFF"):
        return start[12:] == b"VP8L" or end % _PAGE == 0
    if start.startswith(b"\x89PNG"):
        return not _holds(_END_OF_PNG, file, 0, end)
    return start.startswith(b"\xff\xd8") and _is_cut_jpeg(file, start, end)


def _length(start: bytes, size: int) -> int:
    """Of an image without what others have appended, as far as the first bytes tell it."""
    return min(size, struct.unpack("<I", start[4:8])[0] + 8) if start.startswith(b"RIFF") else size


def _zeros_at_end(file: IO[bytes], end: int) -> int:
    """How many bytes before `end` are zeros; most files end in none, of which little is read."""
    place, part = end, _SECTOR
    while place > 0:
        begin = max(place - part, 0)
        file.seek(begin)
        if rest := file.read(place - begin).rstrip(b"\0"):
            return end - begin - len(rest)
        place, part = begin, _PART
    return end


def _looks_cut_off(path: Path) -> bool:
    """False for what cannot be opened, which is found where headers are read."""
    with suppress(*DAMAGED):
        if path.is_file():
            with path.open("rb") as file:
                start, size = file.read(16), os.fstat(file.fileno()).st_size
                check = next((check for begin, check in _CHECKS.items() if start.startswith(begin)), None)
                return check is not None and check(file, start, size)
    return False


def _tail(file: IO[bytes], size: int) -> bytes:
    file.seek(max(size - _TAIL, 0))
    return file.read()


def _is_cut_jpeg(file: IO[bytes], start: bytes, size: int) -> bool:
    """Whether nothing ends the pixels, among which no marker but that of the end (and of restarts) can stand: what
    cameras add, such as a film or a second image, comes after it, a thumbnail before the pixels."""
    if _tail(file, size).rstrip(b"\0").endswith(_END_OF_JPEG):
        return False
    file.seek(2)
    while (marker := file.read(4))[:1] == b"\xff":
        if marker[1:2] == _START_OF_SCAN:
            return not _holds(_END_OF_JPEG, file, file.tell(), size)
        file.seek(struct.unpack(">H", marker[2:])[0] - 2, os.SEEK_CUR)
    return True


def _holds(sign: bytes, file: IO[bytes], begin: int, end: int) -> bool:
    """Looks from the end, so that of a whole image no more is read than others have appended."""
    while end > begin:
        place = max(end - _PART, begin)
        file.seek(place)
        if sign in file.read(end - place + len(sign) - 1):
            return True
        end = place
    return False


def _is_cut_jpeg_2000(file: IO[bytes], start: bytes, size: int) -> bool:
    return _END_OF_JPEG not in _tail(file, size)


def _is_cut_png(file: IO[bytes], start: bytes, size: int) -> bool:
    return _END_OF_PNG not in _tail(file, size)


def _is_cut_tiff(file: IO[bytes], start: bytes, size: int) -> bool:
    """Also where the last of compressed pixels are zeros; then a decoder judges, which all such pixels end."""
    file.seek(0)
    with open_image(file) as image:
        tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        ends = [
            offset + count
            for offsets, counts in (_STRIPS, _TILES)
            for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        ]
        if any(end > size for end in ends):
            return True
        is_compressed = tags.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
        return is_compressed and _zeros_at_end(file, max(ends, default=size)) >= _SECTOR


def _is_cut_bmp(file: IO[bytes], start: bytes, size: int) -> bool:
    return bool(struct.unpack("<I", start[2:6])[0] > size)


def _is_cut_webp(file: IO[bytes], start: bytes, size: int) -> bool:
    is_cut = bool(struct.unpack("<I", start[4:8])[0] + 8 > size)
    return is_cut or _zeros_at_end(file, _length(start, size)) >= _SECTOR


_CHECKS: dict[bytes, Callable[[IO[bytes], bytes, int], bool]] = {
    b"\xff\xd8": _is_cut_jpeg,
    b"\x89PNG": _is_cut_png,
    b"II": _is_cut_tiff,
    b"MM": _is_cut_tiff,
    b"BM": _is_cut_bmp,
    b"RIFF": _is_cut_webp,
    b"\0\0\0\x0cjP": _is_cut_jpeg_2000,
    b"\xff\x4f\xff\x51": _is_cut_jpeg_2000,
}
"""By the first bytes of a file."""
