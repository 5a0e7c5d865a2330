from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.dataset import whole_images
from active_learning.dataset.whole_images import WholeImages

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "c.tif", "d.webp", "e.bmp"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.tif", "d.webp", "e.bmp"])
def test_an_image_that_is_cut_off_is_named(folder: Path, name: str) -> None:
    images, check = sorted(path.name for path in folder.iterdir()), WholeImages(folder)
    assert check.faults(images) == []
    cut(folder / name)
    (fault,) = check.faults(images)
    assert fault.startswith(f"{folder / name}: ")
    assert fault.endswith("; replace or remove it")


def test_an_image_whose_end_was_never_written_is_named(folder: Path) -> None:
    content = bytes(folder.joinpath("b.jpg").read_bytes()[:1500])
    (folder / "b.jpg").write_bytes(content + bytes(9000))
    (fault,) = WholeImages(folder).faults(["a.png", "b.jpg"])
    assert "b.jpg: " in fault


def test_an_image_is_decoded_once_while_it_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    whole_fault = whole_images.whole_fault

    def decode(path: Path, most_pixels: int | None) -> str:
        decoded.append(path.name)
        return whole_fault(path, most_pixels)

    monkeypatch.setattr(whole_images, "whole_fault", decode)
    check = WholeImages(folder)
    check.faults(["a.png", "b.jpg"])
    check.faults(["a.png", "b.jpg"])
    assert sorted(decoded) == ["a.png", "b.jpg"]
    cut(folder / "b.jpg")
    assert len(check.faults(["a.png", "b.jpg"])) == len(check.faults(["b.jpg"])) == 1  # a fault is looked at again
    assert decoded.count("b.jpg") == 3


def test_an_image_that_is_gone_or_too_large_is_a_fault(folder: Path) -> None:
    (fault,) = WholeImages(folder).faults(["gone.png"])
    assert "gone.png: cannot be read as an image: No such file" in fault
    (fault,) = WholeImages(folder, most_pixels=4799).faults(["a.png"])
    assert fault.endswith("more than the 0.004799 million that are allowed; raise max_image_megapixels")
