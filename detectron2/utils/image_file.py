"""Image files: which are read, how large they may be, their size, and their pixels as 8 bits.

Nothing but the formats listed is handed to Pillow, which would start Ghostscript for a PostScript file of any name.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from detectron2.utils.deep_pixels import decode_deep, stretched

FORMATS = ("BMP", "DIB", "JPEG", "JPEG2000", "PNG", "PPM", "SUN", "TIFF", "WEBP")  # MPO files count as JPEG
MAX_PIXELS = 10**9
MAX_BYTES = 8 * MAX_PIXELS  # so many pixels of 4 channels of 16 bits
# What Pillow's plug-ins raise at damaged files, and what is raised here.
DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError,
    struct.error, Image.DecompressionBombError,
)  # fmt: skip
_OPENING = threading.Lock()
_PILLOWS_LIMIT = 89_478_485  # Image.MAX_IMAGE_PIXELS, unless a program has set another
_ORIENTATION, _NODATA = 0x0112, 42113  # tags of EXIF and of GDAL
_TRANSPOSED = (5, 6, 7, 8)  # the orientations that swap height and width
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB\x60\x82"
_PNG_HEADERS = (b"IHDR", b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # what the orientation may stand in
_SIGNED, _FLOATS = 2, 3  # of TIFF's SampleFormat
_COMPRESSIONS_OF_OPENCV = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, and deflate's older number
_BANDS = ((1, 1), (3, 2), (4, 2))  # that OpenCV reads, and their PhotometricInterpretation: greys and colours
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_OTHER_KINDS = {
    b"GIF8": "a GIF image",
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file",
    b"%PDF": "a PDF file",
    b"8BPS": "a Photoshop image",
    b"v/1\x01": "an OpenEXR image",
}
_GIT_LFS = b"version https://git-lfs"  # how a file begins that stands for another until that is fetched
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
        One of DAMAGED: it is damaged.
    """
    with _without_limit() as limit:
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise UnknownImageError(_why_unknown(file)) from error
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_misread(image.tag_v2):
        raise UnknownImageError(_kind_of_tiff(image.tag_v2))
    _check_size(*image.size, limit)
    return image


@contextlib.contextmanager
def _without_limit() -> Iterator[int | None]:
    """Pillow has no other way to read large images than a switch for all threads; gives what it was set to."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield limit
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(width: int, height: int, limit: int | None) -> None:
    limit = MAX_PIXELS if limit in (None, _PILLOWS_LIMIT) else min(limit, MAX_PIXELS)
    if width * height > limit:
        raise Image.DecompressionBombError(
            f"has {width * height / 1e6:.0f} million pixels ({width} x {height}), more than the "
            f"{limit / 1e6:g} million that are allowed"
        )


def _why_unknown(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(len(_GIT_LFS))
    if start == _GIT_LFS:
        return "is a pointer of Git LFS to the image; fetch that with `git lfs pull`"
    known = _OTHER_KINDS.get(start[:4]) or (_OTHER_BRANDS.get(start[8:12]) if start[4:8] == b"ftyp" else None)
    if known:
        return f"is {known}, which is not read; save it as JPEG or PNG"
    if start[:4] in _TIFF_STARTS:
        with contextlib.suppress(*DAMAGED):
            return _kind_of_tiff(_tiff_tags(file))
    return "is no image or is damaged"


def _kind_of_tiff(tags: Any) -> str:
    bits, compression = tags[TiffImagePlugin.BITSPERSAMPLE], tags.get(TiffImagePlugin.COMPRESSION, 1)
    kind = f"is a TIFF image of {len(bits)} band{'s' * (len(bits) > 1)} of {max(bits)} bits"
    kind += {_SIGNED: " with a sign", _FLOATS: " as floats"}.get(_sample_format(tags), "")
    kind += " in planes" if _has_planes(tags) else ""
    if compression not in _COMPRESSIONS_OF_OPENCV:
        name = TiffImagePlugin.COMPRESSION_INFO.get(compression, f"kind {compression}")
        kind += f", compressed by {name.removeprefix('tiff_')}"
    return f"{kind}, which is not read; save it as an 8-bit RGB image"


def _sample_format(tags: Any) -> int:
    """Of the first band."""
    return int(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0])


def _has_planes(tags: Any) -> bool:
    """Whether each band lies by itself."""
    return tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2 and len(tags[TiffImagePlugin.BITSPERSAMPLE]) > 1


def _is_misread(tags: Any) -> bool:
    """Whether Pillow takes the pixels for something else, and OpenCV, which reads colours of more than 8 bits, too."""
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    if max(bits) <= 8:
        return max(bits) == 8 and _sample_format(tags) == _SIGNED
    return len(bits) > 1 and (_has_planes(tags) or not _opencv_decompresses(tags))


def _opencv_decompresses(tags: Any) -> bool:
    return tags.get(TiffImagePlugin.COMPRESSION, 1) in _COMPRESSIONS_OF_OPENCV


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
    """Width and height as stored, and the orientation by EXIF or else by XMP, as Pillow's `exif_transpose` finds it."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer versions of Pillow have swapped `size` already
        return *_tiff_header(image.tag_v2)[:2], _orientation(image)
    if isinstance(image, PngImagePlugin.PngImageFile):
        return *image.size, _png_orientation(image)
    return *image.size, _orientation(image)


def _tiff_header(tags: Any) -> tuple[int, int, int]:
    return tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH], tags.get(_ORIENTATION, 1)


def _orientation(image: Image.Image) -> int:
    """1 where the block cannot be read, which does not affect the pixels."""
    orientation = 1
    with contextlib.suppress(*DAMAGED):  # not the method of PngImageFile, which decodes the pixels
        orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return orientation


def _png_orientation(image: PngImagePlugin.PngImageFile) -> int:
    """PNG allows EXIF and XMP behind the pixels, which Pillow would decode: so it gets the file without them."""
    stream = image.fp
    if stream is None:
        raise ValueError("the image has been closed")
    stream.seek(len(_PNG_START))
    chunks = [_PNG_START]
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in _PNG_HEADERS:
            content = stream.read(length)
            chunks += [header, content, struct.pack(">I", zlib.crc32(kind + content))]
        stream.seek(4 if kind in _PNG_HEADERS else length + 4, os.SEEK_CUR)
    without_pixels = io.BytesIO(b"".join([*chunks, _PNG_END]))
    with contextlib.suppress(*DAMAGED), PngImagePlugin.PngImageFile(without_pixels) as headers:
        return _orientation(headers)
    return 1


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
            by_opencv = isinstance(image, TiffImagePlugin.TiffImageFile) and _ORIENTATION in image.tag_v2
            orientation = _header(image)[2] if deep and not by_opencv else 1
            file.seek(place)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                with _without_limit():  # of which it asks once more
                    image.load_prepare()
            image.load()  # finds what is cut off, which OpenCV fills up without a word
            if deep:
                return _deep_image(file, orientation, _nodata(image))
            _turn_upright(image)
            greys = _white_is_most(image)
            return greys if deep_greys else eight_bits(greys)
    except UnknownImageError:
        if (tags := _deep_tiff_tags(file)) is None:
            raise
        _check_size(*_tiff_header(tags)[:2], Image.MAX_IMAGE_PIXELS)
        return _deep_image(file, 1, tags.get(_NODATA))


def check_pixels(file: IO[bytes]) -> None:
    """Raises as `read_pixels` does, which takes longer."""
    with contextlib.suppress(OSError), open_image(file) as image:  # read_pixels reads more kinds
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft("RGB", (1, 1))  # all is read, but turned into few pixels, which is much faster
            image.load()
            return
    read_pixels(file)


def read_small(file: IO[bytes], side: int) -> Image.Image:
    """As `read_pixels`; of a JPEG file greys alone, and about `side` by `side` pixels, which is much faster."""
    with contextlib.suppress(OSError), open_image(file) as image:  # read_pixels reads more kinds
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft("L", (side, side))
            image.load()
            _turn_upright(image)
            return image
    return read_pixels(file)


def _turn_upright(image: Image.Image) -> None:
    # A damaged EXIF block does not affect the pixels, and Pillow may fail to write it back after turning them.
    with contextlib.suppress(*DAMAGED):
        ImageOps.exif_transpose(image, in_place=True)


def eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits and floats become 8 bits (`stretched`); other images are given back.

    Raises ValueError where there is no number among the pixels.
    """
    if image.mode[0] not in "IF":
        return image
    pixels = np.asarray(image)
    if _has_large_numbers(image):
        pixels = pixels.view(np.uint32)
    return Image.fromarray(stretched(pixels, _nodata(image)))


def _has_large_numbers(image: Image.Image) -> bool:
    """Whether Pillow has taken 32 bits without a sign for some with one."""
    if image.mode != "I" or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return max(image.tag_v2[TiffImagePlugin.BITSPERSAMPLE]) == 32 and _sample_format(image.tag_v2) == 1


def _white_is_most(image: Image.Image) -> Image.Image:
    """A TIFF may have 0 for white; Pillow turns 8 bits of that round, and not 16."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    white_is_zero = image.mode.startswith("I;16") and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return Image.fromarray(np.invert(np.asarray(image))) if white_is_zero else image


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
    with contextlib.suppress(*DAMAGED):
        tags = _tiff_tags(file)
        bits, colours = tags[TiffImagePlugin.BITSPERSAMPLE], tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION]
        known = set(bits) <= {16, 32, 64} and not (16 in bits and _sample_format(tags) == _FLOATS)
        if known and (len(bits), colours) in _BANDS and _opencv_decompresses(tags) and not _has_planes(tags):
            return tags if all(_tiff_header(tags)[:2]) else None
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
