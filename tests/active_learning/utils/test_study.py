"""What the study tools share."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure
from torch import nn

from active_learning.errors import AnnotationError, MaskALError, SettingsError, UnreadableImageError
from active_learning.network import prediction
from active_learning.network.network_config import network_without_device
from active_learning.run.output_files import OutputFiles, output_files
from active_learning.run.state import RunState
from active_learning.run.weights import newest_weights
from active_learning.settings import Settings
from active_learning.settings.changes import recorded
from active_learning.system.written_files import only_writer
from active_learning.utils import tsne, uncertainty_forward_passes
from active_learning.utils.study import Study, evenly, of_each_image, open_study, save_csv, save_figure, study_parser
from tests.active_learning.conftest import write_weights


@pytest.mark.parametrize("kind", [UnreadableImageError, AnnotationError])
def test_an_image_that_cannot_be_used_is_named_and_left_out(capsys, kind: type[MaskALError]):
    def study(name: str) -> str:
        if name in "bd":
            raise kind(f"{name}.png: is damaged")
        return name.upper()

    assert of_each_image("abcd", study, what="studying") == ["A", "C"]
    printed = capsys.readouterr().err
    assert "b.png: is damaged; it is left out" in printed and "d.png: is damaged" in printed
    with pytest.raises(kind, match="b.png: is damaged"):
        of_each_image("bd", study, what="studying")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(9, list("abcdef")), (6, list("abcdef")), (3, ["a", "c", "e"]), (1, ["a"])],
    ids=["more than there are", "all", "some", "one"],
)
def test_images_are_taken_evenly(count: int, expected: list[str]):
    assert evenly("abcdef", count) == expected


def test_the_newest_weights(tmp_path: Path):
    files = OutputFiles(tmp_path / "results", tmp_path, "uncertainty")
    with pytest.raises(MaskALError, match="--weights"):
        newest_weights(files)
    files.final_model.touch()
    assert newest_weights(files) == files.final_model
    for loop in range(3):
        files.best_model(loop).touch()
    assert newest_weights(files) == files.best_model(2)


@pytest.mark.parametrize("beside", ["best_model_002_old.pth", "best_model_final.pth", "best_model_999.pth"])
def test_the_newest_weights_are_of_the_last_loop(tmp_path: Path, beside: str):
    files = OutputFiles(tmp_path / "results", tmp_path, "uncertainty")
    (tmp_path / beside).touch()
    files.best_model(1000).touch()
    assert newest_weights(files) == files.best_model(1000)


@pytest.mark.parametrize("out", ["train", "val/study", "photos"])
def test_pictures_of_a_study_are_not_put_among_images(settings: Settings, tmp_path: Path, out: str):
    shutil.copytree(settings.testdir, tmp_path / "photos")
    write_weights(tmp_path / "w.pth")
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(recorded(settings)), encoding="utf-8")
    given = ["--config", str(tmp_path / "settings.yaml"), "--img_dir", str(tmp_path / "photos")]
    given += ["--out", str(tmp_path / out), "--weights", str(tmp_path / "w.pth")]
    with pytest.raises(MaskALError, match="--out: .* lies in .*, among images; give another folder"):
        open_study(study_parser("", images=1).parse_intermixed_args(given))
    assert not (tmp_path / "val/study").exists()


def test_a_run_is_studied_with_the_classes_of_its_training(settings: Settings, tmp_path: Path):
    files = output_files(settings, settings.experiments()[0])
    files.weights.mkdir(parents=True)
    write_weights(files.best_model(0))
    files.results.mkdir(parents=True)
    RunState([*reversed(settings.classes)]).save(files.state)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(recorded(settings)), encoding="utf-8")
    given = ["--config", str(tmp_path / "settings.yaml"), "--out", str(tmp_path / "study")]
    with pytest.raises(SettingsError, match="was trained with other settings .*\n.*classes: .*set it back"):
        open_study(study_parser("", images=1).parse_intermixed_args(given))
    assert not (tmp_path / "study").exists()
    open_study(study_parser("", images=1).parse_intermixed_args([*given, "--weights", str(files.best_model(0))]))


@pytest.mark.parametrize("load", [tsne.find_objects, partial(uncertainty_forward_passes.settle_images, passes=2)])
def test_weights_of_other_classes_are_not_studied(settings: Settings, tmp_path: Path, monkeypatch, load: Any):
    write_weights(tmp_path / "w.pth", classes=["b", "a"])
    monkeypatch.setattr(prediction, "build_model", lambda cfg: nn.Linear(1, 1))
    cfg = network_without_device(settings, settings.experiments()[0])
    with pytest.raises(SettingsError, match=r"w\.pth: .* b, a .* not on a, b; give --classes b a, or"):
        load(Study(settings, cfg, tmp_path / "w.pth", settings.testdir, ["00.png"], tmp_path))


@pytest.mark.parametrize(
    ("program", "option"),
    [(tsne, "--images 0"), (uncertainty_forward_passes, "--images -1"), (uncertainty_forward_passes, "--passes 1")],
)
def test_numbers_that_are_too_small(program: ModuleType, option: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        program.main(["--config", "settings.yaml", *option.split()])
    assert f"argument {option.split()[0]}: '{option.split()[1]}' must be a whole number" in capsys.readouterr().err


def test_tables_wait_for_another_program_as_figures_do(tmp_path: Path):
    with ThreadPoolExecutor(1) as pool:
        with only_writer(tmp_path):
            written = pool.submit(save_csv, "a\n", tmp_path / "tsne.csv")
            time.sleep(0.3)
            assert not (tmp_path / "tsne.csv").exists()
        written.result(timeout=20)
    assert (tmp_path / "tsne.csv").read_text(encoding="utf-8") == "a\n"


def test_a_persons_figure_is_kept(tmp_path: Path):
    path = tmp_path / "tsne.png"
    path.write_text("mine", encoding="utf-8")
    for _ in range(2):
        save_figure(Figure(), path)
    assert path.with_name("tsne.png.orig").read_text(encoding="utf-8") == "mine"
    assert sorted(file.name for file in tmp_path.glob("tsne*")) == ["tsne.png", "tsne.png.orig"]
