"""What the flags of export_onnx.py mean; tests/e2e runs the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import export_onnx
from active_learning.errors import MaskALError, SettingsError
from active_learning.network import prediction
from active_learning.run.export import Export, read_request
from active_learning.run.state import RunState
from tests.active_learning.conftest import write_weights

pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
R101 = "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x.yaml"
R50 = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The request of such arguments, in a folder with the settings file of a run whose newest loop is 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maskAL.yaml").write_text(f"classes: [a, b]\nnetwork_config: {R50}\n", encoding="utf-8")
    weights = tmp_path / "weights" / "exp1" / "uncertainty"
    weights.mkdir(parents=True)
    for loop in (0, 1):
        (weights / f"best_model_{loop:03d}.pth").touch()

    def request(*words: str) -> Export:
        return read_request(export_onnx.parse_arguments([*words, *([] if "--out" in words else ["--out", "m.onnx"])]))

    return request


def test_the_newest_network_of_a_run(request_of):
    export = request_of("--config", "maskAL.yaml", "confidence_threshold", "0.3", "--pasted_masks")
    assert export.weights == "weights/exp1/uncertainty/best_model_001.pth"
    assert (list(export.settings.classes), export.settings.network_config) == (["a", "b"], R50)
    assert export.settings.confidence_threshold == 0.3 and export.settings.cuda_visible_devices == "cpu"
    assert export.pasted_masks and export.out == Path("m.onnx")


def test_given_weights(request_of):
    assert request_of("--config", "maskAL.yaml", "--weights", "other.pth").weights == "other.pth"
    export = request_of("--weights", "other.pth", "--network_config", "own.yaml", "--classes", "x", "é: y", "🥦")
    assert (export.settings.network_config, list(export.settings.classes)) == ("own.yaml", ["x", "é: y", "🥦"])


def test_published_weights(request_of):
    export = request_of("--weights", R50)
    assert export.weights.startswith("https://") and export.weights.endswith(".pkl")
    assert export.settings.network_config == R50
    assert len(export.settings.classes) == 80 and export.settings.classes[0] == "person"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "maskAL.yaml", "--out", "m.pb"], "--out: m.pb: the name must end in .onnx"),
        ([], "--config: is missing, and so is --weights; give the settings file of a run, or the weights of a network"),
        (["--weights", "x.pth"], "--classes: is missing; list those that the network was trained with, in order"),
        (["--config", "maskAL.yaml", "confidence_threshold", "2"], "confidence_threshold"),
        (["--weights", "x.pth", "--classes", "a", "a"], "classes"),
        (["--config", "maskAL.yaml", "--out", "maskAL.onnx"], "maskAL.yaml is there, and not as MaskAL wrote it"),
        (["--config", "maskAL.yaml", "--out", "weights.onnx"], "weights.onnx is there, and not as MaskAL wrote it"),
        (["--config", "maskAL.yaml", "--out", "maskAL.yaml/m.onnx"], "maskAL.yaml is a file, not a folder"),
    ],
)
def test_mistakes(request_of, tmp_path: Path, words: list[str], message: str):
    (tmp_path / "weights.onnx").mkdir()
    with pytest.raises(SettingsError, match="nothing was changed") as error:
        request_of(*words)
    assert message in str(error.value)


def test_a_run_without_weights(request_of):
    with pytest.raises(MaskALError, match="holds no weights yet; train first, or give a file with --weights"):
        request_of("--config", "maskAL.yaml", "experiment_name", "other")


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["classes", "[b, a]"], "classes: [a, b] -> [b, a]"),
        (["classes", "[a, c]"], "classes: [a, b] -> [a, c]"),
        (["--classes", "b", "a"], "classes: [a, b] -> [b, a]"),
        (["--network_config", R101], f"network_config: {R50} -> {R101}"),
    ],
)
def test_settings_that_are_not_those_of_the_training(request_of, tmp_path: Path, words: list[str], change: str):
    results = tmp_path / "results" / "exp1" / "uncertainty"
    results.mkdir(parents=True)
    RunState(["a", "b"], settings={"network_config": R50}).save(results / "run_state.json")
    with pytest.raises(SettingsError, match="was trained with other settings .--weights FILE is used") as error:
        request_of("--config", "maskAL.yaml", *words)
    assert error.value.mistakes == (f"{change}: the weights belong to the former; set it back",)
    assert request_of("--config", "maskAL.yaml", "confidence_threshold", "0.3").weights.endswith("_001.pth")
    assert request_of("--config", "maskAL.yaml", "--weights", "other.pth", *words).weights == "other.pth"


def test_a_network_file_that_was_edited_since(request_of, tmp_path: Path):
    results = tmp_path / "results" / "exp1" / "uncertainty"
    results.mkdir(parents=True)
    state = RunState(["a", "b"], settings={"network_config": R50}, network={"MODEL.RESNETS.DEPTH": 101})
    state.save(results / "run_state.json")
    with pytest.raises(
        SettingsError, match="MODEL.RESNETS.DEPTH: 101 -> its default: the weights belong to the former"
    ):
        request_of("--config", "maskAL.yaml")


@pytest.mark.parametrize("content", ["", "{", "[]"], ids=["empty", "cut", "another"])
def test_a_state_that_cannot_be_read_does_not_end_in_fresh_alone(request_of, tmp_path: Path, content: str):
    results = tmp_path / "results" / "exp1" / "uncertainty"
    results.mkdir(parents=True)
    (results / "run_state.json").write_text(content, encoding="utf-8")
    with pytest.raises(MaskALError, match=r"run_state\.json.*; or give the weights, .*--weights .*_001\.pth"):
        request_of("--config", "maskAL.yaml")
    assert request_of("--config", "maskAL.yaml", "--weights", "other.pth").weights == "other.pth"


def test_weights_that_are_cut_short(request_of, tmp_path: Path):
    write_weights(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:-90])
    for words in (["--config", "maskAL.yaml"], ["--network_config", R50, "--classes", "a"]):
        with pytest.raises(MaskALError, match=r"w\.pth: is cut short; fetch or copy it again"):
            request_of(*words, "--weights", "w.pth").write("1")
    with pytest.raises(MaskALError, match=r"best_model_001\.pth: is an empty file; fetch or copy it again"):
        request_of("--config", "maskAL.yaml").write("1")


@pytest.mark.parametrize(
    "words",
    [
        ["--network_config", R50, "--classes", "weed", "plant"],
        ["--config", "maskAL.yaml", "--classes", "weed", "plant"],
        ["--config", "maskAL.yaml", "classes", "[weed, plant]"],
    ],
    ids=["without settings", "besides settings", "in the settings"],
)
def test_weights_of_other_classes(request_of, tmp_path: Path, monkeypatch, words: list[str]):
    write_weights(tmp_path / "w.pth", classes=["plant", "weed"])
    monkeypatch.setattr(prediction, "build_model", lambda cfg: nn.Linear(1, 1))
    with pytest.raises(SettingsError) as error:
        request_of("--weights", "w.pth", *words).write("1")
    text = "w.pth: was trained on the classes plant, weed (in this order), not on weed, plant"
    assert str(error.value).startswith(f"{text}; give --classes plant weed, or in the settings")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("out", [".", "", "..", "/"])
def test_a_folder_to_write_to(request_of, out: str):
    with pytest.raises(SettingsError, match=r"--out: .*: the name must end in \.onnx"):
        request_of("--config", "maskAL.yaml", "--out", out)


def test_onnx_is_asked_for(request_of, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("active_learning.run.export.find_spec", lambda name: None)
    with pytest.raises(MaskALError, match=r"export_onnx.py needs onnx; install it with: pip install onnx"):
        request_of("--config", "maskAL.yaml")
