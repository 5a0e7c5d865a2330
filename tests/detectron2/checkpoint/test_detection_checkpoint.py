"""Which files load into a network, and what is logged about those that fit only in part."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, 3)
        self.register_buffer("pixel_mean", torch.zeros(1), persistent=False)


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def write_pickle(file: Path, content: Any) -> str:
    file.write_bytes(pickle.dumps(content))
    return str(file)


def assert_equal_weights(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, msg=name)


def test_save_and_resume(tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    DetectionCheckpointer(model, str(tmp_path / "run"), optimizer=optimizer).save("model_0000004", iteration=4)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["last_checkpoint", "model_0000004.pth"]
    assert set(torch.load(tmp_path / "run" / "model_0000004.pth", weights_only=True)) == {
        "model",
        "optimizer",
        "iteration",
    }

    other = Net()
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    checkpointer = DetectionCheckpointer(other, str(tmp_path / "run"), optimizer=other_optimizer)
    assert checkpointer.has_checkpoint()
    assert checkpointer.resume_or_load("elsewhere.pth", resume=True)["iteration"] == 4
    assert_equal_weights(model, other)
    assert other_optimizer.param_groups[0]["lr"] == 0.5


def test_without_resuming_only_the_weights_load(tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer).save("a")
    other = Net()
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    checkpointer = DetectionCheckpointer(other, str(tmp_path), optimizer=other_optimizer)
    checkpointer.resume_or_load(str(tmp_path / "a.pth"), resume=False)
    assert_equal_weights(model, other)
    assert other_optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda d, m: write_pickle(d / "a.pkl", {"model": arrays(m), "__author__": "Zoo"}), id="zoo-pkl"),
        pytest.param(
            lambda d, m: write_pickle(
                d / "a.pkl",
                {
                    "model": {name.removeprefix("backbone."): value for name, value in arrays(m).items()},
                    "__author__": "someone",
                    "matching_heuristics": True,
                },
            ),
            id="pkl-by-endings",
        ),
        pytest.param(lambda d, m: (torch.save(m.state_dict(), d / "a.pth"), str(d / "a.pth"))[1], id="bare-pth"),
        pytest.param(
            lambda d, m: (
                torch.save({"model": {f"module.{k}": v for k, v in m.state_dict().items()}}, d / "a.pth"),
                str(d / "a.pth"),
            )[1],
            id="data-parallel-pth",
        ),
        pytest.param(
            lambda d, m: (
                torch.save({k.removeprefix("backbone."): v for k, v in m.state_dict().items()}, d / "a.pth"),
                f"{d / 'a.pth'}?matching_heuristics=True",
            )[1],
            id="query",
        ),
    ],
)
def test_files_that_fit(tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, other = Net(), Net()
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(other).load(make(tmp_path, model))
    assert_equal_weights(model, other)
    assert caplog.text == ""


def test_what_does_not_fit_is_in_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = arrays(Net())
    weights["head.weight"] = np.zeros((5, 2), np.float32)
    weights["old.weight"] = weights["old.bias"] = np.zeros(1, np.float32)
    weights["pixel_mean"] = np.zeros(1, np.float32)
    del weights["backbone.0.bias"], weights["head.bias"]
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(Net()).load(write_pickle(tmp_path / "a.pkl", {"model": weights}))
    assert len(caplog.records) == 1
    rows = {line.split("  ")[0]: line for line in caplog.text.splitlines()}
    assert "(5, 2)" in rows["head.weight"]
    assert "(3, 2)" in rows["head.weight"]
    assert "not in the file" in rows["backbone.0.bias"]
    assert "not in the file" in rows["head.bias"]
    assert "not in the network" in rows["old.{bias, weight}"]
    assert "pixel_mean" not in caplog.text


def test_a_shared_parameter_is_not_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "c": nn.Linear(1, 1)})
    model["b"] = model["a"]
    weights = {name: value for name, value in arrays(model).items() if not name.startswith("b.")}
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(model).load(write_pickle(tmp_path / "a.pkl", {"model": weights}))
    assert caplog.text == ""


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, suffix: str) -> None:
    file, marker = tmp_path / f"evil{suffix}", tmp_path / "ran"
    content = {"model": {"head.weight": Runs(marker)}}
    torch.save(content, file) if suffix == ".pth" else write_pickle(file, content)
    with pytest.raises(pickle.UnpicklingError, match=r"evil.*refused to load"):
        DetectionCheckpointer(Net()).load(str(file))
    assert not marker.exists()


# What PyTorch's unpickler says of these: nothing, a word of its own, "pop from empty list", "index out of range".
@pytest.mark.parametrize("content", [b"", b"x", b"text\n", b"ab", b"\x80", b"<html>", b"(lp0", b"\x80\x02J", b"PK\3\4"])
@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"odd{suffix}"
    file.write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match=r"odd.*refused to load"):
        DetectionCheckpointer(Net()).load(str(file))


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        pytest.param("a.pkl", [1], ValueError, "a.pkl.*list", id="pkl-list"),
        pytest.param("a.pth", [1], ValueError, "a.pth.*list", id="pth-list"),
        pytest.param(
            "a.pkl", {"conv1_w": np.zeros(1), "res_conv1_w": np.zeros(1)}, ValueError, "are both", id="caffe2-twice"
        ),
        pytest.param("a.pkl", {"blobs": [1]}, ValueError, "blobs", id="blobs-list"),
        pytest.param("a.pkl", {"model": {"a": "text"}}, ValueError, "a", id="text-for-array"),
    ],
)
def test_other_content(tmp_path: Path, name: str, content: Any, error: type[Exception], words: str) -> None:
    file = tmp_path / name
    torch.save(content, file) if file.suffix == ".pth" else write_pickle(file, content)
    with pytest.raises(error, match=words):
        DetectionCheckpointer(Net()).load(str(file))


def test_damaged_pth(tmp_path: Path) -> None:
    file = tmp_path / "cut.pth"
    torch.save({"model": Net().state_dict()}, file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(pickle.UnpicklingError, match=r"cut\.pth"):
        DetectionCheckpointer(Net()).load(str(file))


def test_missing_file_and_wrong_query() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        DetectionCheckpointer(Net()).load("nowhere.pth")
    with pytest.raises(ValueError, match="only query"):
        DetectionCheckpointer(Net()).load("a.pth?matching_heuristics=True&x=1")


def test_empty_path_loads_nothing() -> None:
    model = Net()
    before = arrays(model)
    assert DetectionCheckpointer(model).load("") == {}
    np.testing.assert_array_equal(before["head.weight"], model.state_dict()["head.weight"])


def test_torchvision_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from torchvision.models import resnet18

    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    cfg = get_cfg()
    cfg.MODEL.RESNETS.merge_from_list(["DEPTH", 18, "RES2_OUT_CHANNELS", 64, "OUT_FEATURES", ["res5"]])
    network = nn.ModuleDict({"backbone": build_resnet_backbone(cfg, ShapeSpec(channels=3))})
    source = resnet18().state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    with caplog.at_level(logging.INFO):
        DetectionCheckpointer(network).load(str(tmp_path / "resnet18.pth"))
    loaded = network.state_dict()
    torch.testing.assert_close(loaded["backbone.stem.conv1.weight"], source["conv1.weight"])
    torch.testing.assert_close(loaded["backbone.res3.0.shortcut.norm.bias"], source["layer2.0.downsample.1.bias"])
    assert "not in the file" not in caplog.text
    assert "fc.{bias, weight}" in caplog.text
    assert "STRIDE_IN_1X1" in caplog.text


def test_periodic_checkpoints(tmp_path: Path) -> None:
    periodic = PeriodicCheckpointer(DetectionCheckpointer(Net(), str(tmp_path)), period=2, max_iter=5, max_to_keep=1)
    for iteration in range(5):
        periodic.step(iteration)
    assert sorted(file.name for file in tmp_path.glob("*.pth")) == ["model_0000003.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text(encoding="utf-8") == "model_final.pth"


def test_saving_can_be_off(tmp_path: Path) -> None:
    DetectionCheckpointer(Net(), str(tmp_path), save_to_disk=False).save("a")
    assert list(tmp_path.iterdir()) == []
