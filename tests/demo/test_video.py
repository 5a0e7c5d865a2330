"""Videos: frames in, frames out, and what OpenCV does not report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.errors import MaskALError
from demo.video import USUAL_FRAME_RATE, VideoReader, VideoWriter
from tests.demo.lost_output import largest_file


def frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.full((height, width, 3), 60 * i + 20, np.uint8) for i in range(count)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 12.5) as writer:
        for frame in frames(3):
            writer.write(frame)
    reader = VideoReader(tmp_path / "a.mp4")
    assert (reader.frame_rate, reader.announced) == (12.5, 3)
    for read, frame in zip(list(reader), frames(3), strict=True):
        assert np.abs(read.astype(int) - frame).max() <= 6
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["a.mp4"]


@pytest.mark.parametrize("name", ["a.unfinished.mp4", "a.unfinished1.mp4"])
def test_a_video_of_the_name_of_a_half_written_one_stays(tmp_path: Path, name: str) -> None:
    for taken in {"a.unfinished.mp4", name}:
        (tmp_path / taken).write_bytes(b"a person's")
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(frames(1)[0])
    assert (tmp_path / name).read_bytes() == b"a person's"
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


def test_an_earlier_video_stays_if_the_new_one_fails(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"earlier")
    with pytest.raises(RuntimeError, match="broke"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(frames(1)[0])
        raise RuntimeError("broke")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.mp4": b"earlier"}


FITTING = {
    "a half": lambda size: size // 2,
    "all but the end, so that the file announces its frames": lambda size: size - 110,
}


@pytest.mark.parametrize("fitting", FITTING.values(), ids=FITTING)
def test_a_full_disk_costs_no_earlier_video(tmp_path: Path, fitting: Callable[[int], int]) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25) as writer:
        for frame in frames(4):
            writer.write(frame)
    earlier = path.read_bytes()
    with (
        pytest.raises(MaskALError, match=r"a\.mp4: OpenCV wrote nothing that plays; is the disk full\? Free space"),
        largest_file(fitting(len(earlier))),
        VideoWriter(path, 25) as writer,
    ):
        for frame in frames(4):
            writer.write(frame)
    assert [file.name for file in tmp_path.iterdir() if file.name[0] != "."] == ["a.mp4"]
    assert path.read_bytes() == earlier


def test_frames_that_opencv_passes_over_are_missed(tmp_path: Path) -> None:
    with pytest.raises(MaskALError, match="OpenCV wrote 2 of 3 frames"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for frame in (*frames(2), *frames(1, width=32)):
            writer.write(frame)
    assert not list(tmp_path.iterdir())


def test_a_codec_that_is_not_there_is_reported(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("demo.video.CODEC", "zzzz")
    with pytest.raises(MaskALError, match="cannot write mp4"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(frames(1)[0])


def test_a_writer_that_wrote_nothing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MaskALError, match="wrote nothing"), VideoWriter(tmp_path / "a.mp4", 25):
        assert not (tmp_path / "a.mp4").exists()


class FakeCapture:
    """A video without frames, or with figures that make no sense, as some containers have them."""

    def __init__(self, value: float) -> None:
        self.value = value

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return self.value

    def read(self) -> tuple[bool, None]:
        return False, None

    def release(self) -> None:
        self.value = 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")], ids=str)
def test_figures_that_make_no_sense_are_replaced(value: float, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCapture(value))
    reader = VideoReader(Path("a.avi"))
    assert (reader.frame_rate, reader.announced) == (USUAL_FRAME_RATE, 0)
    with pytest.raises(MaskALError, match="none of its frames"):
        list(reader)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(MaskALError, match="a.mp4: this OpenCV cannot read it"):
        VideoReader(tmp_path / "a.mp4")
