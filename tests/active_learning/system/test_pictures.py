from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.system.pictures import write_small_picture


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        pytest.param("a.jpg", (300, 600, 3), (50, 100, 3), id="made smaller"),
        pytest.param("a.jpg", (30, 60, 3), (30, 60, 3), id="small already"),
        pytest.param("\u00e4.png", (200, 1, 4), (100, 1, 4), id="one pixel wide, with opacity, an umlaut"),
    ],
)
def test_a_picture_is_no_longer_than_wanted(tmp_path: Path, name: str, shape: tuple, expected: tuple) -> None:
    pixels = np.full(shape, 200, np.uint8)
    pixels[..., 0] = 20
    write_small_picture(tmp_path / name, pixels, 100)
    written = cv2.imdecode(np.frombuffer((tmp_path / name).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert written.shape == expected
    assert abs(written[0, 0].astype(int) - pixels[0, 0]).max() <= 3


def test_a_part_of_an_image_can_be_written(tmp_path: Path) -> None:
    pixels = np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)
    write_small_picture(tmp_path / "a.png", pixels[5:25, 3:13], 100)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png")), pixels[5:25, 3:13])


def test_where_it_cannot_be_written_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        write_small_picture(tmp_path / "gone" / "a.png", np.zeros((4, 4, 3), np.uint8), 100)
