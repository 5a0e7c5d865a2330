"""The names of the classes of a YOLO data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations.yolo_names import may_hold_names, names_text, read_names
from active_learning.errors import AnnotationError

ROBOFLOW = """\
train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['healthy', 'ä b']

roboflow:
  workspace: field
  project: heads
  version: 3
  license: Public Domain
  url: https://universe.roboflow.com/field/heads/dataset/3
"""
ULTRALYTICS = """\
# a data set
path: heads  # dataset root dir
train: images/train  # train images (relative to 'path')
val: [images/val, images/more]
test:

# Classes
names:
  0: healthy
  1: ä b

download: |
  print('names: none')
"""
CVAT = "names:\n  0: healthy\n  1: ä b\npath: .\ntrain: train.txt\n"
BOTH = {0: "healthy", 1: "ä b"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("data.yaml", ROBOFLOW, BOTH, id="Roboflow"),
        pytest.param("heads.yaml", ULTRALYTICS, BOTH, id="Ultralytics"),
        pytest.param("data.yaml", CVAT, BOTH, id="CVAT"),
        pytest.param("data.yml", "names: [healthy, ä b]", BOTH, id="names alone"),
        pytest.param("data.yaml", "\ufeff" + CVAT.replace("\n", "\r\n"), BOTH, id="byte order mark, Windows"),
        pytest.param("data.yaml", "names: {0: healthy, 2: ä b}\nnc: 3\n", {0: "healthy", 2: "ä b"}, id="a gap"),
        pytest.param("data.yaml", "names: {'0': healthy, '1': ä b}\n", BOTH, id="numbers as texts"),
        pytest.param("data.yaml", "names: [no, 1, 1.50, ~]\n", {0: "no", 1: "1", 2: "1.50", 3: "~"}, id="as they are"),
        pytest.param("data.yaml", "names: [a, a]\n", {0: "a", 1: "a"}, id="two numbers of one class"),
        pytest.param("obj.names", "healthy\nä b\n\n", BOTH, id="Darknet"),
        pytest.param("classes.txt", "healthy\r\n ä b \r\n", BOTH, id="Label Studio"),
        pytest.param("_darknet.labels", "healthy\n\nä b", {0: "healthy", 2: "ä b"}, id="a blank line keeps its number"),
        pytest.param("settings.yaml", "classes: [healthy]\n", None, id="of another program"),
        pytest.param("model.yaml", "nc: 80\nbackbone: []\n# names\n", None, id="of a network"),
        pytest.param("person.yaml", "names: Ann\n", None, id="a name of something else"),
        pytest.param("list.yaml", "- names\n", None, id="a list"),
        pytest.param("empty.yaml", "# names\n", None, id="empty"),
    ],
)
def test_names(tmp_path: Path, name: str, content: str, expected: dict[int, str] | None) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    assert may_hold_names(name)
    assert read_names(path) == expected


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param("names: [a, b]\nnc: 3\n", "nc: is '3', but names has 2; correct one of the two", id="count"),
        pytest.param(
            "names: {0: a, 0: b}\n", "names: 0 is of 'a' and 'b'; give each its own number", id="number twice"
        ),
        pytest.param("names: [a]\nnames: [b]\n", "names: stands there twice; delete one", id="names twice"),
        pytest.param("names: {weed: 0}\n", "names: 'weed': must be the number of a class", id="turned round"),
        pytest.param("names: [[a]]\n", "names: '0': must be the number of a class, and its name a text", id="nested"),
        pytest.param("names: {-1: a}\n", "names: '-1': must be the number", id="negative"),
        pytest.param("names: a.names\ntrain: x\n", "names: must be a list of the classes", id="a file"),
        pytest.param("names: []\n", "names: is empty", id="none"),
        pytest.param(
            "names: [a]\nkpt_shape: [17, 3]\n", "kpt_shape: its objects are keypoints; masks are needed", id="pose"
        ),
        pytest.param("names: [a\n", "line 2: is no YAML", id="damaged"),
        pytest.param("names: &x [*x]\n", "must be the number of a class, and its name a text", id="holds itself"),
        pytest.param("names: \x00", "is no YAML", id="characters that no text holds"),
        pytest.param("names: " + "[" * 5000, "is no YAML", id="nested too deep"),
        pytest.param('names: ["\\Uffffffff"]', "is no YAML", id="an impossible character"),
        pytest.param('path: "C:\\data"\nnames: [a]', "line 1: is no YAML: found unknown escape", id="path of Windows"),
        pytest.param('path: "C:\\data"\nnames: [a]', "; write / for \\ between folders", id="its remedy"),
        pytest.param("names: [*gone]\n", "is no YAML", id="an alias of nothing"),
        pytest.param(b"names: [\xff]", "byte 8 is not UTF-8 text", id="unreadable bytes"),
        pytest.param("names: [a]".encode("utf-16"), "byte 0 is not UTF-8 text; save the file as UTF-8", id="UTF-16"),
    ],
)
def test_a_description_that_is_wrong_is_an_error(tmp_path: Path, content: str | bytes, fault: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AnnotationError) as error:
        read_names(path)
    assert str(error.value).startswith(f"{path}: ") and fault in str(error.value)


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(st.binary(max_size=60), st.text("abn0:[]{}-*&!\\'\"\n ,#|>", max_size=60).map(str.encode)))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("data.yaml", "obj.names"):
        (folder / name).write_bytes(b"names: " + content)
        try:
            read_names(folder / name)
        except AnnotationError as error:
            assert str(error).startswith(f"{folder / name}: ")


def test_a_list_without_a_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "obj.names").write_text("\n\n")
    with pytest.raises(AnnotationError, match="is empty; write the names"):
        read_names(tmp_path / "obj.names")


@pytest.mark.parametrize("name", ["a.txt", "train.txt", ".classes.txt", ".data.yaml", "a.json", "obj.data"])
def test_other_files_hold_no_names(name: str) -> None:
    assert not may_hold_names(name)


def test_what_is_written_is_read_alike(tmp_path: Path) -> None:
    classes = ["no", "1", "ä: b", "- x", "'", '"', "a #b", "{c}", "日本"]
    text = names_text(classes, {"train": "images/train", "val": "images/val"}, "for people")
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_names(path) == dict(enumerate(classes))
    loaded = yaml.safe_load(text)
    assert loaded == {
        "train": "images/train", "val": "images/val", "nc": len(classes), "names": dict(enumerate(classes)),
    }  # fmt: skip
