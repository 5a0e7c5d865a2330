"""What must not start: `--check` and the run refuse it alike, before a file is changed or anybody asked."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import maskAL
from active_learning.run.output_files import output_files
from active_learning.run.own_folders import claim
from active_learning.run.state import LoopScores, RunState
from active_learning.settings import load_settings
from active_learning.settings.changes import recorded
from detectron2.model_zoo import get_checkpoint_url
from detectron2.utils.file_io import cached_file
from tests.active_learning.conftest import networks_that_are_checked_are_built_once, write_weights  # noqa: F401
from tests.test_bad_input import FAILED, NOTHING, USAGE, Project, empty, make_project

FPN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
SHARED = "of it in traindir, too:"
COCO = {"images": [{"id": 1, "file_name": "00.png"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
WEED = {"label": "weed", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
Prepare = Callable[[Project], object]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def network(text: str, **others: str) -> Prepare:
    """A network file, and others by their stems, of which it may be the base."""

    def write(project: Project) -> None:
        for name, content in {"own": text, **others}.items():
            (project.folder / f"{name}.yaml").write_bytes(content.encode("utf-8", "surrogateescape"))
        project.set(network_config="own.yaml")

    return write


def based(text: str) -> Prepare:
    """A Mask R-CNN with other values."""
    root = Path(maskAL.__file__).parent / "configs" / FPN
    return network(f"_BASE_: {root.as_posix()}\n{text}")


def scene(path: Path, seed: int) -> Path:
    """An image that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(path)
    return path


def copied_image(project: Project) -> None:
    shutil.copy(scene(project.train / "scene.png", 1), project.folder / "val" / "renamed.png")


def initial_images_of_val(project: Project) -> None:
    for place in ("val", "initial"):
        shutil.copy(project.train / "00.json", scene(project.folder / place / "scene.png", 1).with_suffix(".json"))
    project.set(use_initial_train_dir=True, initial_train_dir="initial")


def initial_image_of_another_content(project: Project) -> None:
    shutil.copy(project.train / "00.json", scene(project.folder / "initial" / "00.png", 1).with_suffix(".json"))
    project.set(use_initial_train_dir=True, initial_train_dir="initial")


def without_annotations(split: str, *more: Prepare) -> Prepare:
    def prepare(project: Project) -> None:
        for path in (project.folder / split).glob("*.json"):
            path.unlink()
        for one in more:
            one(project)

    return prepare


def zip_in(split: str) -> Prepare:
    def pack(project: Project) -> None:
        with zipfile.ZipFile(project.folder / split / "export.zip", "w") as package:
            package.writestr("annotations.xml", "")

    return pack


def begun(phase: str, write: Callable[[Path], object]) -> Prepare:
    """A run that has trained once; `write` makes its weights."""

    def begin(project: Project) -> None:
        settings = load_settings(project.folder / "maskAL.yaml")
        (experiment,) = settings.experiments()
        files = output_files(settings, experiment)
        claim(files)
        images = [f"0{number}.png" for number in range(4)]
        RunState(["a", "b"], 0, phase, images, settings=recorded(settings)).save(files.state)
        write(files.best_model(0))

    return begin


def seen_file(weights: Path) -> Path:
    return weights.parents[3] / "results" / "exp1" / weights.parent.name / "data_seen.json"


def before_the_second_training(project: Project) -> None:
    file = project.folder / "results" / "exp1" / "uncertainty" / "run_state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    scores = LoopScores(4, 1.0, {"a": 1.0, "b": 1.0}, 1.0, {"a": 1.0, "b": 1.0}, 1.0)
    file.write_text(
        json.dumps({**state, "loop": 1, "phase": "annotate", "history": [asdict(scores)]}), encoding="utf-8"
    )


# How it comes about, the exit code, and the message.
REFUSED: dict[str, tuple[Prepare, int, str]] = {
    "network: empty": (network(""), USAGE, "own.yaml: the top level must be a mapping of settings, not nothing"),
    "network: only remarks": (network("# later\n"), USAGE, "a mapping of settings, not nothing"),
    "network: a list": (network("- 1\n"), USAGE, "a mapping of settings, not list"),
    "network: no YAML": (network("::::\n\t- x"), USAGE, "own.yaml: not a YAML file of settings"),
    "network: not UTF-8": (network("A: \udce4"), USAGE, "own.yaml: not a YAML file of settings"),
    "network: code": (network("MODEL: !!python/object/apply:os.system ['x']"), USAGE, "not a YAML file of settings"),
    "network: nested absurdly": (network("[" * 3000), USAGE, "own.yaml: not a YAML file of settings"),
    "network: its own base": (
        network("_BASE_: own.yaml"),
        USAGE,
        "_BASE_ leads back to the file: own.yaml -> own.yaml",
    ),
    "network: a ring of bases": (network("_BASE_: b.yaml", b="_BASE_: ./own.yaml"), USAGE, "_BASE_ leads back to the"),
    "network: no base": (network("_BASE_: [b.yaml]"), USAGE, "no config file 'b.yaml', the _BASE_ of 'own.yaml'"),
    "network: no base of its base": (network("_BASE_: b.yaml", b="_BASE_: x/c.yaml"), USAGE, "the _BASE_ of 'b.yaml'"),
    "network: a folder as base": (network("_BASE_: train"), USAGE, "there is no config file 'train'"),
    "network: an empty base": (network("_BASE_: b.yaml", b=""), USAGE, "b.yaml: the top level must be a mapping"),
    "network: a number as base": (
        network("_BASE_: 3"),
        USAGE,
        "_BASE_ is [3]; it can be the path of a file, or a list",
    ),
    "network: an address as base": (network("_BASE_: http://127.0.0.1:9/x.yaml"), USAGE, "cannot download http://127"),
    "network: unknown key": (network("MODEL: {ZZZ: 1}"), USAGE, "own.yaml: Non-existent config key: MODEL.ZZZ"),
    "network: unknown key in its base": (network("_BASE_: b.yaml", b="MODEL: {Z: 1}"), USAGE, "b.yaml: Non-existent"),
    "network: wrong type": (network("SOLVER: {BASE_LR: fast}"), USAGE, "SOLVER.BASE_LR"),
    "network: a date": (network("MODEL: {WEIGHTS: 2020-01-01}"), USAGE, "own.yaml: Key MODEL.WEIGHTS with value"),
    "network: a section without values": (network("MODEL:"), USAGE, "own.yaml: Type mismatch"),
    "network: wrong switch": (network("MODEL: {CPU_KERNELS: fast}"), USAGE, "MODEL.CPU_KERNELS is 'fast'; it can be"),
    "network: version 1": (network("VERSION: 1"), USAGE, "own.yaml: VERSION 1 files cannot be read"),
    "network: no masks": (network("MODEL: {MASK_ON: false}"), USAGE, "own.yaml predicts no masks"),
    "network: unknown backbone": (
        based("MODEL: {BACKBONE: {NAME: build_vit}}"),
        USAGE,
        "MODEL.BACKBONE.NAME 'build_vit' is not known here; it can be build_resnet_backbone or",
    ),
    "network: unknown depth": (based("MODEL: {RESNETS: {DEPTH: 51}}"), USAGE, "MODEL.RESNETS.DEPTH 51 is not known"),
    "no published weights": (
        lambda p: p.set(pretrained_weights="COCO-InstanceSegmentation/../Misc/mask_rcnn_R_50_FPN_3x.yaml"),
        USAGE,
        "pretrained_weights",
    ),
    "network: unknown augmentation": (
        based("INPUT: {RANDOM_FLIP: diagonal}"),
        USAGE,
        "own.yaml: INPUT.RANDOM_FLIP 'diagonal' is not known here; it can be horizontal or vertical or none",
    ),
    "what was seen: damaged": (
        begun("choose", lambda path: (write_weights(path), seen_file(path).write_text("{"))),
        FAILED,
        "data_seen.json: cannot be read as what the run has seen",
    ),
    "run: another seed": (
        lambda p: (begun("annotate", write_weights)(p), p.set(seed=5)),
        USAGE,
        "seed: 0 -> 5: what the run has done is of seed 0; set it back",
    ),
    "weights: empty file": (begun("choose", Path.touch), FAILED, "best_model_000.pth: is an empty file; fetch"),
    "weights: gone before a training that goes on from them": (
        lambda p: (begun("evaluate", lambda path: None)(p), before_the_second_training(p)),
        FAILED,
        "model_final.pth: cannot be read: No such file or directory. The run goes on from these weights: put the file",
    ),
    "weights: a run without any": (
        begun("evaluate", lambda path: None),
        FAILED,
        "model_final.pth: cannot be read: No such",
    ),
    "weights: cut": (
        begun("choose", lambda path: (write_weights(path), os.truncate(path, path.stat().st_size - 60))),
        FAILED,
        "best_model_000.pth: is cut short; fetch or copy it again. The run goes on from these weights: put",
    ),
    "splits: the same folder": (
        lambda p: p.set(valdir="train"),
        USAGE,
        "valdir: train is traindir (train); give each a",
    ),
    "splits: val is test": (lambda p: p.set(testdir="val/../val"), USAGE, "testdir: val/../val is valdir (val)"),
    "splits: val in train": (
        lambda p: (p.folder / "val").rename(p.train / "val") and p.set(valdir="train/val"),
        USAGE,
        "valdir: train/val lies in traindir (train); give each a folder of its own",
    ),
    "splits: train in test": (
        lambda p: (p.train.rename(p.folder / "test" / "train"), p.set(traindir="test/train")),
        USAGE,
        "traindir: test/train lies in testdir (test)",
    ),
    "splits: a link to the folder": (
        lambda p: ((p.folder / "link").symlink_to(p.train), p.set(testdir="link")),
        USAGE,
        "testdir: link is traindir (train)",
    ),
    "splits: a hard link to an image": (  # other links out of a folder are passed over
        lambda p: (p.folder / "val" / "link.png").hardlink_to(p.train / "00.png"),
        USAGE,
        f"valdir: 1 image {SHARED} link.png (00.png)",
    ),
    "splits: a copied image": (copied_image, USAGE, f"valdir: 1 image {SHARED} renamed.png (scene.png)"),
    "splits: initial images in train": (
        lambda p: p.set(use_initial_train_dir=True, initial_train_dir="train"),
        USAGE,
        "initial_train_dir: train is traindir (train)",
    ),
    "splits: initial images of val": (initial_images_of_val, USAGE, "initial_train_dir: 1 image of it in valdir, too"),
    "initial image of another content": (
        initial_image_of_another_content,
        FAILED,
        "train/00.png: is another image than initial/00.png; rename one of them",
    ),
    "COCO beside images": (
        without_annotations("train", lambda p: (p.train / "all.json").write_text(json.dumps(COCO))),
        FAILED,
        "train/all.json: is a COCO json file; convert it: python -m active_learning.annotations convert train --to "
        "labelme --classes a b --out train",
    ),
    "zip beside images": (
        without_annotations("val", zip_in("val")),
        FAILED,
        "export.zip: is an archive with annotations; put what belongs to it into a folder EXPORT outside of val, "
        "unpacked, and convert that: python -m active_learning.annotations convert EXPORT --to labelme --classes a b "
        "--out val",
    ),
}


def answers(project: Project, capsys: pytest.CaptureFixture[str], *mode: str) -> tuple[int, str]:
    before = project.files()
    code = maskAL.main(["--config", "maskAL.yaml", *mode])
    assert project.files() == before
    return code, " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("kind", REFUSED)
def test_the_check_and_the_run_refuse_alike(project: Project, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    prepare, code, message = REFUSED[kind]
    prepare(project)
    for mode in ("--check", "--no-wait"):
        found = answers(project, capsys, mode)
        assert found[0] == code and message in found[1], (mode, found)


def fetched_and_cut(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(project.folder / "cache"))
    project.set(pretrained_weights=FPN)
    file = cached_file(get_checkpoint_url(FPN))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps({"model": {"backbone.bottom_up.stem.conv1.weight": np.zeros(9)}})[:-9])
    return file


def test_published_weights_are_looked_at_where_they_have_been_fetched(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetched_and_cut(project, monkeypatch)
    for mode in ("--check", "--no-wait"):
        code, text = answers(project, capsys, mode)
        assert code == FAILED and f"{file}: is damaged or cut short; fetch or copy it again" in text
    file.unlink()
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING
    assert f"{FPN} (not on this machine yet: the start of a run fetches them)" in capsys.readouterr().out


# What takes PyTorch to find: the start of a run has it, `--check` only with --deep.
DEEP: dict[str, tuple[Prepare, int, str]] = {
    "features that the backbone lacks": (
        based("MODEL: {FPN: {IN_FEATURES: [res9]}}"),
        USAGE,
        "own.yaml: no network can be built of it: MODEL.FPN.IN_FEATURES ['res9']: the backbone gives",
    ),
    "anchors for two of five levels": (
        based("MODEL: {ANCHOR_GENERATOR: {SIZES: [[8], [16]]}}"),
        USAGE,
        "no network can be built of it: MODEL.ANCHOR_GENERATOR.SIZES",
    ),
    "a range between six sizes": (
        based("INPUT: {MIN_SIZE_TRAIN_SAMPLING: range}"),
        USAGE,
        "own.yaml: no network can be trained by it: sample_style 'range' needs (smallest, largest)",
    ),
    "a switch as a size": (
        based("INPUT: {CROP: {ENABLED: true, SIZE: [yes, 0.5]}}"),
        USAGE,
        "own.yaml: no network can be trained by it: RandomCrop: relative_range crop_size is True; it must be a number",
    ),
    "a momentum that no optimizer takes": (
        based("SOLVER: {MOMENTUM: -1.0}"),
        USAGE,
        "no network can be trained by it: Invalid momentum value",
    ),
    "weights of another network": (
        lambda p: (write_weights(p.folder / "w.pth"), p.set(pretrained_weights="w.pth")),
        FAILED,
        "w.pth: does not fit the network",
    ),
    "an old file that is cut short": (
        lambda p: (old_and_cut(p.folder / "w.pth"), p.set(pretrained_weights="w.pth")),
        FAILED,
        "w.pth: cannot be read as weights",
    ),
    "weights that cannot be fetched": (
        lambda p: p.set(pretrained_weights="http://127.0.0.1:9/w.pkl"),
        FAILED,
        "http://127.0.0.1:9/w.pkl: cannot be read as weights: cannot download http://127.0.0.1:9/w.pkl",
    ),
}


def old_and_cut(path: Path) -> None:
    content = {"backbone.bottom_up.stem.conv1.weight": torch.zeros(64, 3, 7, 7)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("kind", DEEP)
def test_a_deep_check_and_the_run_refuse_alike(project: Project, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    prepare, code, message = DEEP[kind]
    prepare(project)
    for mode in (["--check", "--deep"], ["--no-wait"]):
        found = answers(project, capsys, *mode)
        assert found[0] == code and message in found[1], (mode, found)


def truncated(path: Path) -> None:
    scene(path, 1)
    os.truncate(path, path.stat().st_size - 300)


def with_hole(path: Path) -> None:
    """Its middle is missing, its end is there."""
    scene(path, 1)
    content = path.read_bytes()
    path.write_bytes(content[:-300] + content[-40:])


def broken_off(path: Path) -> None:
    """A copy with zeros for its end, so many that a decoder makes all pixels of them."""
    scene(path, 1)
    pixels = cv2.resize(cv2.imread(str(path))[:8, :8], (600, 400), interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    path.with_suffix(".jpg").write_bytes(content[:4096] + bytes(300_000))
    path.unlink()


# What a run finds at the image, and reports there: in `--check`, and what needs its pixels with --deep.
IMAGES: dict[str, tuple[Prepare, str, str]] = {
    "no image, and no annotation": (
        lambda p: (p.train / "new.png").write_text("hello"),
        "--check",
        "new.png: is no image or is damaged; replace or remove it",
    ),
    "a cut image": (lambda p: truncated(p.train / "new.png"), "--check", "new.png: cannot be read as an image"),
    "a cut image of the test": (lambda p: truncated(p.folder / "test" / "new.png"), "--check", "new.png: cannot be"),
    "a cut image with an annotation": (lambda p: truncated(p.train / "00.png"), "--check", "00.png: cannot be"),
    "a cut image, in depth": (lambda p: truncated(p.train / "new.png"), "--deep", "new.png: cannot be read as an"),
    "a copy that broke off": (lambda p: broken_off(p.train / "new.png"), "--check", "new.jpg: cannot be read as an"),
    "the same, in depth": (
        lambda p: broken_off(p.train / "new.png"),
        "--deep",
        "are zeros, as of a copy that broke off",
    ),
    "an image with a hole": (lambda p: with_hole(p.train / "new.png"), "--deep", "new.png: cannot be read as an"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_images_are_named(project: Project, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    prepare, mode, message = IMAGES[kind]
    prepare(project)
    code, text = answers(project, capsys, *dict.fromkeys(["--check", mode]))
    assert code == FAILED and message in text


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("shapes", [[], [WEED]], ids=["no objects", "others"])
def test_nothing_can_be_measured_without_an_object(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    split: str,
    shapes: list[object],
) -> None:
    project.set(unknown_labels="skip")
    for path in (project.folder / split).glob("*.json"):
        path.write_text(
            json.dumps({**json.loads(path.read_text(encoding="utf-8")), "shapes": shapes}), encoding="utf-8"
        )
    message = f"{split}: its 2 images hold no object of the classes (a, b), and the mAP is measured on objects"
    for mode in ("--check", "--no-wait"):
        assert maskAL.main(["--config", "maskAL.yaml", mode]) == FAILED
        assert message in capsys.readouterr().err


def test_warnings_stand_instead_of_the_verdict(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """An export beside images with annotations may be what these were made of; a rare class is only worth a note."""
    export = {**COCO, "images": [{"id": 1, "file_name": "13.png"}], "annotations": [{"image_id": 1, "category_id": 1}]}
    (path := project.train / "all.json").write_text(json.dumps(export), encoding="utf-8")
    made = (project.train / "13.json").stat().st_mtime
    for seconds, words in {
        -1: "",
        9: "; it is newer than the annotations beside its images, which are read; if",
    }.items():
        os.utime(path, (made, made + seconds))
        assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING
        shown = capsys.readouterr().out  # every image has an annotation
        assert f"all.json: is a COCO json file{words}" in shown if words else "all.json" not in shown
    (project.train / "13.json").unlink()
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING
    shown = capsys.readouterr().out
    assert "warning: train/all.json: is a COCO json file; convert it: " in shown and "--out train_converted" in shown
    assert "\nval: none of its images holds b" in shown
    assert "are in order, but for 1 warning. Nothing was changed." in shown
    assert "annotations are in order" not in shown


def test_initial_images_may_fill_an_empty_folder(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.train.rename(project.folder / "initial")
    project.train.mkdir()
    project.set(use_initial_train_dir=True, initial_train_dir="initial")
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == NOTHING, capsys.readouterr().err
    empty(project.folder / "initial")
    assert maskAL.main(["--config", "maskAL.yaml", "--check"]) == FAILED


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--deep", "--deep belongs to --check"),
        ("--status --fresh", "--fresh belongs to a run or to --check"),
        ("--find-batch-size --fresh", "--fresh belongs to a run or to --check"),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], flags: str, reason: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        maskAL.main(["--config", "maskAL.yaml", *flags.split()])
    assert reason in capsys.readouterr().err
