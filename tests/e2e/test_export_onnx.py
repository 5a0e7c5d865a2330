"""export_onnx.py as a user runs it, and demo/onnx_predict.py with what it wrote."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from active_learning import read_annotation
from active_learning.annotations.contours import instance_bitmap
from tests.demo.lost_output import EXIT_CODES, largest_file, lost_output
from tests.docs.markdown import blocks
from tests.processes import Program

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
from demo import onnx_predict  # noqa: E402


def export(folder: Path, *arguments: str) -> str:
    process = Program(str(ROOT / "export_onnx.py"), *arguments, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"})
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    return out


def run(folder: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tiny_project):
    """With the weights of a run, random ones that see something."""
    import torch

    from active_learning.network.network_config import network_config
    from active_learning.network.weights_files import save_weights
    from active_learning.run.output_files import output_files
    from active_learning.settings import load_settings
    from detectron2.modeling import build_model

    settings = load_settings(tiny_project.config)
    experiment = settings.experiments()[0]
    torch.manual_seed(3)
    model = build_model(network_config(settings, experiment))
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    torch.nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5)
    weights = tiny_project.folder / output_files(settings, experiment).best_model(0)
    weights.parent.mkdir(parents=True)
    save_weights(model, weights)
    return tiny_project


def test_a_run_is_exported_and_predicts_without_maskal(project):
    folder = project.folder
    words = ["--config", str(project.config), "--out", "robot.onnx", "confidence_threshold", "0.3"]
    said = export(folder, *words)
    assert "best_model_000.pth to robot.onnx; what is to be known of it: robot.yaml" in said
    images = sorted(str(path) for path in project.train.glob("*.png"))[:2]
    said = run(folder, str(ROOT / "demo" / "onnx_predict.py"), "--model", "robot.onnx", "--output", "seen", *images)
    assert [line.partition(".png: ")[2].rstrip("s").endswith(" object") for line in said.splitlines()] == [True, True]
    written = json.loads((folder / "seen" / f"{Path(images[0]).stem}.json").read_text(encoding="utf-8"))
    assert written["shapes"] and (folder / "seen" / written["imagePath"]).resolve() == Path(images[0]).resolve()
    assert {shape["label"] for shape in written["shapes"]} <= {"disc", "square"}
    picture = cv2.imread(str(folder / "seen" / f"{Path(images[0]).stem}.jpg"))
    assert picture.shape == cv2.imread(images[0]).shape
    export(folder, *words)  # what MaskAL wrote may be written again


NOTHING = {
    "boxes": np.zeros((0, 4)),
    "scores": np.zeros(0),
    "classes": np.zeros(0, int),
    "masks": np.zeros((0, 28, 28)),
}


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: str, detect: Any = lambda *_: NOTHING) -> int:
    """The exit code of the example program, here without a network that sees anything."""
    monkeypatch.setattr(onnx_predict, "detect", detect)
    monkeypatch.setattr("sys.argv", ["onnx_predict.py", *arguments])
    try:
        return onnx_predict.main()
    except SystemExit as exit_:
        return int(exit_.code or 0)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Good ones and bad ones."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    (tmp_path / "other").mkdir()
    for name in ("good.png", "other/good.jpg", "a.png"):
        cv2.imwrite(name, image)
    cv2.imwrite("deep.png", image[..., 0].astype(np.uint16) * 257)
    cv2.imwrite("alpha.png", np.dstack([image, image[..., :1]]))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "a.json").write_text("mine", encoding="utf-8")
    for link in ("seen/good.json", "lost"):
        (tmp_path / link).symlink_to("nowhere")
    return tmp_path


def test_the_example_names_what_it_cannot_read_and_goes_on(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: None)
    names = ["empty.png", "text.png", "gone.png", "other", "good.png", "deep.png", "alpha.png"]
    assert predict(monkeypatch, "--model", "m.onnx", "--output", "new", *names) == 1
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.err.splitlines()] == names[:4]
    assert [line.split(":")[0] for line in said.out.splitlines()] == names[4:]
    assert sorted(path.name for path in (photos / "new").glob("*.json")) == ["alpha.json", "deep.json", "good.json"]


REFUSED = {
    "images of one name": (["--output", "new", "good.png", "other/good.jpg"], "would be written to one file"),
    "a person's file": (["--output", "seen", "a.png"], "is there already"),
    "a link to nowhere": (["--output", "seen", "good.png"], "good.json is there already"),
    "a folder's link to nowhere": (["--output", "lost", "a.png"], "lost is no folder"),
    "among the images": (["--output", ".", "a.png"], "holds the images"),
    "a file": (["--output", "text.png", "a.png"], "is no folder"),
    "below a file": (["--output", "text.png/new", "a.png"], "--output: text.png/new cannot be made (Not a directory)"),
    "no model": (["--output", "new", "a.png"], "cannot be loaded"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_the_example_refuses_before_it_writes(photos: Path, monkeypatch, capsys, arguments, message):
    if "cannot be loaded" not in message:
        monkeypatch.setattr(onnx_predict, "load", lambda path: None)
    assert predict(monkeypatch, "--model", "text.png", *arguments) == 2
    assert message in capsys.readouterr().err
    assert (photos / "seen" / "a.json").read_text("utf-8") == "mine" and not (photos / "new").exists()
    assert not (photos / "seen" / "nowhere").exists() and not (photos / "nowhere").exists()


def network(**changes: Any) -> onnx_predict.Network:
    return onnx_predict.Network(
        **{"session": None, "classes": ["a"], "colour_order": "BGR", "mask_threshold": 0.5} | changes
    )


def test_an_image_that_the_network_fails_on_costs_no_other(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    error = onnxruntime.capi.onnxruntime_pybind11_state.Fail
    seen = []

    def fail_first(*given: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise error("no memory")
        return NOTHING

    assert (
        predict(monkeypatch, "--model", "m.onnx", "--output", "new", "a.png", "good.png", "a.png", detect=fail_first)
        == 1
    )
    said = capsys.readouterr()
    assert "a.png: cannot be predicted: no memory" in said.err and said.out == "good.png: 0 objects\n"


@pytest.mark.parametrize(("output", "code"), EXIT_CODES.items(), ids=EXIT_CODES)
def test_lines_that_are_lost_cost_no_image(photos: Path, monkeypatch, capsys, output, code):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    with lost_output(output):
        assert predict(monkeypatch, "--model", "m.onnx", "--output", "new", "a.png", "good.png") == code
    assert sorted(path.name for path in (photos / "new").iterdir()) == ["a.jpg", "a.json", "good.jpg", "good.json"]
    told = "standard output cannot be written: No space left on device; the files are written\n"
    assert capsys.readouterr().err == told * code


def test_a_full_disk_leaves_no_half_file_and_the_next_start_goes_on(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    words = ("--model", "m.onnx", "--output", "new", "a.png")
    for size in (50, 200):  # neither fits, one does
        with largest_file(size):
            assert predict(monkeypatch, *words) == 1
        told = capsys.readouterr().err
        assert "a.png: cannot be predicted: " in told and "File too large" in told
        assert not list((photos / "new").iterdir())
    assert predict(monkeypatch, *words) == 0


def test_a_name_that_is_no_text_is_printed_escaped(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    name = os.fsdecode(b"\xff.png")
    shutil.copy("a.png", name)
    assert predict(monkeypatch, "--model", "m.onnx", "--output", "new", name) == 0
    assert capsys.readouterr().out == "\\udcff.png: 0 objects\n"


def test_ctrl_c_keeps_what_is_finished(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    found = iter([NOTHING])

    def detect(*_: Any) -> Any:
        if (first := next(found, None)) is None:
            raise KeyboardInterrupt
        return first

    assert predict(monkeypatch, "--model", "m.onnx", "--output", "new", "a.png", "good.png", detect=detect) == 130
    assert sorted(path.name for path in (photos / "new").iterdir()) == ["a.jpg", "a.json"]
    assert "Interrupted. What is finished is kept." in capsys.readouterr().err


SMALL = {
    "a pixel": [(4, 5)],
    "two": [(4, 5), (4, 6)],
    "a slanting line": [(1, 1), (2, 2), (3, 3)],
    "two parts": [(0, 0), (8, 11)],
    "a corner": [(0, 0), (0, 1), (1, 0)],
}


@pytest.mark.parametrize("pixels", SMALL.values(), ids=SMALL)
def test_no_object_is_too_small_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels):
    """And each is read back by MaskAL as the pixels that it is."""
    mask = np.zeros((9, 12), bool)
    mask[tuple(np.transpose(pixels))] = True
    found = {"boxes": np.array([[0, 0, 12, 9.0]]), "scores": [0.9], "classes": [0], "masks": [mask]}
    monkeypatch.setattr(onnx_predict, "detect", lambda *_: found)
    monkeypatch.setattr(onnx_predict, "paste", lambda mask, *_: mask)
    image = np.zeros((9, 12, 3), np.uint8)
    assert onnx_predict.write_results(network(), image, tmp_path / "x.png", tmp_path) == "1 object"
    (instance,) = read_annotation(tmp_path / "x.json", image="x.png", size=(9, 12)).instances
    bitmap, read = instance_bitmap(instance, 9, 12), np.zeros_like(mask)
    rows, columns = bitmap.mask.shape
    read[bitmap.y : bitmap.y + rows, bitmap.x : bitmap.x + columns] = bitmap.mask
    assert np.array_equal(read, mask)


def test_an_object_without_a_mask_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = {"boxes": np.zeros((1, 4)), "scores": [0.9], "classes": [0], "masks": [np.zeros((9, 12), bool)]}
    monkeypatch.setattr(onnx_predict, "detect", lambda *_: found)
    monkeypatch.setattr(onnx_predict, "paste", lambda mask, *_: mask)
    said = onnx_predict.write_results(network(), np.zeros((9, 12, 3), np.uint8), tmp_path / "x.png", tmp_path)
    assert said == "1 object, 1 of them without a mask, not in the json file"


def test_an_image_as_seen_from_a_folder_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "seen").symlink_to(tmp_path / "disk" / "deep")
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    assert Path("seen", onnx_predict.path_from(Path("seen"), Path("a.png"))).exists()


def test_an_image_that_is_given_twice(photos: Path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_predict, "load", lambda path: network())
    paths = ["good.png", "./good.png", str(photos / "good.png")]
    assert predict(monkeypatch, "--model", "m.onnx", "--output", "new", *paths) == 0
    assert capsys.readouterr().out == "good.png: 0 objects\n"


def test_an_image_on_another_drive(monkeypatch: pytest.MonkeyPatch):
    def on_another(*_: Any) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", on_another)
    assert onnx_predict.path_from(Path("seen"), Path("a.png")) == str(Path("a.png").absolute())


OTHER_FACTS = {
    "of another export": "classes: [a, b]\ncolour_order: BGR\nmask_threshold: 0.5\nfingerprint: other\n",
    "of an export without a fingerprint": "classes: [a, b]\ncolour_order: BGR\nmask_threshold: 0.5\n",
    "empty": "",
    "a list": "[a]\n",
    "without classes": "fingerprint: FINGERPRINT\n",
    "without the order of colours": "classes: [a]\nmask_threshold: 0.5\nfingerprint: FINGERPRINT\n",
}


@pytest.mark.parametrize("text", OTHER_FACTS.values(), ids=OTHER_FACTS)
def test_facts_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    meta = SimpleNamespace(custom_metadata_map={"fingerprint": "FINGERPRINT"})
    session = SimpleNamespace(get_modelmeta=lambda: meta)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="m.yaml is not of this network; copy both files of one export"):
        onnx_predict.load(tmp_path / "m.onnx")
    facts = OTHER_FACTS["of another export"].replace("other", "FINGERPRINT")
    (tmp_path / "m.yaml").write_text(facts, encoding="utf-8")
    assert onnx_predict.load(tmp_path / "m.onnx").classes == ["a", "b"]


def test_the_example_of_the_page_runs(project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import export_onnx

    (example,) = [block.text for block in blocks(ROOT / "ONNX.md") if block.language == "python"]
    monkeypatch.chdir(project.folder)
    assert (
        export_onnx.main(["--config", str(project.config), "--out", "model.onnx", "confidence_threshold", "0.3"]) == 0
    )
    cv2.imwrite("photo.jpg", np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    capsys.readouterr()
    exec(compile(example, "ONNX.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_the_example_needs_nothing_of_this_repository():
    tree = ast.parse((ROOT / "demo" / "onnx_predict.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {
        "cv2", "numpy", "onnxruntime", "yaml",
    }  # fmt: skip
