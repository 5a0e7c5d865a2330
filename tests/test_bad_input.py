"""What people give by mistake: each kind has its message and exit code, and no file that was there changes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import maskAL
from active_learning.settings import paths as settings_paths
from tests.active_learning.conftest import annotated_image, write_weights

NOTHING, FAILED, USAGE, AWAITED = 0, 1, 2, 3


@dataclass(frozen=True)
class Project:
    """14 annotated training images, 2 for validation and 2 for testing, of class a; 4 to start from."""

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train"

    def set(self, **changes: object) -> None:
        file = self.folder / "maskAL.yaml"
        before = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        file.write_text(yaml.safe_dump({**before, **changes}, allow_unicode=True), encoding="utf-8")

    def files(self) -> dict[str, bytes]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def annotate(self, name: str, **changes: object) -> None:
        path = self.train / name
        document = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**document, **changes}), encoding="utf-8")

    def replace_image(self, image: Image.Image, name: str = "00.png") -> None:
        """The annotation fits the new size."""
        image.save(self.train / name)
        right, bottom = min(image.width, 20), min(image.height, 20)
        shape = {"label": "a", "points": [[0, 0], [right, 0], [right, bottom], [0, bottom]], "shape_type": "polygon"}
        size = {"imageHeight": image.height, "imageWidth": image.width}
        self.annotate(f"{Path(name).stem}.json", **size, imagePath=name, shapes=[shape])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def make_project(tmp_path: Path) -> Project:
    for split, count in (("train", 14), ("val", 2), ("test", 2)):
        (tmp_path / split).mkdir()
        for index in range(count):
            annotated_image(tmp_path / split / f"{index:02d}.png")
    project = Project(tmp_path)
    folders = {"traindir": "train", "valdir": "val", "testdir": "test", "dataroot": "data"}
    sizes = {"initial_datasize": 4, "pool_size": 3, "loops": 2}
    project.set(**folders, **sizes, classes=["a", "b"], pretrained_weights="", cuda_visible_devices="cpu")
    return project


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def keep_one(project: Project) -> None:
    for path in sorted(project.train.iterdir())[2:]:
        path.unlink()


def leave_only_bad_lists(project: Project, line_end: str, name: str) -> None:
    """initial_train_file, as another system wrote it."""
    results = project.folder / "results" / "exp0" / "random"
    results.mkdir(parents=True)
    text = line_end.join([f"{name}, NaN", "01.png, NaN", ""])
    (results / "trainfiles_iteration000.txt").write_bytes(text.encode())
    project.set(duplicate_initial_model_and_data=True, initial_train_file=str(results / "trainfiles_iteration000.txt"))


def damaged_state(project: Project) -> None:
    results = project.folder / "results" / "exp1" / "uncertainty"
    results.mkdir(parents=True)
    (results / "run_state.json").write_text('{"version": 1, ', encoding="utf-8")


def no_annotated_initial_images(project: Project) -> None:
    (project.folder / "initial").mkdir()
    project.set(use_initial_train_dir=True, initial_train_dir="initial")


def truncated_weights(project: Project) -> None:
    (project.folder / "w.pth").write_bytes(b"PK\x03\x04" + b"x" * 50)
    project.set(pretrained_weights="w.pth")


def two_of_one_stem(project: Project) -> None:
    Image.new("RGB", (32, 24)).save(project.train / "00.jpg")
    project.annotate("00.json", imagePath="elsewhere.png")


# What is done, with which mode it is found, the exit code, and the message.
BAD: dict[str, tuple[Callable[[Project], object], str, int, str]] = {
    "no settings file": (lambda p: (p.folder / "maskAL.yaml").unlink(), "", USAGE, "there is no such file"),
    "settings not UTF-8": (
        lambda p: (p.folder / "maskAL.yaml").write_bytes("classes: [ä]".encode("latin1")),
        "",
        USAGE,
        "is not UTF-8; save it as UTF-8 text",
    ),
    "unknown key": (lambda p: p.set(learning_rat=1.0), "", USAGE, "did you mean 'learning_rate'?"),
    "negative number": (lambda p: p.set(pool_size=-3), "", USAGE, "pool_size: -3 must be at least 1"),
    "NaN learning rate": (
        lambda p: p.set(learning_rate=float("nan")),
        "",
        USAGE,
        "learning_rate: nan must be a finite",
    ),
    "no passes": (lambda p: p.set(mcd_iterations=0), "", USAGE, "mcd_iterations: 0 must be at least 1"),
    "class twice": (lambda p: p.set(classes=["a", "a"]), "", USAGE, "classes: ['a', 'a'] has 'a' more than once"),
    "missing folder": (lambda p: p.set(traindir="nowhere"), "", USAGE, "traindir: there is no folder nowhere in"),
    "file for a folder": (lambda p: p.set(valdir="maskAL.yaml"), "", USAGE, "valdir: maskAL.yaml is not a folder"),
    "results below a file": (lambda p: p.set(resultsroot="maskAL.yaml/x"), "", USAGE, "is a file, not a folder"),
    "network out of configs": (
        lambda p: p.set(network_config="../setup.yaml"),
        "",
        USAGE,
        "network_config: '../setup.yaml' is neither below configs/ nor a file",
    ),
    "truncated weights": (truncated_weights, "", USAGE, "pretrained_weights: 'w.pth' is cut short"),
    "empty folder": (lambda p: empty(p.train), "", FAILED, "train: holds no image; put the images of traindir there"),
    "no images": (
        lambda p: [path.unlink() for path in (p.folder / "val").glob("*.png")],
        "",
        FAILED,
        "val: holds no image; put the images of valdir there",
    ),
    "one image": (keep_one, "", USAGE, "initial_datasize is 4, but traindir holds 1 image; lower it"),
    "initial_datasize over the pool": (
        lambda p: p.set(initial_datasize=15),
        "",
        USAGE,
        "initial_datasize is 15, but traindir holds 14 images; lower it",
    ),
    "no annotated initial images": (
        no_annotated_initial_images,
        "",
        FAILED,
        "initial: holds no annotated image; put im",
    ),
    "list of another folder": (
        lambda p: leave_only_bad_lists(p, "\n", "gone.png"),
        "",
        FAILED,
        "1 of its images are not in train, such as gone.png; set traindir to the folder of that run",
    ),
    "damaged state": (damaged_state, "", FAILED, "run_state.json: cannot be read as the state of a run"),
    "line break in an image's name": (
        lambda p: Image.new("RGB", (8, 8)).save(p.folder / "val" / "a\nb.png"),
        "",
        FAILED,  # before anything is copied or annotated: no list can hold it
        "val: image names with a line break: 'a\\nb.png'; rename them, each with its annotation",
    ),
    "image name that is not UTF-8": (
        lambda p: Image.new("RGB", (8, 8)).save(p.train / os.fsdecode(b"caf\xe9.png")),
        "",
        FAILED,
        r"train: image names that are not UTF-8: 'caf\udce9.png'; rename them",
    ),
    "image names that differ in capitals": (
        lambda p: Image.new("RGB", (8, 8)).save(p.train / "00.PNG"),
        "--check",
        FAILED,
        "train: image names that are one but for capitals or the form of accents: '00.PNG' and '00.png'",
    ),
    "image that is cut off": (
        lambda p: (p.folder / "test" / "01.png").write_bytes((p.folder / "test" / "01.png").read_bytes()[:60]),
        "",
        FAILED,
        "01.png: cannot be read as an image: ",
    ),
    "PostScript named as an image": (
        lambda p: (p.train / "00.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0"),
        "--check",
        FAILED,
        "00.png: is a PostScript file, which is not read",
    ),
    "classes in two forms": (lambda p: p.set(classes=["a", "A"]), "", USAGE, "which are one name in two forms"),
    "corrupt jpg": (
        lambda p: (p.train / "00.png").write_bytes(b"\xff\xd8\xff\xe0 broken"),
        "--check",
        FAILED,
        "00.png: cannot be read as an image: Truncated File Read; replace or remove it",
    ),
    "0-byte json": (lambda p: (p.train / "00.json").write_bytes(b""), "--check", FAILED, "00.json: is empty; save the"),
    "text as an image": (
        lambda p: (p.train / "00.png").write_text("hello"),
        "--check",
        FAILED,
        "00.png: is no image or is damaged; replace or remove it",
    ),
    "half json": (
        lambda p: (p.train / "00.json").write_text('{"shapes": ['),
        "--check",
        FAILED,
        "the file is damaged or half-written: save the annotation again",
    ),
    "wrong class": (
        lambda p: p.set(classes=["aa", "b"]),
        "--check",
        FAILED,
        "shapes[0]: label 'a' is not in classes (did you mean 'aa'?)",
    ),
    "duplicate stems": (
        two_of_one_stem,
        "--check",
        FAILED,
        "00.json: may be of 00.jpg or 00.png, and names 'elsewhere",
    ),
    "no val annotations": (
        lambda p: [path.unlink() for path in (p.folder / "val").glob("*.json")],
        "",
        AWAITED,
        "00.png: not annotated yet",
    ),
    "wrong class in the run": (
        lambda p: p.set(classes=["aa", "b"]),
        "",
        AWAITED,
        "shapes[0]: label 'a' is not in classes (did you mean 'aa'?)",
    ),
    "corrupt jpg in the run": (
        lambda p: (p.folder / "val" / "00.png").write_bytes(b"\xff\xd8\xff\xe0 broken"),
        "",
        AWAITED,
        "00.png: cannot be read as an image: Truncated File Read; replace or remove it",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input(project: Project, capsys: pytest.CaptureFixture[str], kind: str):
    prepare, mode, code, message = BAD[kind]
    prepare(project)
    before = project.files()
    assert maskAL.main(["--config", "maskAL.yaml", mode or "--no-wait"]) == code
    assert message in capsys.readouterr().err
    after = project.files()
    assert {name: after.get(name) for name in before} == before
    if code == USAGE or mode == "--check":
        assert after == before


def test_outputs_that_may_not_be_written(project: Project, capsys, monkeypatch):
    """The tests may run as a user who may write everywhere, so permissions are played."""
    (project.folder / "results").mkdir()
    refused = (project.folder / "results").resolve()
    original = os.access
    monkeypatch.setattr(settings_paths.os, "access", lambda path, mode: Path(path) != refused and original(path, mode))
    before = project.files()
    assert maskAL.main(["--config", "maskAL.yaml", "--no-wait"]) == USAGE
    assert "results may not be written to by you; name another folder" in capsys.readouterr().err
    assert project.files() == before


def test_an_annotate_folder_that_may_not_be_written(project: Project, capsys, monkeypatch):
    for path in project.train.glob("*.json"):
        path.unlink()
    before = project.files()

    def copyfile(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert maskAL.main(["--config", "maskAL.yaml", "--no-wait"]) == FAILED
    err = capsys.readouterr().err
    assert "annotate" in err
    assert "the image cannot be copied there: " in err and "Permission denied; change its permi" in err
    after = project.files()
    assert {name: after.get(name) for name in before} == before
    assert not list(project.train.rglob("*.maskal-draft"))


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((24, 32), 40_000, np.uint16))


# Unusual, but right: `--check` finds no fault, and the network gets three channels.
UNUSUAL: dict[str, Callable[[Project], object]] = {
    "16-bit": lambda p: p.replace_image(sixteen_bit()),
    "grey": lambda p: p.replace_image(Image.new("L", (32, 24), 90)),
    "palette": lambda p: p.replace_image(Image.new("RGB", (32, 24), (9, 90, 9)).convert("P")),
    "transparent": lambda p: p.replace_image(Image.new("RGBA", (32, 24), (9, 90, 9, 0))),
    "CMYK": lambda p: ((p.train / "00.png").unlink(), p.replace_image(Image.new("CMYK", (32, 24)), "00.jpg")),
    "upper-case extension": lambda p: (p.train / "00.png").rename(p.train / "00.PNG"),
    "20,000 x 10 pixels": lambda p: p.replace_image(Image.new("RGB", (20_000, 10))),
    "1 x 1 pixel": lambda p: p.replace_image(Image.new("RGB", (1, 1))),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_used(project: Project, capsys: pytest.CaptureFixture[str], kind: str):
    from active_learning.network.prediction import read_input
    from detectron2.config import get_cfg

    UNUSUAL[kind](project)
    before = project.files()
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING, capsys.readouterr().err
    assert project.files() == before
    (image,) = [path for path in project.train.iterdir() if path.stem == "00" and path.suffix != ".json"]
    channels, height, width = read_input(image, get_cfg())["image"].shape
    assert channels == 3
    assert min(height, width) >= 1


def windows_lists(project: Project) -> None:
    leave_only_bad_lists(project, "\r\n", "00.png")
    write_weights(project.folder / "weights" / "exp0" / "random" / "best_model_000.pth")


def linked_folder(project: Project) -> None:
    (project.folder / "disk").mkdir()
    project.train.rename(project.folder / "disk" / "train")
    project.train.symlink_to(project.folder / "disk" / "train")
    (project.train / "loop").symlink_to(project.train)


def unicode_and_spaces(project: Project) -> None:
    place = project.train / "Feld ä ü 田"
    place.mkdir()
    for path in list(project.train.glob("0*.*")):
        path.rename(place / f"ein bild {path.name}")
    for path in place.glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**document, "imagePath": f"{path.stem}.png"}), encoding="utf-8")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (unicode_and_spaces, "14"),
        (linked_folder, "14"),
        (windows_lists, "14"),
        (lambda p: p.set(loops=0), "     0             4"),
        (lambda p: p.set(mcd_iterations=1), "1 passes"),
        (lambda p: p.set(loops=9), "     4            14"),
    ],
    ids=["unicode and spaces", "symlinks", "Windows line ends", "loops 0", "T = 1", "pool exhausted"],
)
def test_unusual_projects_are_used(project: Project, capsys: pytest.CaptureFixture[str], prepare, message):
    prepare(project)
    before = project.files()
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING
    assert message in capsys.readouterr().out
    assert project.files() == before
