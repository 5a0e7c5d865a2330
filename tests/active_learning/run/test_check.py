from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.errors import MaskALError
from active_learning.run import near_duplicates
from active_learning.run.check import describe_run
from active_learning.run.checks import check_start, find_all
from active_learning.run.data import RunData
from active_learning.run.data_seen import DataSeen
from active_learning.run.findings import Kind, texts
from active_learning.run.image_checks import saved_anew
from active_learning.run.initial_images import initial_images, initial_size
from active_learning.run.near_duplicates import find_near_duplicates
from active_learning.run.output_files import output_files
from active_learning.run.own_folders import claim
from active_learning.run.project import Project, done_with
from active_learning.run.state import LoopScores, RunState
from active_learning.settings import Settings
from active_learning.settings.changes import recorded
from active_learning.system import devices
from tests.active_learning.conftest import annotated_image, write_weights


def changed(settings: Settings, changes: dict) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


def loops(plan: str) -> list[list[str]]:
    """Loop, train size and iterations of each row."""
    return [row for line in plan.splitlines() if len(row := line.split()) == 3 and row[0].isdecimal()]


def test_the_plan_has_each_loop_with_its_train_size_and_iterations(settings: Settings):
    (settings.traindir / "05.json").unlink()
    plan = describe_run(settings)
    cells = [line.split() for line in plan.splitlines()]
    assert [str(settings.traindir), "14", "13", "1"] in [row[1:] for row in cells if row[:1] == ["train"]]
    assert [row for row in cells if len(row) == 3 and row[0] in "012"] == [
        ["0", "4", "2500"],
        ["1", "7", "2500"],
        ["2", "10", "2500"],
    ]
    assert "strategy uncertainty" in plan


def test_the_plan_ends_where_the_pool_is_empty(settings: Settings):
    plan = describe_run(Settings(**{**settings.model_dump(), "loops": 9}))
    assert "14" in plan.split()
    assert len([line for line in plan.splitlines() if line.strip().endswith("2500")]) == 5


def test_all_faults_come_in_one_message(settings: Settings):
    (settings.traindir / "01.json").write_text("{", encoding="utf-8")
    (settings.valdir / "00.png").write_bytes(b"no image")
    for path in settings.testdir.iterdir():
        path.unlink()
    with pytest.raises(MaskALError) as caught:
        describe_run(settings)
    for words in ("01.json", "00.png", "holds no image; put the images of testdir there"):
        assert words in str(caught.value)


def _delete_objects(annotation: Path) -> None:
    document = json.loads(annotation.read_text(encoding="utf-8"))
    annotation.write_text(json.dumps({**document, "shapes": []}), encoding="utf-8")


def test_nothing_to_train_on_is_found(settings: Settings):
    """Once all training images are annotated; before, the others may hold objects."""
    annotations = sorted(settings.traindir.glob("*.json"))
    for file in annotations:
        _delete_objects(file)
    with pytest.raises(MaskALError, match="4 training images hold no object of the classes .*nothing to train on"):
        describe_run(settings)
    annotations[0].unlink()
    first = changed(settings, {"initial_datasize": 14})
    assert "nothing to train on" not in describe_run(first)


@pytest.mark.parametrize("from_folder", [False, True], ids=["sampled", "initial_train_dir"])
def test_the_images_that_a_run_starts_from_must_hold_an_object(settings: Settings, tmp_path, from_folder: bool):
    """Whatever the others hold, and whether these are annotated."""
    initial, folder = initial_images(RunData(settings), settings.experiments()[0].seed), settings.traindir
    if from_folder:
        folder = tmp_path / "own"
        folder.mkdir()
        for path in [settings.traindir / name for name in initial]:
            (folder / f"new_{path.name}").write_bytes(path.read_bytes())
            (folder / f"new_{path.stem}.json").write_bytes(path.with_suffix(".json").read_bytes())
    for name in initial:
        _delete_objects((folder / (f"new_{name}" if from_folder else name)).with_suffix(".json"))
    next(path for path in settings.traindir.glob("*.png") if path.name not in initial).with_suffix(".json").unlink()
    with pytest.raises(MaskALError, match=f"{folder}: the {len(initial)} training images hold no object"):
        describe_run(changed(settings, {"initial_train_dir": folder, "use_initial_train_dir": from_folder}))


def test_the_plan_says_what_is_asked_for_first(settings: Settings):
    assert "asks for annotations" not in describe_run(settings)
    (settings.valdir / "00.json").unlink()
    (settings.testdir / "01.json").unlink()
    assert "The run asks for annotations of 2 validation or test images before it trains." in describe_run(settings)


def test_files_that_are_passed_over_are_named_in_the_plan(settings: Settings, tmp_path, capfd):
    (settings.traindir / "x.png").symlink_to(tmp_path / "val" / "00.png")
    (settings.valdir / "y.heic").touch()
    plan = describe_run(settings)
    assert f"{settings.traindir}: x.png: passed over: a link out of the folder; copy the file there" in plan
    assert f"{settings.valdir}: 1 file of kinds that are not read: 1 .heic; save images as JPEG or PNG" in plan
    assert capfd.readouterr().err == ""


def test_names_that_cannot_be_used_are_a_fault_beside_others(settings: Settings):
    (settings.traindir / "01.PNG").touch()
    (settings.valdir / "00.json").write_text("{", encoding="utf-8")
    with pytest.raises(MaskALError) as caught:
        describe_run(settings)
    assert "image names that are one but for capitals or the form of accents: '01.PNG' and '01.png'" in str(
        caught.value
    )
    assert "00.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial_datasize": 15}, "initial_datasize is 15, but traindir holds 14 images; lower it"),
        ({"use_initial_train_dir": True}, "holds no annotated image"),
    ],
    ids=["too few images", "initial_train_dir"],
)
def test_what_the_run_would_refuse_at_its_start_is_a_fault(settings: Settings, tmp_path, changes: dict, words: str):
    own = tmp_path / "own"
    own.mkdir()
    (own / "new.png").write_bytes((settings.traindir / "00.png").read_bytes())
    with pytest.raises(MaskALError, match=words):
        describe_run(changed(settings, {"initial_train_dir": own, **changes}))


def test_a_gpu_that_the_environment_hides_is_a_fault(settings: Settings, monkeypatch):
    monkeypatch.setattr(devices, "_shown", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(MaskALError, match="1 is not among the GPUs that the environment leaves"):
        describe_run(changed(settings, {"cuda_visible_devices": "1"}))


def test_the_plan_starts_from_the_images_of_initial_train_dir(settings: Settings, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("new.png", "new.json"):
        (own / name).write_bytes((settings.traindir / f"00{name[3:]}").read_bytes())
    plan = describe_run(changed(settings, {"initial_train_dir": own, "use_initial_train_dir": True, "loops": 9}))
    assert [row[1] for row in loops(plan)] == ["1", "4", "7", "10", "13", "15"]
    (own / "new.json").write_text("{", encoding="utf-8")
    with pytest.raises(MaskALError, match="new.json"):
        describe_run(changed(settings, {"initial_train_dir": own, "use_initial_train_dir": True}))


def test_the_plan_counts_the_images_that_are_chosen_ahead(settings: Settings):
    scores = LoopScores(4, 1.0, {"a": 1.0, "b": 1.0}, 1.0, {"a": 1.0, "b": 1.0}, 1.0)
    names = [f"0{n}.png" for n in range(7)]
    settings = changed(settings, {"loops": 3, "work_ahead": True})
    state = RunState(["a", "b"], 1, "train", names, history=[scores], settings=recorded(settings))
    state.choose_ahead({"08.png": 0.5, "09.png": 0.5}, 0.0)
    state.save(output_files(settings, settings.experiments()[0]).state)
    write_weights(settings.weightsroot / "exp1" / "uncertainty" / "best_model_000.pth")
    assert [row[1] for row in loops(describe_run(settings))] == ["7", "9", "12"]


@pytest.mark.parametrize(
    ("phase", "rows"),
    [("annotate", [["1", "7", "2500"], ["2", "10", "2500"]]), ("choose", [["2", "10", "2500"]])],
    ids=["before the training", "after it"],
)
def test_the_plan_of_a_run_that_has_begun_is_what_is_left(settings: Settings, phase: str, rows: list[list[str]]):
    scores = LoopScores(4, 1.0, {"a": 1.0, "b": 1.0}, 1.0, {"a": 1.0, "b": 1.0}, 1.0)
    history = [scores] * (2 if phase == "choose" else 1)
    names = [f"0{n}.png" for n in range(7)]
    state = RunState(["a", "b"], 1, phase, names, history=history, settings=recorded(settings))
    state.save(output_files(settings, settings.experiments()[0]).state)
    for loop in (0, 1):
        write_weights(settings.weightsroot / "exp1" / "uncertainty" / f"best_model_{loop:03d}.pth")
    plan = describe_run(settings)
    assert f"It has begun: loop 1 of 2, phase {phase}" in plan
    assert loops(plan) == rows
    other = changed(settings, {"classes": ["a", "c"]})
    with pytest.raises(MaskALError, match=r"classes: \[a, b\] -> \[a, c\]"):
        describe_run(other)
    assert [row[0] for row in loops(describe_run(other, fresh=True))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loops": 1}, "loop 1 of 1 is done"),
        ({"target_map": 30.0}, "mAP 30.0 has reached target_map 30"),
        ({"patience": 1}, "mAP has not risen for 1 loops (patience)"),
        ({"target_map": 31.0, "patience": 2}, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("phase", ["annotate", "trains", "choose", "finished"])
def test_the_plan_knows_where_the_settings_end_the_run(settings: Settings, changes: dict, reason: str, phase: str):
    """Also of images of a loop that are asked for, but not of one that trains."""
    scores = LoopScores(4, 30.0, {"a": 30.0, "b": 30.0}, 30.0, {"a": 30.0, "b": 30.0}, 1.0)
    names, files = [f"{n:02d}.png" for n in range(10)], output_files(settings, settings.experiments()[0])
    loop = 1 if phase in ("choose", "finished") else 2
    state = RunState(["a", "b"], loop, "annotate" if phase == "trains" else phase, names, history=[scores] * 2)
    state.settings = recorded(settings)
    state.save(files.state)
    if phase == "trains":
        files.training_log(loop).mkdir(parents=True)
    for number in (0, 1):
        write_weights(files.best_model(number))
    plan = describe_run(changed(settings, changes))
    if reason and phase != "trains":
        assert f"No training left: {reason}" in plan
    else:
        assert [row[0] for row in loops(plan)] == ["2"]


def test_what_the_run_would_do_with_files_of_a_person_is_named(settings: Settings):
    settings.dataroot.mkdir()
    (settings.dataroot / "val.json").write_text("mine", encoding="utf-8")
    (settings.traindir / "annotate").mkdir()
    text = (settings.traindir / "01.json").read_text(encoding="utf-8")
    (settings.traindir / "annotate" / "01.json").write_text(text.replace('"a"', '"b"'), encoding="utf-8")
    plan = describe_run(settings)
    assert "val.json: was not written by MaskAL; a run keeps it as val.json.orig" in plan
    assert "01.json: was saved after the annotation of 01.png had been collected; the next loop uses it" in plan


@pytest.mark.parametrize("fresh", [True, False])
def test_outputs_that_are_not_the_runs_own_are_faults(settings: Settings, fresh: bool):
    files = output_files(settings, settings.experiments()[0])
    files.weights.mkdir(parents=True)
    files.best_model(0).write_bytes(b"a colleague's")
    with pytest.raises(MaskALError, match="best_model_000.pth is of no run whose results are in"):
        describe_run(settings, fresh=fresh)


def shapes_of(path, *shapes):
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "shapes": [*document["shapes"], *shapes]}), encoding="utf-8")


@pytest.mark.parametrize("bare", [True, False], ids=["one has none", "all are annotated"])
def test_an_annotation_of_no_image_beside_it_is_warned_of(settings: Settings, bare: bool):
    content = (settings.traindir / "00.json").read_bytes()
    if bare:
        (settings.traindir / "09.json").unlink()
    for name in ("00 (1).json", "gone.json"):
        (settings.traindir / name).write_bytes(content)
    plan = describe_run(settings)
    stray = settings.traindir / "00 (1).json"
    assert (
        f"{stray}: is an annotation that names 00.png inside, but bears the name of no image beside it, as 1 other"
        in plan
    )
    assert "for 1 warning." in plan


def test_an_annotation_of_an_image_of_an_unread_kind_is_warned_of(settings: Settings):
    (settings.traindir / "20.avif").write_bytes(b"an image")
    annotation = settings.traindir / "20.json"
    annotation.write_text('{"shapes": [], "imagePath": "20.avif"}', encoding="utf-8")
    warning = (
        f"{annotation}: is an annotation of 20.avif, an image of a kind that is not read; it is not used: save the"
    )
    assert warning in describe_run(settings)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param('{"shapes": [{"label": "aa"', "half-written: save the annotation again", id="half a file"),
        pytest.param('{"shapes": [{"label": "z", "points": [[1, 1], [9, 1], [9, 9]]}]}', "label 'z'", id="misspelt"),
    ],
)
def test_a_faulty_annotation_that_a_run_would_wait_for_is_warned_of(settings: Settings, content: str, fault: str):
    path = settings.valdir / "annotate/00.json"
    path.parent.mkdir()
    (settings.valdir / "00.json").unlink()
    shutil.copy(settings.valdir / "00.png", path.parent)
    path.write_text(content, encoding="utf-8")
    plan = describe_run(settings)
    assert f"warning: {path}: " in plan and fault in plan
    assert path.read_text(encoding="utf-8") == content


def test_what_is_left_out_is_a_warning(settings: Settings):
    line = {"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "line"}
    for path in sorted(settings.traindir.glob("*.json"))[:3]:
        shapes_of(path, *[line] * 10)
    plan = describe_run(settings)
    assert f"{settings.traindir / '00.json'}: shapes[1]: label 'a': shape_type 'line' encloses no area" in plan
    assert "10 more warnings" in plan
    assert "are in order, but for 30 warnings. Nothing was changed." in plan


def test_objects_of_other_labels_are_warned_of_where_they_are_skipped(settings: Settings):
    for path in sorted(settings.traindir.glob("*.json"))[:2]:
        shapes_of(path, {"label": "dgo", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"})
    plan = describe_run(settings.model_copy(update={"unknown_labels": "skip"}))
    assert "label 'dgo' is not in classes (a, b): 2 objects left out, in 00.png and 1 more images" in plan


def test_an_image_that_loses_all_its_objects_is_a_fault(settings: Settings):
    path = settings.traindir / "09.json"
    path.write_text(path.read_text(encoding="utf-8").replace("polygon", "linestrip"), encoding="utf-8")
    with pytest.raises(MaskALError, match=r"09\.json: shapes\[0\]: .*no object is left of 09\.png"):
        describe_run(settings)


def test_files_that_are_not_used_are_warnings(settings: Settings):
    (settings.traindir / "03.png.json").write_text('{"title": "03.png"}', encoding="utf-8")
    (settings.traindir / "04.png.json").write_text('{"shapes": [], "imagePath": "04.png"}', encoding="utf-8")
    (settings.traindir / "annotate").mkdir()
    for name in ("03.png", "mine.png"):
        shutil.copy(settings.traindir / "03.png", settings.traindir / "annotate" / name)
    plan = describe_run(settings)
    assert f"{settings.traindir / '03.png.json'}: no annotation, though named as one; passed over" in plan
    assert f"{settings.traindir / '04.json'}: not used, as the image has another annotation; leave one" in plan
    assert f"{settings.traindir / 'annotate' / 'mine.png'}: is not used" in plan


@pytest.mark.parametrize(
    ("every_object", "words"),
    [
        pytest.param("again", "objects lie on another one of their class (first {}: shapes[1] (a))", id="drawn twice"),
        pytest.param("one id", "images with objects most of a class are in parts far apart (first {}: shapes[0] (a))",
                     id="one group_id"),
    ],
)  # fmt: skip
def test_what_a_tool_did_to_all_objects_is_one_warning_a_folder(settings: Settings, every_object: str, words: str):
    for file in settings.traindir.glob("*.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        spots = [[[x, y], [x + 4, y], [x + 4, y + 4], [x, y + 4]] for x, y in ((0, 0), (27, 0), (0, 19))]
        group = 0 if every_object == "one id" else None
        shapes = [{"label": "a", "shape_type": "polygon", "points": one, "group_id": group} for one in spots]
        shapes = [shape for one in shapes for shape in [one] * (1 if every_object == "one id" else 2)]
        file.write_text(json.dumps({**document, "shapes": shapes}), encoding="utf-8")
    plan = describe_run(settings)
    first = words.format(settings.traindir / "00.json")
    (warning,) = [line for line in plan.splitlines() if first in line]
    assert warning.startswith(f"warning: {settings.traindir}: ")
    assert "drawn twice:" not in plan and "joined:" not in plan
    assert first not in describe_run(changed(settings, {"label_check": False}))


def test_a_file_that_may_be_of_two_images_is_no_second_one(settings: Settings):
    shutil.copy(settings.traindir / "03.png", settings.traindir / "03.bmp")
    text = (settings.traindir / "03.json").read_text(encoding="utf-8").replace("03.png", "03.tif")
    (settings.traindir / "03.json").write_text(text, encoding="utf-8")
    with pytest.raises(MaskALError, match=r"03\.json: may be of 03\.bmp or 03\.png") as caught:
        describe_run(settings)
    assert "not used" not in str(caught.value)


def test_an_export_under_the_name_of_an_image_is_named_with_the_command(settings: Settings):
    path = settings.traindir / "03.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}', encoding="utf-8")
    with pytest.raises(MaskALError) as caught:
        describe_run(settings)
    words = f"{path}: is a COCO json file; rename it, as it bears the name of 03.png, and turn it into a file for each"
    assert words in str(caught.value)
    assert f"convert {settings.traindir} --to labelme --classes" in str(caught.value)


def test_names_that_pre_labels_cannot_hold_are_found_at_the_start(settings: Settings):
    for suffix in ("png", "json"):
        (settings.traindir / f"03.{suffix}").rename(settings.traindir / f"0\x07.{suffix}")
    describe_run(changed(settings, {"export_format": "cvat"}))
    with pytest.raises(MaskALError, match="CVAT's xml files cannot hold"):
        check_start(changed(settings, {"export_format": "cvat", "auto_annotate": True}))


@pytest.mark.parametrize("leave", ["nothing", "an empty folder"])
def test_a_folder_whose_drive_is_gone_is_not_taken_for_an_empty_one(settings: Settings, tmp_path: Path, leave: str):
    files = output_files(settings, settings.experiments()[0])
    claim(files)
    data = RunData(settings, DataSeen(files.data_seen))
    data.log_changes("val", data.images("val"))
    settings.valdir.rename(tmp_path / "away")
    if leave != "nothing":
        settings.valdir.mkdir()
    with pytest.raises(MaskALError, match="is its drive connected"):
        check_start(settings)
    with pytest.raises(MaskALError, match="there is no such folder|holds no image; put the images of valdir there"):
        check_start(settings, fresh=True)


def test_a_folder_that_may_not_be_written_to_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Not where all images are annotated."""
    monkeypatch.setattr(os, "access", lambda path, how: path != settings.traindir or not how & os.W_OK)
    assert "Settings, folders and annotations are in order" in describe_run(settings)
    (settings.traindir / "03.json").unlink()
    with pytest.raises(MaskALError, match="train: may not be written to, and annotations are put beside 1"):
        describe_run(settings)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("gone")], ids=["file", "link"])
def test_what_stands_in_the_place_of_the_annotate_folder_is_named(settings: Settings, make: Callable[[Path], None]):
    """Not where all images are annotated."""
    make(settings.traindir / "annotate")
    assert "Settings, folders and annotations are in order" in describe_run(settings)
    (settings.traindir / "03.json").unlink()
    with pytest.raises(MaskALError, match="annotate: is no folder, or a link to a drive that is not .*rename it"):
        describe_run(settings)


@pytest.mark.parametrize("phase", ["annotate", "train", "choose"])
def test_weights_that_are_gone_are_no_reason_to_begin_from_others(settings: Settings, phase: str):
    scores = LoopScores(4, 1.0, {"a": 1.0, "b": 1.0}, 1.0, {"a": 1.0, "b": 1.0}, 1.0)
    history = [scores] * (2 if phase == "choose" else 1)
    state = RunState(
        ["a", "b"], 1, phase, [f"0{n}.png" for n in range(7)], history=history, settings=recorded(settings)
    )
    state.save(output_files(settings, settings.experiments()[0]).state)
    with pytest.raises(MaskALError, match=r"The run goes on from these weights: put the file back \(is its drive"):
        check_start(settings)
    if phase != "choose":
        check_start(changed(settings, {"transfer_learning_on_previous_models": False}))


def test_near_duplicates_are_counted_and_nothing_is_kept(settings: Settings):
    text = describe_run(settings)
    assert (
        f"{settings.traindir}: 14 of its 14 images are near-duplicates of another, in 1 group, such as 00.png" in text
    )
    assert not settings.dataroot.exists()


def test_images_to_measure_on_that_are_training_images_saved_anew_are_named_with_deep_alone(settings: Settings):
    scene = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(scene).save(settings.traindir / "scene.png")
    Image.fromarray(scene).save(settings.valdir / "other.tif")
    shutil.copy(settings.traindir / "scene.png", settings.testdir / "equal.png")
    found = [one.text for one in saved_anew(Project(settings, deep=True)) if "other.tif" in one.text]
    warning = "valdir: 1 image of it may be images of traindir, saved anew: other.tif (scene.png); leave each in one"
    assert any(text.startswith(warning) for text in found)
    assert not any(
        "equal.png" in one.text for one in saved_anew(Project(settings, deep=True)) if "traindir" in one.text
    )
    assert "saved anew" not in "".join(texts(find_all(Project(settings)), *Kind))


def test_many_images_are_compared_with_deep_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(near_duplicates, "MOST_CHECKED", 13)
    note = "holds 14 images; --check --deep looks for near-duplicates among them, too"
    assert note in describe_run(settings)
    find_near_duplicates(settings, RunData(settings).images("train"))  # as a run does, and keeps it
    assert "14 of its 14 images" in describe_run(settings)


def test_a_plan_in_objects_is_an_estimate(settings: Settings):
    for number in range(2):
        annotated_image(settings.valdir / f"{number:02d}.png", objects=10)  # 36 objects in 18 images
    plan = describe_run(changed(settings, {"budget": "objects", "pool_size": 8}))
    assert [row[:2] for row in loops(plan)] == [["0", "2"], ["1", "6"], ["2", "10"]]
    assert "estimates by the images that are annotated, which hold 2.0 objects on average" in plan


def test_a_plan_in_objects_before_anything_is_annotated(settings: Settings):
    for folder in (settings.traindir, settings.valdir, settings.testdir):
        for path in folder.glob("*.json"):
            path.unlink()
    plan = describe_run(changed(settings, {"budget": "objects"}))
    assert "are not known before images are annotated" in plan
    with pytest.raises(MaskALError, match="A budget of objects needs to know how many objects an image holds"):
        initial_size(RunData(changed(settings, {"budget": "objects"})))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "task.xml",
            "<annotations><track id='0'/></annotations>",
            "a 'CVAT for video' xml file; it is not read: export 'CVAT for images' instead, or move it away",
        ),
        (
            "via.json",
            '{"1": {"regions": [{"shape_attributes": {}}]}}',
            "a file of the VGG Image Annotator; it is not read: export COCO instead, or move it away",
        ),
    ],
)
@pytest.mark.parametrize("annotated", [True, False])
def test_files_of_tools_that_are_not_read_are_named_and_stop_nothing(
    settings: Settings, name, content, text, annotated
):
    for path in settings.traindir.glob("*.json") if not annotated else [settings.traindir / "05.json"]:
        path.unlink()
    (settings.traindir / name).write_text(content, encoding="utf-8")
    assert f"{settings.traindir / name}: is {text}" in describe_run(settings)


@pytest.mark.parametrize("number", [1, 2, 14])
def test_annotations_that_bear_another_name_than_their_images_are_named_and_stop_nothing(
    settings: Settings, number: int, caplog: pytest.LogCaptureFixture
):
    for path in sorted(settings.traindir.glob("*.json"))[:number]:
        path.rename(path.with_name(f"{path.stem} (1).json"))
    plan = describe_run(settings)
    text = f"{settings.traindir / '00 (1).json'}: names 00.png inside, but bears another name; rename it 00.json"
    others = {1: "\n", 2: ", as 1 other file: each", 14: ", as 13 other files: each"}[number]
    assert f"{text}{others}" in plan
    check_start(settings)
    assert text in caplog.text


STARTED_FROM = {"use_initial_train_dir": True, "initial_train_dir": "gone", "pretrained_weights": "gone.pth"}
ALL = {"initial_train_dir", "initial_train_file", "pretrained_weights"}


@pytest.mark.parametrize(
    ("changes", "states", "needless"),
    [
        ({}, [], set()),
        ({}, [(0, "annotate", [])], set()),
        ({}, [(0, "annotate", ["00.png"])], {"initial_train_dir"}),
        ({}, [(0, "train", ["00.png"])], {"initial_train_dir"}),
        ({}, [(0, "evaluate", ["00.png"])], ALL),
        ({}, [(1, "annotate", ["00.png"])], ALL),
        ({"transfer_learning_on_previous_models": False}, [(1, "train", ["00.png"])], ALL - {"pretrained_weights"}),
        ({"transfer_learning_on_previous_models": False}, [(2, "train", ["00.png"])], ALL - {"pretrained_weights"}),
        ({"transfer_learning_on_previous_models": False}, [(2, "evaluate", ["00.png"])], ALL),  # 2 loops
        ({"strategy": ["uncertainty", "random"]}, [(1, "annotate", ["00.png"])], set()),  # one has not begun
        ({"strategy": ["uncertainty", "random"]}, [(2, "finished", ["00.png"]), (0, "choose", ["00.png"])], ALL),
    ],
)
def test_what_a_run_started_from_is_not_needed_to_go_on(settings: Settings, changes: dict, states, needless):
    settings = changed(settings, {**STARTED_FROM, **changes})
    for experiment, (loop, phase, images) in zip(settings.experiments(), states, strict=False):
        rows = [LoopScores(1, 1.0, {}, 1.0, {}, 1.0)] * (loop + (phase in ("choose", "finished")))
        state = RunState(["a", "b"], loop, phase, images, history=rows, settings=recorded(settings))
        state.save(output_files(settings, experiment).state)
    assert done_with(settings) == needless


def test_a_damaged_state_needs_all(settings: Settings):
    path = output_files(settings, settings.experiments()[0]).state
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    assert done_with(settings) == set()


@pytest.mark.parametrize(
    ("loop", "phase", "best_ap", "there", "lost"),
    [
        (2, "annotate", 30.0, ["best_model_000.pth", "model_final.pth"], "best_model_001.pth"),  # an older copy
        (2, "train", 30.0, ["model_final.pth"], "best_model_001.pth"),
        (1, "evaluate", 30.0, ["best_model_000.pth", "model_final.pth"], "best_model_001.pth"),
        (1, "choose", 30.0, ["model_final.pth"], "best_model_001.pth"),
        (2, "annotate", 30.0, ["best_model_001.pth", "model_final.pth"], ""),
        (2, "annotate", 0.0, ["model_final.pth"], ""),  # no training was better than nothing
        (2, "finished", 30.0, ["model_final.pth"], ""),
        (0, "annotate", 0.0, [], ""),
    ],
)
def test_lost_weights_that_others_stand_in_for_are_named(settings: Settings, loop, phase, best_ap, there, lost):
    files = output_files(settings, settings.experiments()[0])
    claim(files)
    rows = [LoopScores(4, 1.0, {}, 1.0, {}, 1.0)] * (loop + (phase in ("choose", "finished")))
    images = [f"{number:02d}.png" for number in range(4)]
    RunState(["a", "b"], loop, phase, images, best_ap=best_ap, history=rows, settings=recorded(settings)).save(
        files.state
    )
    for name in there:
        write_weights(files.weights / name)
    said = describe_run(settings)
    assert (f"{files.weights / lost}: is gone, the best weights so far; the run goes on" in said) is bool(lost)
    assert ("is gone" in said) is bool(lost)
