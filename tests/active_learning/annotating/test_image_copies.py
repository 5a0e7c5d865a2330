"""What is drawn on a copy that a person has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from active_learning.annotating.image_copies import fault_of_copy, renamed_copies

TURNED = "is turned or mirrored against"


def saved(image: Image.Image, path: Path) -> None:
    image.save(path, quality=60)


def turned(how: Image.Transpose) -> Callable[[Image.Image, Path], None]:
    return lambda image, path: saved(image.transpose(how), path)


def another_one(_: Image.Image, path: Path) -> None:
    """Of the image folder, as where two copies were given each other's names."""
    shutil.copy(path.parent.parent / "s" / "b.jpg", path)


def turned_by_a_tag(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image.save(path, quality=95, exif=exif)


CHANGES: dict[str, tuple[Callable[[Image.Image, Path], object], str]] = {
    "as it is": (lambda *_: None, ""),
    "saved anew": (saved, ""),
    "in greys": (lambda image, path: saved(image.convert("L"), path), ""),
    "brighter": (lambda image, path: saved(ImageEnhance.Brightness(image).enhance(1.5), path), ""),
    "turned by 180 degrees": (turned(Image.Transpose.ROTATE_180), TURNED),
    "turned by its EXIF tag": (turned_by_a_tag, TURNED),
    "mirrored": (turned(Image.Transpose.FLIP_LEFT_RIGHT), TURNED),
    "turned by 90 degrees": (turned(Image.Transpose.ROTATE_90), TURNED),
    "mirrored along the diagonal": (turned(Image.Transpose.TRANSPOSE), TURNED),
    "another one's": (another_one, "b.jpg, and not "),
    "cropped": (lambda image, path: saved(image.crop((0, 0, 100, 90)), path), "has 100 x 90 pixels, and"),
    "damaged": (lambda _, path: path.write_bytes(b"\xff\xd8"), ""),
    "gone": (lambda _, path: path.unlink(), ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_drawn_on_a_copy_has_to_fit_the_image(tmp_path: Path, change: str) -> None:
    make, fault = CHANGES[change]
    corners = np.random.default_rng(0).integers(0, 255, (2, 5, 5, 3), np.uint8)
    image, other = (Image.fromarray(one).resize((120, 120), Image.Resampling.BICUBIC) for one in corners)
    copy = tmp_path / "annotate" / "a.jpg"
    for folder in (copy.parent, tmp_path / "s"):
        folder.mkdir()
    for path in (tmp_path / "a.jpg", copy):
        image.save(path, quality=95)
    other.save(tmp_path / "s" / "b.jpg", quality=95)
    make(image, copy)
    found = fault_of_copy(tmp_path, "a.jpg")
    assert fault in found and bool(fault) == bool(found)


def test_an_even_image_is_not_called_turned(tmp_path: Path) -> None:
    (tmp_path / "annotate").mkdir()
    Image.new("RGB", (60, 60), "green").save(tmp_path / "a.png")
    Image.new("RGB", (60, 60), "red").save(tmp_path / "annotate" / "a.png")
    assert not fault_of_copy(tmp_path, "a.png")


def test_a_copy_that_is_put_right_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "annotate").mkdir()
    image = Image.linear_gradient("L")
    image.save(tmp_path / "a.png")
    image.rotate(180).save(tmp_path / "annotate" / "a.png")
    assert TURNED in fault_of_copy(tmp_path, "a.png")
    image.save(tmp_path / "annotate" / "a.png")
    assert not fault_of_copy(tmp_path, "a.png")


@pytest.mark.parametrize("suffix", ["bmp", "tif", "ppm"])
def test_a_turned_copy_may_have_as_many_bytes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "annotate").mkdir()
    image = Image.linear_gradient("L").resize((80, 60))
    image.save(tmp_path / f"a.{suffix}")
    image.rotate(90, expand=True).save(tmp_path / "annotate" / f"a.{suffix}")
    assert "has 60 x 80 pixels, and" in fault_of_copy(tmp_path, f"a.{suffix}")


@pytest.mark.parametrize(
    ("now", "is_named"),
    [("scene 5.png", True), ("s/scene 5.png", True), ("s/a.png", False), ("a.png", False), ("b.png", False)],
    ids=["renamed", "renamed and moved", "moved", "as it was", "the name of another image"],
)
def test_a_copy_under_another_name(tmp_path: Path, now: str, is_named: bool) -> None:
    """What has the name of another image is a fault of that one's copy."""
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (60, 40 + number)).save(tmp_path / name)
    copy = tmp_path / "annotate" / now
    copy.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "a.png", copy)
    assert not renamed_copies(tmp_path, ["b.png"])
    fault = f"{copy}: is a.png under another name; give that name back to it, and to what was saved for it"
    assert renamed_copies(tmp_path, ["a.png", "b.png"]) == ({"a.png": fault} if is_named else {})
    copy.unlink()
    assert not renamed_copies(tmp_path, ["a.png"])
