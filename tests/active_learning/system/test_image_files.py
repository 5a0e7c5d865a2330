from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from active_learning.annotations.documents import read_content
from active_learning.dataset.image_size import image_size
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system.disk_space import REMEDIES
from active_learning.system.image_files import image_file, pixels_fault, read_pixels
from active_learning.system.pixel_limit import pixel_limit
from detectron2.data.detection_utils import read_image


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"%!PS-Adobe", "is a PostScript file, which is not read; save it as JPEG or PNG", id="kind"),
        pytest.param(b"text", "is no image or is damaged; replace or remove it", id="no image"),
        pytest.param(b"RIFF\x10\0\0\0WEBPVP8 ", "cannot be read as an image: ", id="damaged"),
        pytest.param(None, "is no regular file; replace or remove it", id="pipe"),
    ],
)
def test_faults_name_file_and_remedy(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.png"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(MaskALError) as caught:
        image_size(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert pixels_fault(path) == str(caught.value)


COLOURS = np.random.default_rng(0).integers(0, 4096, (24, 40, 3))
LOSSLESS = cv2.imencode(".png", COLOURS.astype(np.uint16))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [
        pytest.param(lambda: cv2.imencode(".tif", COLOURS / 4096)[1].tobytes(), True, id="colours of doubles"),
        pytest.param(lambda: cv2.imencode(".tif", COLOURS[:, :, 0] / 9)[1].tobytes(), True, id="greys of doubles"),
        pytest.param(lambda: cv2.imencode(".tif", COLOURS.astype(np.float32))[1].tobytes(), True, id="floats"),
        pytest.param(lambda: LOSSLESS, True, id="16 bits"),
        pytest.param(lambda: LOSSLESS[:-40] + LOSSLESS[-24:], False, id="16 bits, cut in the middle"),
        pytest.param(lambda: float_tiff(np.nan), False, id="floats without a number"),
    ],
)
def test_what_is_whole_is_what_a_training_reads(tmp_path: Path, content: Callable[[], bytes], is_whole: bool) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content())
    fault = pixels_fault(path)
    assert (fault == "") == is_whole, fault
    with nullcontext() if is_whole else pytest.raises(OSError, match="cannot be read as an image"):
        read_image(str(path), "BGR")


def float_tiff(value: float) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.float32)).save(stream, "TIFF")
    return stream.getvalue()


def test_the_limit_is_that_of_the_settings_alone(tmp_path: Path) -> None:
    path, before = tmp_path / "a.png", Image.MAX_IMAGE_PIXELS
    Image.new("1", (2000, 1000)).save(path)
    assert image_size(path, 2_000_000) == (1000, 2000)
    with pytest.raises(MaskALError, match="2 million pixels .*; raise max_image_megapixels"):
        image_size(path, 1_999_999)
    with pytest.raises(MaskALError, match="2 million"), image_file(path, 1_999_999) as file:
        read_pixels(file)
    with pixel_limit(5), pytest.raises(MaskALError), image_file(path, 6):
        raise OSError("something else")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_fault_of_the_system_is_not_laid_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (2, 2)).save(path)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", fail)
    reason = f"{os.strerror(number)}; {REMEDIES[number]}"
    assert pixels_fault(path) == f"{path}: cannot be read as an image: {reason}"
    path = path.with_suffix(".json")
    path.touch()
    with pytest.raises(AnnotationError) as caught:
        read_content(path)
    assert str(caught.value) == f"{path}: cannot be read: {reason}"
