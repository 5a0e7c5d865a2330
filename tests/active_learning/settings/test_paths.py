from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from active_learning.annotations.supervisely_meta import write_meta
from active_learning.settings import Settings
from active_learning.settings.paths import is_zoo_config, network_file, path_mistakes, zoo_configs
from tests.active_learning.conftest import write_weights

FPN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("train", "val", "test"):
        (tmp_path / "datasets" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(**keys: Any) -> list[str]:
    return [message for _, message in path_mistakes(Settings(**{"classes": ["a"], "network_config": FPN, **keys}))]


def test_all_there(home: Path) -> None:
    assert paths() == []
    assert sorted(path.name for path in home.iterdir()) == ["datasets"]


def test_a_network_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "own.yaml").touch()
    settings = Settings(classes=["a"], network_config="~/own.yaml", pretrained_weights="")
    assert network_file(settings.network_config) == (tmp_path / "own.yaml").resolve()
    assert [message for _, message in path_mistakes(settings) if "network_config" in message] == []


def test_zoo_configs_are_found(project_root: Path) -> None:
    assert is_zoo_config(FPN)
    assert FPN in zoo_configs()
    assert not is_zoo_config("COCO-InstanceSegmentation")


@pytest.mark.parametrize(
    "name", ["../maskAL.yaml", "Misc/../Base-RCNN-FPN.yaml", "Misc\\..\\x.yaml", "{root}/maskAL.yaml"]
)
def test_a_zoo_config_does_not_lead_out_of_configs(home: Path, project_root: Path, name: str) -> None:
    name = name.format(root=project_root)
    assert not is_zoo_config(name)
    if ".." in name:
        assert "is neither below configs/ nor a file" in paths(network_config=name, pretrained_weights="")[0]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param({"traindir": "no"}, "traindir: there is no folder no in", id="missing-traindir"),
        pytest.param({"testdir": "/no/no"}, "testdir: there is no folder /no/no;", id="absolute-testdir"),
        pytest.param({"valdir": "a.txt"}, "valdir: a.txt is not a folder", id="file-for-valdir"),
        pytest.param({"use_initial_train_dir": True}, "initial_train_dir: there is no folder", id="initial-train-dir"),
        pytest.param(
            {"duplicate_initial_model_and_data": True, "initial_train_file": "x.txt"},
            "initial_train_file: there is no file x.txt",
            id="initial-train-file",
        ),
        pytest.param(
            {"export_format": "supervisely", "supervisely_meta_json": "meta.json"},
            "supervisely_meta_json: there is no file meta.json",
            id="supervisely-meta",
        ),
        pytest.param(
            {"export_format": "supervisely", "supervisely_meta_json": "a.txt"},
            "supervisely_meta_json: a.txt: line 1, column 1: ",
            id="text-as-meta",
        ),
        pytest.param(
            {"export_format": "supervisely", "supervisely_meta_json": "project.json", "classes": ["disk"]},
            "supervisely_meta_json: project.json: class 'disk' is not in the project (did you mean 'disc'?)",
            id="class-not-in-meta",
        ),
        pytest.param({"annotator": "labelmee --x"}, "annotator: there is no program 'labelmee'", id="no-tool"),
        pytest.param({"annotator": "'labelme"}, "(No closing quotation); close each quotation mark", id="open-quote"),
        pytest.param({"resultsroot": "a.txt/results"}, "a.txt is a file, not a folder", id="results-below-a-file"),
        pytest.param(
            {"network_config": FPN.replace("3x", "4x")}, f"neither below configs/ nor a file (did you mean '{FPN}'?)",
            id="unknown-network",
        ),
        pytest.param({"pretrained_weights": "no.pth"}, "'no.pth' cannot be read: No such file", id="missing-weights"),
        pytest.param({"pretrained_weights": "a.txt"}, "neither a zoo config name nor a .pth", id="text-as-weights"),
        pytest.param({"pretrained_weights": "text.pth"}, "does not hold PyTorch weights", id="text-in-weights"),
        pytest.param({"pretrained_weights": "cut.pth"}, "'cut.pth' is cut short", id="cut-weights"),
        pytest.param({"pretrained_weights": "empty.pkl"}, "is an empty file", id="empty-weights"),
        pytest.param({"pretrained_weights": "pipe.pth"}, "'pipe.pth' is no file, but a pipe", id="pipe-as-weights"),
        pytest.param({"pretrained_weights": "folder.pth"}, "is a folder, not a file; move it", id="folder-as-weights"),
        pytest.param(
            {"network_config": "own.yaml"}, "pretrained_weights: 'own.yaml' is neither", id="own-network-no-weights"
        ),
    ],
)  # fmt: skip
def test_one_mistake(home: Path, keys: dict[str, Any], words: str) -> None:
    (home / "folder.pth").mkdir()
    os.mkfifo(home / "pipe.pth")
    write_meta(home / "project.json", ["disc"])
    for name in ("a.txt", "text.pth", "own.yaml"):
        (home / name).write_text("hello", encoding="utf-8")
    (home / "empty.pkl").touch()
    write_zip(home / "whole.pth")
    (home / "cut.pth").write_bytes((home / "whole.pth").read_bytes()[:-30])
    (mistake,) = paths(**keys)
    assert words in mistake


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)


@pytest.mark.parametrize(
    "weights", ["", "detectron2://ImageNetPretrained/MSRA/R-50.pkl", "https://a.org/w.pkl", FPN, "whole.pth"]
)
def test_good_weights(home: Path, weights: str) -> None:
    write_weights(home / "whole.pth")
    assert paths(pretrained_weights=weights) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read and write all")
def test_permissions(home: Path) -> None:
    (home / "locked").mkdir(mode=0o000)
    assert "locked may not be read" in paths(traindir="locked")[0]
    assert "may not be written to" in paths(weightsroot="locked")[0]


@pytest.mark.parametrize("key", ["resultsroot", "weightsroot", "dataroot"])
@pytest.mark.parametrize("below", ["", "/runs"])
def test_a_link_to_a_drive_that_is_not_there_is_no_new_folder(home: Path, key: str, below: str) -> None:
    (home / "usb").symlink_to("/media/usb/not/there")
    assert paths(**{key: f"usb{below}"}) == [
        f"{key}: usb is a link that leads nowhere; is its drive connected? Else remove the link"
    ]
