"""Which images are found, and what their pictures are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.prediction_files import InputImage, UsageError, find_images, plan_pictures, plan_video


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def named(images: list[InputImage]) -> list[str]:
    return [image.name for image in images]


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        pytest.param(["a/1.jpg"], ["1.jpg"], id="file"),
        pytest.param(["a"], ["1.jpg", "1.png", "b/1.jpg"], id="folder with sub-folders, without its annotations"),
        pytest.param(["a/1.*"], ["1.jpg", "1.png"], id="pattern"),
        pytest.param(["a/**/*.jpg"], ["1.jpg", "1.jpg"], id="pattern through sub-folders"),
        pytest.param(["a/1.png", "a", "a/*.png"], ["1.png", "1.jpg", "b/1.jpg"], id="each once"),
        pytest.param(["photo[1].jpg"], ["photo[1].jpg"], id="brackets in a name"),
        pytest.param(["a/1.json"], ["1.json"], id="a file that is named is tried"),
    ],
)
def test_images_are_found(inputs, found, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a/1.jpg", "a/1.png", "a/1.json", "a/b/1.jpg", "photo[1].jpg")
    assert named(find_images(inputs)) == found


def test_masks_in_a_folder_are_passed_over_and_named(tmp_path, capsys) -> None:
    make(tmp_path, "a.jpg", "a_mask.png")
    assert named(find_images([str(tmp_path)])) == ["a.jpg"]
    assert "a_mask.png: passed over: taken for masks" in capsys.readouterr().err


def test_pictures_of_an_earlier_run_inside_the_folder_are_left_out(tmp_path) -> None:
    make(tmp_path, "1.jpg", "out/1.jpg")
    assert named(find_images([str(tmp_path)], tmp_path / "out")) == ["1.jpg"]
    assert named(find_images([str(tmp_path)], tmp_path / "elsewhere")) == ["1.jpg", "out/1.jpg"]


@pytest.mark.parametrize(
    ("inputs", "pictures"),
    [
        pytest.param(["a/1.jpg", "a/2.tif"], ["1.jpg", "2.tif.png"], id="names are kept"),
        pytest.param(["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "b/1.jpg"], id="equal names of two folders"),
        pytest.param(["a/c/1.jpg", "b/c/1.jpg"], ["a/c/1.jpg", "b/c/1.jpg"], id="equal folder names"),
        pytest.param(["a/c", "b/c", "a/3.jpg"], ["a/c/1.jpg", "b/c/1.jpg", "3.jpg"], id="folders"),
        pytest.param(["a/2.tif", "a/2.tif.png"], ["a/2.tif.png", "a/2.tif_2.png"], id="an added suffix"),
        pytest.param(["a/1.jpg", "a/1.JPG"], ["a/1.jpg", "a/1_2.JPG"], id="disks that do not tell case apart"),
    ],
)
def test_pictures_do_not_collide(inputs, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a/1.jpg", "a/1.JPG", "a/2.tif", "a/2.tif.png", "a/3.jpg", "b/1.jpg", "a/c/1.jpg", "b/c/1.jpg")
    targets = plan_pictures(find_images(inputs), Path("out"))
    assert [target.relative_to("out").as_posix() for target in targets] == pictures
    assert all(target.parent.is_dir() for target in targets)


@pytest.mark.parametrize("output", ["a", "linked", "a/../a", "hard/1.jpg"])
def test_an_input_is_never_overwritten(output: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a/1.jpg", "hard/0.jpg")
    (tmp_path / "linked").symlink_to("a", target_is_directory=True)
    (tmp_path / "hard/1.jpg").hardlink_to(tmp_path / "a/1.jpg")
    with pytest.raises(UsageError, match="would be overwritten"):
        plan_pictures(find_images(["a/1.jpg"]), Path(output))
    assert (tmp_path / "a/1.jpg").read_bytes() == b"a/1.jpg"


def test_an_existing_folder_with_a_suffix_is_a_folder(tmp_path) -> None:
    make(tmp_path, "1.jpg", "2.jpg", "run.png/x", "walk.mp4", "run.mp4/x")
    targets = plan_pictures(find_images([str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]), tmp_path / "run.png")
    assert targets == [tmp_path / "run.png/1.jpg", tmp_path / "run.png/2.jpg"]
    assert plan_video(tmp_path / "walk.mp4", tmp_path / "run.mp4") == tmp_path / "run.mp4/walk.mp4"


@pytest.mark.parametrize(
    ("output", "target"), [("out", "out/walk.mp4"), ("out/v1.2", "out/v1.2/walk.mp4"), ("b.mp4", "b.mp4")]
)
def test_a_video_becomes_mp4(output: str, target: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "walk.avi")
    assert plan_video(Path("walk.avi"), Path(output)).as_posix() == target
