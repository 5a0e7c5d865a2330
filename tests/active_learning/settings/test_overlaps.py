"""Outputs on inputs, in every way in which folders can be the same or lie in each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.settings import Settings
from active_learning.settings.overlaps import overlap_mistakes, start_weights_copy
from active_learning.system.files import lies_in

AMONG = "among the images; name another folder"
HOLDS = ", where the run writes, holds "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val", "test", "start"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/train")
    return tmp_path


def mistakes(**changes: object) -> dict[str, str]:
    folders = {"traindir": "data/train", "valdir": "data/val", "testdir": "data/test", "dataroot": "data"}
    return dict(overlap_mistakes(Settings.model_validate({"classes": ["a"], **folders, **changes})))


WRONG = {
    "dataroot is an image folder": ({"dataroot": "data/val"}, "dataroot", AMONG),
    "dataroot lies in one": ({"dataroot": "data/train/lists"}, "dataroot", AMONG),
    "by a link": ({"dataroot": "link"}, "dataroot", AMONG),
    "below a link": ({"dataroot": "link/deep/er"}, "dataroot", AMONG),
    "by dots": ({"dataroot": "data/val/../train"}, "dataroot", AMONG),
    "the image folder is a link": ({"traindir": "link", "dataroot": "data/train"}, "dataroot", AMONG),
    "the run's results are images": ({"resultsroot": "data", "experiment_name": "train"}, "resultsroot", AMONG),
    "the run's weights are images": ({"weightsroot": "data", "experiment_name": "test"}, "weightsroot", AMONG),
    "results among images": ({"resultsroot": "data/train"}, "resultsroot", AMONG),
    "weights among initial images": (
        {"weightsroot": "data/start", "use_initial_train_dir": True, "initial_train_dir": "data/start"},
        "weightsroot", AMONG,
    ),
    "the run's results hold an image folder": ({"resultsroot": ".", "experiment_name": "data"}, "resultsroot", HOLDS),
    "the run's weights hold an image folder": ({"weightsroot": ".", "experiment_name": "data"}, "weightsroot", HOLDS),
    "images in an annotate folder": ({"valdir": "data/train/annotate"}, "valdir", "lies in traindir"),
}  # fmt: skip


@pytest.mark.parametrize("to", ["shared", "data/val", "data/val/sub", "data/val/annotate"])
def test_an_annotate_folder_that_two_image_folders_share_is_refused(folder: Path, to: str):
    """Images of one name would be mixed up in it."""
    (folder / to).mkdir(exist_ok=True)
    (folder / "data/train/annotate").symlink_to(folder / to)
    assert bool(mistakes()) == (to != "shared")
    if to == "shared":
        (folder / "data/val/annotate").symlink_to(folder / to)
    assert "data/train/annotate lies in valdir (data/val), or in its annotate folder" in mistakes()["traindir"]


@pytest.mark.parametrize(("changes", "key", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("folder")
def test_refused(changes: dict[str, object], key: str, words: str):
    assert words in mistakes(**changes)[key]


def test_a_folder_lies_in_another(folder: Path):
    train = folder / "data" / "train"
    (folder / "deep").symlink_to(train / "sub")
    (train / "sub").mkdir()
    inside = [train, train / "sub", folder / "data/test/../train", folder / "deep", Path("data/train/sub/.")]
    assert all(lies_in(place, train) for place in [*inside, train / "not" / "there"])
    assert not any(lies_in(place, train) for place in (folder / "data" / "test", folder, folder / "none"))


RIGHT: dict[str, dict[str, object]] = {
    "as in maskAL.yaml": {},
    "all in one root": {"weightsroot": "data", "resultsroot": "data", "dataroot": "data"},
    "initial_train_dir that is not used": {"dataroot": "data/start", "initial_train_dir": "data/start"},
    "a name that begins alike": {"dataroot": "data/train2"},
    "lists beside the results": {"dataroot": "results/exp1"},
}


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
@pytest.mark.usefixtures("folder")
def test_not_refused(changes: dict[str, object]):
    assert mistakes(**changes) == {}


@pytest.mark.parametrize(
    ("weights", "copy"),
    [
        ("weights/exp1/uncertainty/best_model_000.pth", "exp1.start.uncertainty.best_model_000.pth"),
        ("weights/exp1/old.pkl", "exp1.start.old.pkl"),
        ("weights/exp2/uncertainty/best_model_000.pth", None),
        ("weights/exp1/network.yaml", None),
        ("", None),
    ],
)
@pytest.mark.usefixtures("folder")
def test_start_weights_of_the_run_itself(weights: str, copy: str | None):
    found = start_weights_copy(Settings(classes=["a"], weightsroot=Path("weights"), pretrained_weights=weights))
    assert found == (copy and Path("weights", copy))
