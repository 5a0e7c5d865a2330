"""Image files: which are read, how large they may be, their size, and their pixels as 8 bits.

Nothing but the formats listed is handed to Pillow, which would start Ghostscript for a PostScript file of any name.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
from typing import IO, Any

from PIL import Image, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from detectron2.utils.deep_pixels import decode_deep, stretched

FORMATS = ("BMP", "DIB", "JPEG", "JPEG2000", "PNG", "PPM", "SUN", "TIFF", "WEBP")  # MPO files count as JPEG
MAX_PIXELS = 10**9
MAX_BYTES = 8 * MAX_PIXELS  # so many pixels of 4 channels of 16 bits
# What Pillow's plug-ins raise, and what is raised here.
DAMAGED = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
_OPENING = threading.Lock()
_PILLOWS_LIMIT = 89_478_485  # Image.MAX_IMAGE_PIXELS, unless a program has set another
_ORIENTATION, _NODATA = 0x0112, 42113  # tags of EXIF and of GDAL
_TRANSPOSED = (5, 6, 7, 8)  # the orientations that swap height and width
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_OTHER_KINDS = {
    b"GIF8": "a GIF image",
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file",
    b"%PDF": "a PDF file",
    b"8BPS": "a Photoshop image",
    b"v/1\x01": "an OpenEXR image",
}
_OTHER_BRANDS = {b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIC image", b"avif": "an AVIF image"}


class UnknownImageError(OSError):
    """A file that is no image of a kind that is read here."""


def check_file(path: str) -> None:
    """Raises UnknownImageError where a local path leads to a pipe, device or folder, or to far too many bytes."""
    try:
        status = os.stat(path)  # noqa: PTH116 (may be an address)
    except (OSError, ValueError):  # an address of the web, or not there: opening it reports that
        return
    if not stat.S_ISREG(status.st_mode):
        raise UnknownImageError("is no regular file")
    if status.st_size > MAX_BYTES:
        raise UnknownImageError(f"has {status.st_size} bytes; images of more than {MAX_BYTES} are not read")


def open_image(file: IO[bytes]) -> ImageFile.ImageFile:
    """The image of an open file, of which the header is read. Formats and size are checked.

    Raises:
        UnknownImageError: it is of another format.
        Image.DecompressionBombError: it has more pixels than MAX_PIXELS, or than a program has allowed by Pillow's
            Image.MAX_IMAGE_PIXELS.
        OSError, SyntaxError, ValueError, struct.error: it is damaged.
    """
    with _OPENING:  # Pillow has no other way to read large images than a switch for all threads
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise UnknownImageError(_why_unknown(file)) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _has_deep_planes(image.tag_v2):
        raise UnknownImageError(_kind_of_tiff(image.tag_v2))
    _check_size(*image.size, limit)
    return image


def _check_size(width: int, height: int, limit: int | None) -> None:
    limit = MAX_PIXELS if limit in (None, _PILLOWS_LIMIT) else min(limit, MAX_PIXELS)
    if width * height > limit:
        raise Image.DecompressionBombError(
            f"has {width * height / 1e6:.0f} million pixels ({width} x {height}), more than the "
            f"{limit / 1e6:g} million that are allowed"
        )


def _why_unknown(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(16)
    known = _OTHER_KINDS.get(start[:4]) or (_OTHER_BRANDS.get(start[8:12]) if start[4:8] == b"ftyp" else None)
    if known:
        return f"is {known}, which is not read; save it as JPEG or PNG"
    if start[:4] in _TIFF_STARTS:
        with contextlib.suppress(*DAMAGED, KeyError, TypeError):
            return _kind_of_tiff(_tiff_tags(file))
    return "is no image or is damaged"


def _kind_of_tiff(tags: Any) -> str:
    bits = tags[TiffImagePlugin.BITSPERSAMPLE]
    kind = f"is a TIFF image of {len(bits)} bands of {max(bits)} bits{' in planes' if _has_deep_planes(tags) else ''}"
    return f"{kind}, which is not read; save it as an 8-bit RGB image"


def _has_deep_planes(tags: Any) -> bool:
    """Whether each band lies by itself, with more than 8 bits, which Pillow and OpenCV take for something else."""
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    return tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2 and len(bits) > 1 and max(bits) > 8


def read_size(file: IO[bytes]) -> tuple[int, int]:
    """(height, width) of an open file in pixels, EXIF-rotated; no pixel is decoded. Raises as `open_image`."""
    try:
        with open_image(file) as image:
            width, height, orientation = _header(image)
    except UnknownImageError:
        if (tags := _deep_tiff_tags(file)) is None:
            raise
        width, height, orientation = _tiff_header(tags)
        _check_size(width, height, Image.MAX_IMAGE_PIXELS)
    return (width, height) if orientation in _TRANSPOSED else (height, width)


def _header(image: Image.Image) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer versions of Pillow have swapped `size` already
        return _tiff_header(image.tag_v2)
    if isinstance(image, PngImagePlugin.PngImageFile):
        return *image.size, _png_orientation(image)
    return *image.size, image.getexif().get(_ORIENTATION, 1)


def _tiff_header(tags: Any) -> tuple[int, int, int]:
    return tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH], tags.get(_ORIENTATION, 1)


def _png_orientation(image: PngImagePlugin.PngImageFile) -> int:
    """PNG allows EXIF behind the pixels, where Pillow would decode them all to find it."""
    if "exif" not in image.info and "Raw profile type exif" not in image.info:
        block = _png_exif_block(image)
        if block is None:
            return 1
        image.info["exif"] = b"Exif\x00\x00" + block
    orientation: int = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return orientation


def _png_exif_block(image: PngImagePlugin.PngImageFile) -> bytes | None:
    """Steps from chunk to chunk."""
    stream = image.fp
    if stream is None:
        raise ValueError("the image has been closed")
    stream.seek(8)
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"eXIf":
            return stream.read(length)
        stream.seek(length + 4, 1)
    return None


def read_pixels(file: IO[bytes], *, deep_greys: bool = False) -> Image.Image:
    """The image of an open file, upright, with 8 bits a channel.

    Of pixels with more bits, and of floats, each band is spread from its least to its greatest values, as annotation
    tools show them (`deep_pixels.stretched`).

    Args:
        deep_greys: greys keep their bits, or are floats.

    Raises as `open_image`.
    """
    try:
        with open_image(file) as image:
            place, deep = file.tell(), _has_deep_colours(image)
            turned = isinstance(image, TiffImagePlugin.TiffImageFile)  # by OpenCV
            orientation = _header(image)[2] if deep and not turned else 1
            file.seek(place)
            image.load()  # finds what is cut off, which OpenCV fills up without a word
            if deep:
                return _deep_image(file, orientation, _nodata(image))
            _turn_upright(image)
            return image if deep_greys else eight_bits(image)
    except UnknownImageError:
        if (tags := _deep_tiff_tags(file)) is None:
            raise
        _check_size(*_tiff_header(tags)[:2], Image.MAX_IMAGE_PIXELS)
        return _deep_image(file, 1, tags.get(_NODATA))


def _turn_upright(image: Image.Image) -> None:
    # A damaged EXIF block does not affect the pixels, and Pillow may fail to write it back after turning them.
    with contextlib.suppress(*DAMAGED, LookupError, TypeError, OverflowError):
        ImageOps.exif_transpose(image, in_place=True)


def eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits and floats become 8 bits (`stretched`); other images are given back.

    Raises ValueError where there is no number among the pixels.
    """
    if image.mode[0] in "IF":
        return Image.fromarray(stretched(image, _nodata(image)))
    return image


def _nodata(image: Image.Image) -> Any:
    return image.tag_v2.get(_NODATA) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow would cut off bits of colours (or of grey with alpha) without looking which are used."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "JPEG2000":
        return _jpeg_2000_bits(image) > 8
    args = image.tile[0][3] if image.tile else ""
    args = args if isinstance(args, tuple) else (args,)
    return int(args[1]) > 255 if image.format == "PPM" and len(args) > 1 else ";16" in str(args[0])


def _jpeg_2000_bits(image: ImageFile.ImageFile) -> int:
    """Of the first component, from the marker SIZ (ISO 15444-1, A.5.1)."""
    stream = image.fp
    if stream is None:
        raise ValueError("the image has been closed")
    stream.seek(0)
    start = stream.read(2**16)
    at = start.find(b"\xff\x4f\xff\x51") + 42
    return (start[at] & 0x7F) + 1 if 42 <= at < len(start) else 8


def _deep_image(file: IO[bytes], orientation: int, nodata: Any) -> Image.Image:
    file.seek(0)
    image = Image.fromarray(stretched(decode_deep(file.read()), nodata))
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    return image if turn is None else image.transpose(Image.Transpose(turn))


def _deep_tiff_tags(file: IO[bytes]) -> Any | None:
    """The tags of a TIFF of colours that Pillow does not read, but OpenCV does; None where it is another file."""
    with contextlib.suppress(*DAMAGED, KeyError, TypeError, EOFError):
        tags = _tiff_tags(file)
        bits = tags[TiffImagePlugin.BITSPERSAMPLE]
        if len(bits) in (1, 3, 4) and set(bits) <= {16, 32, 64} and not _has_deep_planes(tags):
            return tags
    return None


def _tiff_tags(file: IO[bytes]) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Of the first image. Raises one of DAMAGED where it is no TIFF."""
    file.seek(0)
    start = file.read(8)
    if start[:4] not in _TIFF_STARTS:
        raise ValueError("no TIFF file")
    tags = TiffImagePlugin.ImageFileDirectory_v2(start + (file.read(8) if b"+" in start[:4] else b""))
    file.seek(tags.next)
    tags.load(file)
    return tags
