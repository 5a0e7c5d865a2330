"""Video files frame by frame, with OpenCV; frames are HxWx3 uint8 BGR."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from active_learning.errors import MaskALError
from active_learning.system.written_files import own_draft

CODEC = "mp4v"
USUAL_FRAME_RATE = 25.0


class VideoReader:
    """The frames of a video. `announced` is how many the file says it has, 0 if it does not."""

    def __init__(self, path: Path) -> None:
        """Raises MaskALError if OpenCV cannot decode the file."""
        self.path = path
        self._capture = cv2.VideoCapture(os.fspath(path))
        if not self._capture.isOpened():
            raise MaskALError(
                f"--video-input {path}: this OpenCV cannot read it: damaged, no video, or of an unknown codec; "
                f"where it plays elsewhere, convert it: ffmpeg -i {path.name} -c:v libx264 converted.mp4"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if math.isfinite(rate) and rate > 0 else USUAL_FRAME_RATE
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(announced) if math.isfinite(announced) and announced > 0 else 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Raises MaskALError if not even one frame can be decoded."""
        number = 0
        try:
            while (frame := self._next()) is not None:
                number += 1
                yield frame
        finally:
            self._capture.release()
        if number == 0:
            raise MaskALError(f"--video-input {self.path}: none of its frames can be decoded; convert or replace it")

    def _next(self) -> np.ndarray | None:
        decoded, frame = self._capture.read()
        return frame if decoded else None


class VideoWriter:
    """Writes an mp4 file; it gets its name when it is complete. A context manager."""

    def __init__(self, path: Path, frame_rate: float) -> None:
        self.path = path
        names = (f"{path.stem}.unfinished{number or ''}{path.suffix}" for number in count())
        self._draft = next(draft for name in names if not os.path.lexists(draft := path.with_name(name)))
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def write(self, frame: np.ndarray) -> None:
        """Frames must be of one size. Raises MaskALError if OpenCV cannot encode them."""
        if self._writer is None:
            self._writer = self._open(frame.shape[1], frame.shape[0])
        self._writer.write(frame)
        self._frames += 1

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*CODEC)
        writer = cv2.VideoWriter(os.fspath(self._draft), codec, self._frame_rate, (width, height))
        if not writer.isOpened():
            raise MaskALError(
                f"{self.path}: this OpenCV cannot write mp4 ({CODEC}) of {width}x{height} there; check the folder and "
                "its space, or install the opencv-python-headless package of the package index, which has the codec"
            )
        return writer

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
            if kind is None:
                self._check()
                with own_draft(self.path) as draft:
                    self._draft.replace(draft)
        finally:
            self._draft.unlink(missing_ok=True)

    def _check(self) -> None:
        """Raises MaskALError if frames are missing: OpenCV reports no failure where a disk is full."""
        playing = _frames_of(self._draft) if self._frames else 0
        if not 0 < self._frames <= playing:
            written = f"{playing} of {self._frames} frames" if playing else "nothing that plays"
            raise MaskALError(
                f"{self.path}: OpenCV wrote {written}; is the disk full? Free space, or give another --output"
            )


def _frames_of(video: Path) -> int:
    """How many can be decoded; what a damaged file announces need not be there."""
    capture = cv2.VideoCapture(os.fspath(video))
    try:
        return sum(1 for _ in iter(capture.grab, False))
    finally:
        capture.release()
