"""What is no weights file is found from the names in it; nothing of it is run."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from active_learning.settings.weights_file import weights_fault

STEM = "backbone.bottom_up.stem.conv1.weight"
TENSORS = {STEM: torch.zeros(2, 3, 3, 3), "roi_heads.x": torch.nn.Parameter(torch.ones(3))}
ARRAYS = {STEM: np.zeros((2, 3), np.float32), "roi_heads.x": np.ones(2)}


class Program:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("it_ran",)


def saved(content: object, **options: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def pickled(content: object, protocol: int = 4) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(pickle.dumps(content, protocol)) and None


def cut(write: Callable[[Path], None], left: int) -> Callable[[Path], None]:
    def write_cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:left])

    return write_cut


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8") and None


def packed(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as package:
            for name in names:
                package.writestr(name, "x")

    return write


OLD = {"_use_new_zipfile_serialization": False}
WHOLE = {
    "model.pth": saved({"model": TENSORS}),
    "with names of classes.pth": saved({"model": TENSORS, "classes": ["plant", "model", "Unkraut ä", "classes"]}),
    "state_dict.pth": saved(collections.OrderedDict(TENSORS)),
    "of several GPUs.pth": saved({f"module.{name}": value for name, value in TENSORS.items()}),
    "with optimizer.pth": saved({"model": TENSORS, "optimizer": {"state": {0: torch.zeros(2)}}, "iteration": 9}),
    "half.pth": saved({name: value.to(torch.bfloat16) for name, value in TENSORS.items()}),
    "before PyTorch 1-6.pth": saved({"model": TENSORS}, **OLD),
    "torchvision.pth": saved({"layer1.0.conv1.weight": torch.zeros(3)}),
    "detectron2.pkl": pickled({"model": ARRAYS, "__author__": "X"}),
    "python2.pkl": pickled({"model": ARRAYS}, 0),
    "protocol 2.pkl": pickled({"model": ARRAYS}, 2),
    "first Detectron.pkl": pickled({"blobs": {"res2_0_branch2a_w": np.zeros(3)}}, 2),
    "backbone.pkl": pickled({"model": {"stem.conv1.weight": np.zeros(3)}, "matching_heuristics": True}),
}
FAULTY = {
    "empty.pth": (text(""), "is an empty file; fetch or copy it again"),
    "text.pth": (text("hello"), "does not hold PyTorch weights"),
    "page.pkl": (text("<html>404</html>"), "is damaged or cut short"),
    "pointer of git-lfs.pkl": (text("version https://git-lfs.github.com/spec/v1\n"), "is damaged or cut short"),
    "cut.pth": (cut(saved({"model": TENSORS}), -90), "is cut short"),
    "cut to a start.pth": (cut(saved({"model": TENSORS}, **OLD), 200), "is damaged or cut short"),
    "cut.pkl": (cut(pickled({"model": ARRAYS}), -9), "is damaged or cut short"),
    "archive.pth": (packed("a.txt"), "does not hold PyTorch weights"),
    "archive.pkl": (packed("a.txt"), "is a zip file; give it the ending .pth"),
    "torchscript.pth": (packed("m/data.pkl", "m/constants.pkl"), "is a TorchScript program, not weights; save model"),
    "no weights.pth": (saved({"model": {}}), "holds no weights; give a file of trained weights"),
    "no weights.pkl": (pickled({"model": {}}), "holds no weights; give a file of trained weights"),
    "a list.pth": (saved([1, 2]), "holds no weights"),
    "optimizer alone.pth": (saved({"optimizer": {0: torch.zeros(2)}}), "holds no weights of a backbone"),
    "whole network.pth": (saved(torch.nn.Linear(2, 2)), "asks for torch.nn.modules.linear.Linear; a file that can run"),
    "tensors.pkl": (pickled({"model": TENSORS}), "asks for torch._utils._rebuild"),
    "evaluates.pkl": (pickled({"model": ARRAYS, "x": eval}), "asks for builtins.eval"),
    "program.pth": (saved({"model": TENSORS, "x": Program()}), "asks for posix.mkdir; a file that can run code is not"),
    **{
        f"program {protocol}.pkl": (pickled({"model": ARRAYS, "x": Program()}, protocol), "asks for posix.mkdir")
        for protocol in range(6)
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_weights_have_no_fault(tmp_path: Path, name: str) -> None:
    WHOLE[name](tmp_path / name)
    assert weights_fault(tmp_path / name) == ""


def test_a_missing_file_names_those_beside_it(tmp_path: Path) -> None:
    for name in ("model_final.pth", "best_model_000.pth"):
        (tmp_path / name).touch()
    assert weights_fault(tmp_path / "best_model_001.pth").endswith("; its folder holds best_model_000.pth and 1 more")
    assert weights_fault(tmp_path / "other" / "best_model_001.pth") == "cannot be read: No such file or directory"


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    assert weights_fault(tmp_path / "w.pth") == "is no file, but a pipe or a device"


@pytest.mark.skipif(os.name == "nt", reason="the module of mkdir has another name")
@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_named_and_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write, words = FAULTY[name]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    assert words in weights_fault(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
