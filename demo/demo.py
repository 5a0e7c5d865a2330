"""Predict with a trained network on images or a video, and draw what it sees.

    python demo/demo.py --config-file demo/network.yaml --input IMAGES --output pictures \\
        --classes healthy damaged matured cateye headrot --opts MODEL.WEIGHTS best_model_002.pth

Exit codes: 0 done, 1 an image could not be read or another failure, 2 wrong usage, config or weights, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, `demo` is no package without this

from active_learning.errors import MaskALError  # noqa: E402
from demo.prediction_files import InputImage, UsageError, find_images, plan_pictures, plan_video  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

    from demo.trained_network import TrainedNetwork
    from demo.video import VideoReader, VideoWriter
    from detectron2.utils.visualizer import VisImage

GO_ON = "Finished pictures are kept, an unfinished video is not."
WINDOW = "MaskAL: any key for the next, Esc to end"
ESCAPE = 27


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo.py", description="Predict with a trained network on images or a video, and draw what it sees."
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE",
        help="the network: a yaml file, or a name of the model zoo such as "
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml, with its published weights")  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="PATH", help="images, folders, patterns such as 'photos/*.jpg'")
    source.add_argument("--video-input", type=Path, metavar="FILE", help="a video")
    add("--output", type=Path, metavar="PATH",
        help="folder for the pictures, or the file of a single one (.png, .jpg; a video: .mp4); without it they are "
        "shown in a window")  # fmt: skip
    add("--confidence-threshold", type=_share, default=0.5, metavar="SHARE",
        help="leave out what has a lower score, 0 to 1 (default 0.5)")  # fmt: skip
    add("--classes", nargs="+", default=[], metavar="NAME", help="names of the classes, in the order of the training")
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE",
        help="values that replace the config's, such as MODEL.WEIGHTS file.pth; must come last")  # fmt: skip
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def run(given: argparse.Namespace) -> int:
    """Files are checked before the network is loaded, which takes longest. Returns the exit code."""
    if given.video_input is not None:
        return run_on_video(given)
    images = find_images(given.input, given.output)
    targets: Sequence[Path | None]
    if given.output is None:
        check_window()
        targets = [None] * len(images)
    else:
        targets = plan_pictures(images, given.output)
    return predict_images(load_network(given), images, targets)


def load_network(given: argparse.Namespace) -> TrainedNetwork:
    from demo.trained_network import TrainedNetwork, read_config

    config = read_config(
        given.config_file, threshold=given.confidence_threshold, classes=given.classes, opts=given.opts
    )
    return TrainedNetwork(config, given.classes)


def predict_images(network: TrainedNetwork, images: Sequence[InputImage], targets: Sequence[Path | None]) -> int:
    """Draw each image into its target (None: a window), with a line on each. Unreadable ones are named and left out."""
    from tqdm import tqdm

    from active_learning.system.log import print_note, print_result
    from demo.trained_network import as_bgr
    from detectron2.data.detection_utils import read_image

    faulty = []
    for image, target in zip(tqdm(images, unit="image", disable=None), targets, strict=True):
        try:
            pixels = read_image(os.fspath(image.path), format="BGR")
        except OSError as error:
            faulty.append(image.path)
            print_note(f"{error}; left out")
            continue
        line, picture = _predicted(network, pixels)
        if target is not None:
            _save(picture, target)
        with tqdm.external_write_mode():  # above the progress bar
            print_result(f"{image.path}: {line}" + (f" -> {target}" if target else ""))
        if target is None and not show(as_bgr(picture)):
            break
    if faulty:
        print_note(f"{len(faulty)} of {len(images)} images could not be read; replace or remove them")
    return 1 if faulty else 0


def _predicted(network: TrainedNetwork, pixels: np.ndarray) -> tuple[str, VisImage]:
    """What is in an image and how long finding it took, in words; and its picture."""
    started = time.perf_counter()
    instances = network(pixels)
    seconds = time.perf_counter() - started
    return f"{network.count(instances)} in {seconds:.2f} s", network.draw(pixels, instances)


def _save(picture: VisImage, target: Path) -> None:
    from active_learning.system.written_files import own_draft  # costs tqdm

    content = io.BytesIO()  # as Pillow overlooks that a full disk takes only a part of a JPEG
    picture.fig.savefig(content, format=target.suffix.lstrip(".").lower())
    try:
        with own_draft(target) as draft:
            draft.write_bytes(content.getvalue())
    except OSError as error:
        raise MaskALError(f"{target}: cannot be written: {error.strerror or error}; free space or --output") from error


def run_on_video(given: argparse.Namespace) -> int:
    from demo.video import VideoReader, VideoWriter

    if given.output is None:
        check_window()
        reader = VideoReader(given.video_input)
        return predict_video(load_network(given), reader, None)
    target = plan_video(given.video_input, given.output)
    reader = VideoReader(given.video_input)
    return predict_video(load_network(given), reader, VideoWriter(target, reader.frame_rate))


def predict_video(network: TrainedNetwork, reader: VideoReader, writer: VideoWriter | None) -> int:
    """Draw each frame into the writer (None: a window). Returns 1 if the file ends before the frames it announces."""
    from tqdm import tqdm

    from active_learning.system.log import print_note, print_result

    started, frames, objects = time.perf_counter(), 0, 0
    with writer or nullcontext():
        for frame in tqdm(reader, total=reader.announced or None, unit="frame", disable=None):
            instances = network(frame)
            frames, objects = frames + 1, objects + len(instances)
            drawn = network.draw_frame(frame, instances)
            if writer is not None:
                writer.write(drawn)
            elif not show(drawn, milliseconds=1):
                return 0
    seconds, target = time.perf_counter() - started, f" -> {writer.path}" if writer else ""
    print_result(f"{reader.path}: {frames} frames, {objects} objects in {seconds:.1f} s{target}")
    # Many containers only estimate their number of frames.
    if frames < 0.98 * reader.announced - 1:
        print_note(f"{reader.path}: ends after {frames} of {reader.announced} frames; is it damaged?")
        return 1
    return 0


def check_window() -> None:
    """Raises UsageError where no window can be opened."""
    import cv2

    screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not screen:
        raise UsageError("There is no display to show pictures on; give --output FOLDER to save them")
    toolkit = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if not toolkit or "NONE" in toolkit:
        raise UsageError(
            "This OpenCV is a headless one and opens no windows; give --output FOLDER to save the pictures"
        )


def show(picture: np.ndarray, milliseconds: int = 0) -> bool:
    """Show HxWx3 BGR until a key is pressed or the time (0: none) is over; False after Esc."""
    import cv2

    try:
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
        cv2.imshow(WINDOW, picture)
        return cv2.waitKey(milliseconds) & 0xFF != ESCAPE
    except cv2.error as error:
        raise UsageError(f"No window can be opened ({error.err}); give --output FOLDER to save the pictures") from error


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse_arguments(arguments)
    from active_learning.system.exit_code import exit_code_of  # costs tqdm

    return exit_code_of(run, given, go_on=GO_ON)


if __name__ == "__main__":
    sys.exit(main())
