"""Prediction from the command line: pictures and videos that are drawn, and mistakes that are reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.errors import MaskALError
from active_learning.system.interruption import INTERRUPTED
from demo import demo
from demo.demo import main
from tests.demo.lost_output import EXIT_CODES, largest_file, lost_output


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos and one in a sub-folder, 60 x 80."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name in ("1.jpg", "2.png", "more/1.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (60, 80, 3), np.uint8))
    return folder


def drawn(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*.*"))


def write_video(path: Path, frames: int, height: int = 48, width: int = 64) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for i in range(frames):
        writer.write(np.full((height, width, 3), 40 * i, np.uint8))
    writer.release()


def test_a_folder_is_predicted_with_a_line_on_each_image(small_network, photos, tmp_path, capsys) -> None:
    files = small_network.arguments(
        "--input", str(photos), "--output", str(tmp_path / "out"), "--confidence-threshold", "0"
    )
    assert main(files) == 0
    assert drawn(tmp_path / "out") == ["1.jpg", "2.png", "more/1.jpg"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(photos / name) for name in ("1.jpg", "2.png", "more/1.jpg")]
    assert all("5 objects (" in line and f" s -> {tmp_path}" in line for line in lines)
    # Small images become larger pictures, in which labels are legible.
    picture = cv2.imread(str(tmp_path / "out/2.png"))
    assert picture.shape == (240, 320, 3)
    enlarged = cv2.resize(cv2.imread(str(photos / "2.png")), (320, 240), interpolation=cv2.INTER_NEAREST)
    assert (picture != enlarged).any()


def test_a_threshold_of_one_draws_the_image_alone(small_network, photos, tmp_path, capsys) -> None:
    target = tmp_path / "new/picture.png"
    arguments = small_network.arguments(
        "--input", str(photos / "2.png"), "--output", str(target), "--confidence-threshold", "1"
    )
    assert main(arguments) == 0
    assert "2.png: 0 objects in" in capsys.readouterr().out
    enlarged = cv2.resize(cv2.imread(str(photos / "2.png")), (320, 240), interpolation=cv2.INTER_NEAREST)
    assert (cv2.imread(str(target)) == enlarged).all()


def test_an_unreadable_image_is_named_and_the_others_are_drawn(small_network, photos, tmp_path, capsys) -> None:
    (photos / "1.jpg").write_bytes(b"no image")
    assert main(small_network.arguments("--input", str(photos), "--output", str(tmp_path / "out"))) == 1
    message = capsys.readouterr().err
    assert str(photos / "1.jpg") in message and "1 of 3 images could not be read" in message
    assert drawn(tmp_path / "out") == ["2.png", "more/1.jpg"]


def test_a_video_is_drawn_frame_by_frame(small_network, tmp_path, capsys) -> None:
    write_video(tmp_path / "walk.mp4", frames=3)
    arguments = small_network.arguments("--video-input", str(tmp_path / "walk.mp4"), "--output", str(tmp_path / "out"))
    assert main(arguments) == 0
    assert "walk.mp4: 3 frames, " in capsys.readouterr().out
    assert drawn(tmp_path / "out") == ["walk.mp4"]
    video = cv2.VideoCapture(str(tmp_path / "out/walk.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (3, 10)
    assert video.read()[1].shape == (48, 64, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_failure_in_a_video_leaves_no_unfinished_file(number, small_network, tmp_path, monkeypatch, capsys) -> None:
    from demo.video import VideoWriter

    write_video(tmp_path / "walk.mp4", frames=2)
    write = VideoWriter.write

    def interrupted(writer, frame) -> None:
        write(writer, frame)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(VideoWriter, "write", interrupted)
    arguments = small_network.arguments("--video-input", str(tmp_path / "walk.mp4"), "--output", str(tmp_path / "out"))
    assert main(arguments) == INTERRUPTED
    assert drawn(tmp_path / "out") == []
    assert "Interrupted. Finished pictures are kept, an unfinished video is not." in capsys.readouterr().err


def test_all_images_are_drawn_although_nobody_reads_the_lines(small_network, photos, tmp_path, capsys) -> None:
    with lost_output("a closed pipe"):
        assert main(small_network.arguments("--input", str(photos), "--output", str(tmp_path / "out"))) == 0
    assert drawn(tmp_path / "out") == ["1.jpg", "2.png", "more/1.jpg"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("output", "code"), EXIT_CODES.items(), ids=EXIT_CODES)
def test_a_video_is_whole_before_its_line_is_printed(output, code, small_network, tmp_path, capsys) -> None:
    write_video(tmp_path / "walk.mp4", frames=2)
    words = ("--video-input", str(tmp_path / "walk.mp4"), "--output", str(tmp_path / "out"))
    with lost_output(output):
        assert main(small_network.arguments(*words)) == code
    assert drawn(tmp_path / "out") == ["walk.mp4"]
    assert ("standard output: No space left" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_full_disk_costs_no_earlier_picture(name: str, tmp_path: Path) -> None:
    from detectron2.utils.visualizer import VisImage

    picture, target = VisImage(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)), tmp_path / name
    demo._save(picture, target)
    earlier = target.read_bytes()
    with (
        largest_file(len(earlier) - 1),
        pytest.raises(MaskALError, match=f"{name}: cannot be written: File too large; free space or --output"),
    ):
        demo._save(picture, target)
    assert drawn(tmp_path) == [name] and target.read_bytes() == earlier


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--input", "nothing.jpg"], "nothing.jpg: there is no such file", id="no such image"),
        pytest.param(["--input", "empty"], "holds no image", id="folder without images"),
        pytest.param(["--input", "*.gif"], "matches no file", id="pattern without images"),
        pytest.param(["--video-input", "nothing.mp4", "--output", "out"], "there is no such file", id="no such video"),
        pytest.param(["--input", "a.png"], "give --output", id="nowhere to draw"),
        pytest.param(["--input", "a.png", "b.png", "--output", "out.jpg"], "give a folder", id="one file for two"),
        pytest.param(["--input", "a.png", "--output", "out.tif"], ".png or .jpg", id="another format"),
        pytest.param(["--input", "a.png", "--output", "a.png/out"], "cannot be made", id="folder below a file"),
        pytest.param(["--input", "a.png", "--output", "."], "would be overwritten", id="onto the input"),
    ],
)
def test_wrong_usage_is_reported_before_the_network_loads(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(name, np.zeros((8, 8, 3), np.uint8))
    assert main(["--config-file", "not looked at", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_video_that_cannot_be_decoded_is_reported(tmp_path, capsys) -> None:
    (tmp_path / "walk.mp4").write_bytes(b"no video")
    arguments = ["--video-input", str(tmp_path / "walk.mp4"), "--output", str(tmp_path / "out")]
    assert main(["--config-file", "not looked at", *arguments]) == 1
    assert "this OpenCV cannot read it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "build", "message"),
    [
        pytest.param({}, "GUI: GTK3", "no display", id="no display"),
        pytest.param({"DISPLAY": ":0"}, "  GUI:      NONE", "headless", id="no window in OpenCV"),
        pytest.param({"DISPLAY": ":0"}, "  GUI:      GTK3", None, id="both"),
    ],
)
def test_a_window_needs_a_display_and_a_toolkit(environment, build, message, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: build)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if message is None:
        demo.check_window()
    else:
        with pytest.raises(demo.UsageError, match=message):
            demo.check_window()


def test_without_output_pictures_are_shown_until_escape(small_network, photos, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(demo, "check_window", lambda: None)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture.shape))
    keys = iter([ord(" "), demo.ESCAPE])
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    assert main(small_network.arguments("--input", str(photos))) == 0
    assert shown == [(240, 320, 3)] * 2


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan", "half"])
def test_a_threshold_is_between_0_and_1(share: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--config-file", "x", "--input", "y", "--confidence-threshold", share])
    assert "--confidence-threshold" in capsys.readouterr().err


def test_help_is_given_without_loading_what_is_slow(project_root: Path) -> None:
    code = "import sys, demo.demo; print({'torch', 'cv2', 'numpy', 'matplotlib', 'yaml', 'tqdm'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"


@pytest.mark.parametrize("script", ["demo.py", "make_dataset.py"])
def test_scripts_run_as_files_beside_a_module_of_the_packages_name(script: str, project_root, tmp_path) -> None:
    command = [sys.executable, str(project_root / "demo" / script), "--help"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"usage: {script}" in shown.stdout


def test_a_persons_picture_is_kept(small_network, photos, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for content in ("mine", "edited"):
        (out / "2.png").write_text(content)
        for _ in range(2):
            assert main(small_network.arguments("--input", str(photos / "2.png"), "--output", str(out))) == 0
    assert drawn(out) == ["2.png", "2.png.orig", "2.png.orig2"]
    assert [(out / f"2.png.orig{end}").read_text() for end in ("", "2")] == ["mine", "edited"]
