"""Which files are opened as images, how large they may be, and what is seen of pixels of more than 8 bits."""

from __future__ import annotations

import ast
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detectron2.data.detection_utils import read_image
from detectron2.utils import image_file
from detectron2.utils.image_file import FORMATS, UnknownImageError, open_image, read_size

ROOT = Path(__file__).resolve().parents[3]
HEIGHT, WIDTH = 24, 40
GREYS = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
COLOURS = np.dstack([GREYS, GREYS[::-1], GREYS[:, ::-1]])
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def of_pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def of_opencv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def png_16(pixels: np.ndarray, colour_type: int) -> bytes:
    """Grey with alpha (4), which neither library writes with 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]  # fmt: skip
    whole = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


DARK = (GREYS * 4).astype(np.uint16)  # of 65535, at most 3836: 12 bits in 16
DARK_COLOURS = (COLOURS * 4).astype(np.uint16)
HOT = np.where(GREYS == 500, 65535, DARK).astype(np.uint16)
SPARSE = np.where(GREYS == 500, 900, 0).astype(np.uint16)
UNIT = (GREYS / GREYS.max()).astype(np.float32)
DEEP: dict[str, Callable[[], bytes]] = {
    "12 bits in a TIFF": lambda: of_pillow(Image.fromarray(DARK), "TIFF"),
    "12 bits in a PNG": lambda: of_pillow(Image.fromarray(DARK), "PNG"),
    "12 bits in a PGM": lambda: of_opencv(".pgm", DARK),
    "12 bits in a JPEG 2000": lambda: of_pillow(Image.fromarray(DARK), "JPEG2000"),
    "colours of 12 bits in a PNG": lambda: of_opencv(".png", DARK_COLOURS),
    "colours of 12 bits with alpha": lambda: of_opencv(".png", np.dstack([DARK_COLOURS, DARK])),
    "greys of 12 bits with alpha": lambda: png_16(np.dstack([DARK, np.full_like(DARK, 65535)]), 4),
    "colours of 12 bits in a TIFF": lambda: of_opencv(".tif", DARK_COLOURS),
    "colours of 12 bits in a PPM": lambda: of_opencv(".ppm", DARK_COLOURS),
    "colours of 12 bits in a JPEG 2000": lambda: of_opencv(".jp2", np.tile(DARK_COLOURS, (4, 4, 1))),
    "floats of 0 to 1": lambda: of_pillow(Image.fromarray(UNIT), "TIFF"),
    "floats of 1e30": lambda: of_pillow(Image.fromarray(UNIT * 1e30), "TIFF"),
    "negative floats": lambda: of_pillow(Image.fromarray(UNIT - 7), "TIFF"),
    "floats with NaN": lambda: of_pillow(Image.fromarray(np.where(GREYS < 300, np.nan, UNIT)), "TIFF"),
    "floats with infinity": lambda: of_pillow(Image.fromarray(np.where(GREYS == 3, np.inf, UNIT)), "TIFF"),
    "colours of floats": lambda: of_opencv(".tif", (COLOURS / 1000).astype(np.float32)),
    "colours of doubles": lambda: of_opencv(".tif", COLOURS / 1000),
    "doubles": lambda: of_opencv(".tif", GREYS / 1000),
    "32 bits": lambda: of_pillow(Image.fromarray((GREYS * 1000).astype(np.int32)), "TIFF"),
    "16 bits with a sign": lambda: of_opencv(".tif", (GREYS - 400).astype(np.int16)),
    "a hot pixel": lambda: of_pillow(Image.fromarray(HOT), "PNG"),
    "few pixels that are not 0": lambda: of_pillow(Image.fromarray(SPARSE), "PNG"),
    "8 bits in 16": lambda: of_pillow(Image.fromarray((GREYS % 201).astype(np.uint16)), "PNG"),
    "nodata of GDAL": lambda: of_pillow(
        Image.fromarray(np.where(GREYS < 300, np.float32(-9999), UNIT)), "TIFF", tiffinfo={42113: "-9999"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_deep_pixels_are_seen(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"  # the content counts, not the suffix
    path.write_bytes(DEEP[name]())
    seen = read_image(str(path), "BGR")
    assert (seen.dtype, seen.shape[2]) == (np.uint8, 3)
    assert (seen.min(), seen.max()) == (0, 255)
    if name != "few pixels that are not 0":
        assert 60 < seen[seen > 0].mean() < 200
    with path.open("rb") as file:
        assert read_size(file) == seen.shape[:2]


def test_bands_keep_their_order(tmp_path: Path) -> None:
    """OpenCV has blue first."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    pixels[:, :9, 0], pixels[:, 9:, 2] = 3000, 3000
    (tmp_path / "a.png").write_bytes(of_opencv(".png", pixels))
    seen = read_image(str(tmp_path / "a.png"), "RGB")
    assert seen[0, 0].tolist() == [0, 0, 255]
    assert seen[0, -1].tolist() == [255, 0, 0]


def turned_png(pixels: np.ndarray, orientation: int, behind: int = 33) -> bytes:
    """`behind` is the place of the orientation: after the header, or before the end."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    content = of_opencv(".png", pixels[:, :, ::-1])
    return content[:behind] + chunk + content[behind:]


def tiff(
    pixels: np.ndarray,
    orientation: int = 1,
    sample_format: int = 1,
    planes: bool = False,
    photometric: int = 1,
    compression: int = 1,
) -> bytes:
    """Uncompressed, of any type and number of bands, which lie by themselves as `planes`."""
    height, width, bands = pixels.shape
    bits = pixels.itemsize * 8
    lists = {258: ("H", [bits] * bands), 339: ("H", [sample_format] * bands)} if bands > 1 else {}
    photometric = 2 if bands in (3, 4) else photometric
    values = {256: width, 257: height, 258: bits, 259: compression, 262: photometric, 273: 400, 274: orientation,
              277: bands, 278: height, 279: pixels.nbytes, 284: 1 + planes, 339: sample_format}  # fmt: skip
    if planes:
        size = pixels.nbytes // bands
        lists |= {273: ("I", [400 + size * band for band in range(bands)]), 279: ("I", [size] * bands)}
    entries, extra = b"", b""
    for tag, value in sorted(values.items()):
        kind, numbers = lists.get(tag, ("I", [value]))
        place = 200 + len(extra) if tag in lists else value
        entries += struct.pack("<HHII", tag, 3 if kind == "H" else 4, len(numbers), place)
        extra += struct.pack(f"<{len(numbers)}{kind}", *numbers) if tag in lists else b""
    head = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4)
    content = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if planes else pixels
    return (head.ljust(200, b"\0") + extra).ljust(400, b"\0") + content.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "PNG at its end", "TIFF", "TIFF of floats"])
def test_deep_colours_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    """As the same image with 8 bits is."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:5, :7], pixels[-3:, :2] = 255, (255, 0, 0)
    (tmp_path / "shallow").write_bytes(turned_png(pixels, orientation))
    if kind.startswith("PNG"):
        content = turned_png(pixels.astype(np.uint16) * 9, orientation, -12 if "end" in kind else 33)
    elif kind == "TIFF":
        content = tiff(pixels.astype(np.uint16) * 9, orientation)
    else:
        content = tiff(pixels.astype(np.float32) / 9, orientation, sample_format=3)
    (tmp_path / "deep").write_bytes(content)
    seen = read_image(str(tmp_path / "deep"), "RGB")
    np.testing.assert_array_equal(seen, read_image(str(tmp_path / "shallow"), "RGB"))
    with (tmp_path / "deep").open("rb") as file:
        assert read_size(file) == seen.shape[:2]


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def with_xmp(kind: str, pixels: np.ndarray) -> bytes:
    """Orientation 6, as Lightroom and darktable write it."""
    image = Image.fromarray(pixels)
    if not kind.startswith("PNG"):
        return of_pillow(image, kind, **({"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP}))
    block = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    chunk = struct.pack(">I", len(block)) + b"iTXt" + block + struct.pack(">I", zlib.crc32(b"iTXt" + block))
    content, place = of_pillow(image, "PNG"), -12 if "end" in kind else 33
    return content[:place] + chunk + content[place:]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG", "PNG at its end", "TIFF of 16 bits", "PNG of 16 bits"])
def test_an_orientation_by_xmp_counts_for_size_and_pixels(tmp_path: Path, kind: str) -> None:
    pixels = (GREYS // 4).astype(np.uint8)
    deep = "16" in kind
    content = with_xmp(kind.removesuffix(" of 16 bits"), DARK if deep else pixels)
    (tmp_path / "a").write_bytes(content)
    seen = read_image(str(tmp_path / "a"), "L")
    with (tmp_path / "a").open("rb") as file:
        assert read_size(file) == seen.shape[:2] == (WIDTH, HEIGHT)
    assert seen[0, 0, 0] > 200 > 60 > seen[0, -1, 0]  # turned clockwise


@pytest.mark.parametrize(
    ("content", "low"),
    [
        pytest.param(lambda: tiff(DARK[:, :, None], photometric=0), 1, id="white is 0"),
        pytest.param(lambda: tiff((GREYS[:, :, None] * 4_000_000).astype(np.uint32)), 0, id="32 bits, above 2^31"),
    ],
)
def test_greys_that_pillow_misreads(tmp_path: Path, content: Callable[[], bytes], low: int) -> None:
    (tmp_path / "a.tif").write_bytes(content())
    seen = read_image(str(tmp_path / "a.tif"), "L")[:, :, 0].ravel().astype(int)
    seen = seen[::-1] if low else seen
    assert seen[0] == 0 and seen[-1] == 255 and (np.diff(seen) >= 0).all()


def test_greys_keep_their_bits_where_no_format_is_asked_for(tmp_path: Path) -> None:
    Image.fromarray(DARK).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), DARK)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(POSTSCRIPT, "is a PostScript file, which is not read", id="PostScript"),
        pytest.param(b"\xc5\xd0\xd3\xc6" + bytes(26) + POSTSCRIPT, "is a PostScript file", id="PostScript for DOS"),
        pytest.param(b"%PDF-1.4\n", "is a PDF file", id="PDF"),
        pytest.param(of_pillow(Image.new("L", (8, 8)), "GIF"), "is a GIF image, which is not read; save", id="GIF"),
        pytest.param(of_pillow(Image.new("RGB", (8, 8)), "TGA"), "is no image or is damaged", id="TGA"),
        pytest.param(of_pillow(Image.new("RGB", (16, 16)), "ICO"), "is no image or is damaged", id="icon"),
        pytest.param(b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC image", id="HEIC"),
        pytest.param(b"\0\0\0\x18ftypavif" + bytes(40), "is an AVIF image", id="AVIF"),
        pytest.param(b"#define x_width 8\n#define x_height 8\n", "is no image or is damaged", id="XBM"),
        pytest.param(b"II*\0\x08\0\0\0\0\0", "no image", id="TIFF"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS.* `git lfs pull`", id="LFS"),
        pytest.param(b"", "is no image", id="empty"),
    ],
)  # fmt: skip
def test_other_kinds_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(OSError, match=rf"a\.png: cannot be read as an image: .*{message}"):
        read_image(str(path), "BGR")


@pytest.mark.parametrize(
    ("pixels", "sample_format"),
    [(DARK_COLOURS, 1), ((COLOURS / 9).astype(np.float32), 3)],
    ids=["16 bits", "floats"],
)
def test_deep_colours_in_planes_are_refused(tmp_path: Path, pixels: np.ndarray, sample_format: int) -> None:
    """Pillow reads every other byte of 16 bits, OpenCV the bands in a row."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(pixels, sample_format=sample_format, planes=True))
    for read in (lambda: read_image(str(path), "BGR"), lambda: read_size(path.open("rb"))):
        with pytest.raises(
            OSError, match=r"a TIFF image of 3 bands of \d+ bits.* in planes, which is not read; save it"
        ):
            read()
    path.write_bytes(tiff((COLOURS // 4).astype(np.uint8), planes=True))
    np.testing.assert_array_equal(read_image(str(path), "RGB"), COLOURS // 4)


def test_a_tiff_of_five_bands_is_refused_with_its_bands(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((8, 8, 5), np.uint8)))
    with pytest.raises(OSError, match="a TIFF image of 5 bands of 8 bits, which is not read; save it as an 8-bit RGB"):
        read_image(str(tmp_path / "a.tif"), "BGR")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (lambda: tiff((GREYS[:, :, None] % 99).astype(np.int8), sample_format=2), "1 band of 8 bits with a sign"),
        (lambda: tiff(UNIT[:, :, None].astype(np.float16), sample_format=3), "1 band of 16 bits as floats"),
        (lambda: tiff(DARK_COLOURS, compression=50000), "3 bands of 16 bits, compressed by zstd"),
        (lambda: tiff(DARK[:, :, None], compression=34887), "1 band of 16 bits, compressed by kind 34887"),
        (
            lambda: tiff(np.zeros((8, 8, 3), np.uint8), compression=34712),
            "3 bands of 8 bits, compressed by kind 34712",
        ),
    ],
    ids=["a sign", "half floats", "zstd", "LERC", "JPEG 2000"],
)
def test_other_kinds_of_tiff_are_refused_by_their_header(
    tmp_path: Path, content: Callable[[], bytes], kind: str
) -> None:
    """So that `--check` finds them without decoding images."""
    path = tmp_path / "a.tif"
    path.write_bytes(content())
    for read in (lambda: read_image(str(path), "BGR"), lambda: read_size(path.open("rb"))):
        with pytest.raises(OSError, match=f"is a TIFF image of {kind}, which is not read; save it as an 8-bit RGB"):
            read()


def test_a_damaged_tiff_without_a_size_is_no_image(tmp_path: Path) -> None:
    path, content = tmp_path / "a.tif", tiff(DARK_COLOURS.astype(np.float32), sample_format=3)
    path.write_bytes(content.replace(struct.pack("<H", 256), struct.pack("<H", 255), 1))
    for read in (lambda: read_image(str(path), "BGR"), lambda: read_size(path.open("rb"))):
        with pytest.raises(OSError, match="TIFF image of 3 bands"):
            read()


def test_no_program_is_started_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would have Ghostscript read a PostScript file of any name."""
    called, tools = tmp_path / "called", tmp_path / "bin"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {called}\n", encoding="utf-8")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    for suffix in ("png", "jpg", "tif", "eps"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(POSTSCRIPT)
        with pytest.raises(OSError, match="PostScript"):
            read_image(str(path), "BGR")
    assert not called.exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "device": lambda: path.symlink_to("/dev/zero")}[kind]()
    with pytest.raises(OSError, match=r"a\.png: cannot be read as an image: is no regular file"):
        read_image(str(path), "BGR")


def test_a_file_of_far_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBP")
        file.truncate(image_file.MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(OSError, match=r"has 8000000001 bytes"):
        read_image(str(path), "BGR")


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_large_images_are_read_up_to_a_limit_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    Image.new("1", (14_000, 14_000)).save(path, compression="group4")
    assert read_image(str(path), "L").shape == (14_000, 14_000, 1)
    path = tmp_path / "a.png"
    Image.new("1", (14_000, 14_000)).save(path)
    assert read_image(str(path), "L").shape == (14_000, 14_000, 1)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 195_999_999)  # a program's own limit holds
    with pytest.raises(OSError, match=r"has 196 million pixels \(14000 x 14000\), more than the 196 million"):
        read_image(str(path), "L")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(image_file, "MAX_PIXELS", 10**8)
    with path.open("rb") as file, pytest.raises(Image.DecompressionBombError, match="more than the 100 million"):
        open_image(file)


def test_each_format_of_the_list_is_one_of_pillow(tmp_path: Path) -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)
    assert "EPS" not in FORMATS
    for suffix in ("bmp", "dib", "jpg", "jp2", "png", "ppm", "tif", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray((COLOURS // 4).astype(np.uint8)).save(path)
        assert read_image(str(path), "BGR").shape == (HEIGHT, WIDTH, 3)


def test_an_mpo_file_of_a_camera_is_a_jpeg(tmp_path: Path) -> None:
    picture = Image.new("RGB", (WIDTH, HEIGHT), (200, 0, 0))
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture])
    assert read_image(str(tmp_path / "a.jpg"), "RGB").shape == (HEIGHT, WIDTH, 3)


def test_an_unknown_kind_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownImageError):
        open_image(io.BytesIO(POSTSCRIPT))


def test_image_files_are_opened_in_one_place_alone() -> None:
    """Whatever reads an image goes through `open_image`, which knows the formats."""
    wrong = []
    for path in [*(ROOT / "active_learning").rglob("*.py"), *(ROOT / "detectron2").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                if called in ("Image.open", "cv2.imread", "plt.imread") and path.name != "image_file.py":
                    wrong.append(f"{path}:{node.lineno}: {called}")
    assert not wrong
