"""The order of phases, what is carried over, and going on after a stop; a fake plays the network."""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

import maskAL
from active_learning import loop as loop_module
from active_learning.acquisition import acquire
from active_learning.annotating import waiting
from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotations import Annotation, documents
from active_learning.dataset import annotation_cache
from active_learning.errors import AnnotationsAwaited, MaskALError, SettingsError
from active_learning.label_check import check as label_check
from active_learning.loop import ActiveLearningLoop
from active_learning.network import evaluation, network_config, pre_labelling, prediction, training
from active_learning.network.evaluation import Scores
from active_learning.network.weights_files import begin_best
from active_learning.report import page
from active_learning.run import checks, weights
from active_learning.run import data as data_module
from active_learning.run.check import describe_run
from active_learning.run.data import RunData
from active_learning.run.initial_images import initial_images
from active_learning.run.output_files import output_files
from active_learning.run.own_folders import start_over
from active_learning.run.state import RunState
from active_learning.run.status import describe_status
from active_learning.sampling.pool_record import PoolRecord
from active_learning.settings import Settings, load_settings
from active_learning.settings.changes import recorded
from active_learning.settings.paths import network_file
from tests.active_learning.conftest import annotated_image, write_weights


class StopError(Exception):
    """The machine goes down."""


@dataclass
class FakeNetwork:
    """Learns a little in each training; its weights files hold the number of the training."""

    make_record: Callable[..., PoolRecord]
    aps: list[float] = field(default_factory=lambda: [30.0, 40.0, 35.0, 50.0, 50.0])
    started_from: list[str] = field(default_factory=list)
    carried_ap: list[float] = field(default_factory=list)
    stop_at: str = ""
    sees: bool = True
    explained: list[list[str]] = field(default_factory=list)
    reports: list[Path] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(network_config, "network_config", lambda *_: None)
        monkeypatch.setattr(weights, "pretrained_weights", lambda settings: "pretrained")
        monkeypatch.setattr(network_config, "training_config", self.training_config)
        monkeypatch.setattr(checks, "next_weights", lambda *arguments: set())  # what is written are none
        monkeypatch.setattr(training, "register_dataset", lambda *arguments: None)
        monkeypatch.setattr(training, "train", self.train)
        monkeypatch.setattr(evaluation, "evaluate_weights", self.evaluate)
        monkeypatch.setattr(label_check, "_compared", lambda *what: [])
        monkeypatch.setattr(acquire, "score_images", self.score_images)
        monkeypatch.setattr(acquire, "explain_images", lambda *where, **what: self.explained.append(what["images"]))

    def training_config(self, config: object, settings: Settings, *, weights: str, **options: object) -> object:
        self.started_from.append(Path(weights).name)
        return type("Config", (), {"SEED": -1})()

    def train(
        self, config, *, best_model: Path, best_ap: float, final_model: Path, best_before: Path | None, measured_on: str
    ) -> float:
        self.stop("train")
        begin_best(best_model, best_before)
        self.carried_ap.append(best_ap)
        number = len(self.carried_ap) - 1
        final_model.write_text(str(number), encoding="utf-8")
        if self.aps[number] > best_ap:
            best_model.write_text(str(number), encoding="utf-8")
        return max(best_ap, self.aps[number])

    def evaluate(self, config: object, weights: Path, dataset: str, thresholds: list[float]) -> list[Scores]:
        self.stop("evaluate")
        ap = self.aps[int(weights.read_text(encoding="utf-8"))]
        return [Scores(ap, {"a": ap, "b": math.nan})] * len(thresholds)

    def score_images(self, config: object, weights: Path, folder: Path, images: list[str], **options: object):
        self.stop("choose")
        records = [self.make_record(name, [number_in(name) / 100] * self.sees) for name in images]
        return {one.name: one for one in records}

    def stop(self, phase: str) -> None:
        if self.stop_at == phase:
            self.stop_at = ""
            raise StopError


def number_in(name: str) -> int:
    return int("".join(filter(str.isdigit, name))[:2])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., PoolRecord]) -> FakeNetwork:
    fake = FakeNetwork(make_record)
    fake.install(monkeypatch)
    monkeypatch.setattr(
        loop_module, "try_to_write_report", fake.reports.append
    )  # drawing takes longer than all else here
    return fake


def changed(settings: Settings, changes: dict) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


def go(settings: Settings, **options: bool) -> ActiveLearningLoop:
    loop = ActiveLearningLoop(settings, settings.experiments()[0], **options)
    maskAL.run_experiment(loop)
    return loop


@dataclass
class Counts:
    parses: int = 0
    digests: int = 0
    walks: int = 0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often annotation files are parsed and hashed, and image folders walked or listed."""
    counts = Counts()

    def counted(function: Callable[..., object], what: str) -> Callable[..., object]:
        def count(*arguments: object, **options: object) -> object:
            setattr(counts, what, getattr(counts, what) + 1)
            return function(*arguments, **options)

        return count

    parse = counted(documents.parse_document, "parses")
    for module in (documents, annotation_cache):
        monkeypatch.setattr(module, "parse_document", parse)
    for name in ("sha1", "sha256", "md5"):
        monkeypatch.setattr(hashlib, name, counted(getattr(hashlib, name), "digests"))
    for name in ("scandir", "listdir"):  # a walk scans each folder once
        monkeypatch.setattr(os, name, counted(getattr(os, name), "walks"))
    return counts


def test_a_loop_reads_each_annotation_once(settings: Settings, network: FakeNetwork, counts: Counts):
    """40 validation and test annotations, 10 of training images."""
    for folder in (settings.valdir, settings.testdir):
        for number in range(2, 20):
            annotated_image(folder / f"{number:02d}.png")
    settings = changed(settings, {"initial_datasize": 10, "pool_size": 2})
    loop = ActiveLearningLoop(settings, settings.experiments()[0])
    # Walks of the run's own folders, for what a killed start left half written; that of traindir is used later.
    opened = counts.walks - 1
    loop.prepare_data()
    per_loop = []
    for _ in range(2):
        before = replace(counts)
        for phase in (loop.annotate, loop.train, loop.evaluate, loop.choose_images):
            phase()
        per_loop.append((counts.parses - before.parses, counts.digests - before.digests, counts.walks - before.walks))
    assert (counts.parses, counts.digests) == (50 + 2, 50 + 2)  # and the two images that the second loop adds
    # Before a file is written first, what a killed run had taken is looked for.
    first_lists, first_files = 6, 5  # in dataroot, and in the results
    records = 2  # parts of records, of weights that are trained anew, are looked for
    again = 1  # of traindir before each training
    assert per_loop == [(10, 10, 1 + again + first_files + records), (2, 2, 4 + again + records)]
    assert counts.walks - opened == 3 + first_lists + 1 + first_files + 4 + 2 * (again + records)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("what", ["image", "both"])
def test_a_measured_image_that_is_taken_away_after_it_was_listed_is_left_out(
    settings: Settings, network: FakeNetwork, monkeypatch, split: str, what: str
):
    """Such as while the training images are annotated, which may take days."""
    folder, gone = getattr(settings, f"{split}dir"), []

    def take_away(*_: object) -> None:
        for path in folder.glob("01.*" if what == "both" else "01.png"):
            gone.append(path.unlink())

    monkeypatch.setattr(loop_module, "check_new_images", take_away)
    loop = go(settings)
    assert gone
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10]
    listed = json.loads((settings.dataroot / f"{split}.json").read_text(encoding="utf-8"))["images"]
    assert [image["file_name"] for image in listed] == ["00.png"]


@pytest.mark.parametrize("work_ahead", [False, True])
@pytest.mark.parametrize("saved_as", ["", ".png.json", ".json"])
def test_a_training_annotation_that_is_taken_away_before_the_training_is_asked_for(
    settings: Settings, network: FakeNetwork, monkeypatch, saved_as: str, work_ahead: bool
):
    """While the pool is scored for work_ahead, or new annotations are checked; it may be saved under another name."""
    settings, taken = changed(settings, {"work_ahead": work_ahead}), []
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.0)

    def take_away(run: object) -> None:
        file = settings.traindir / f"{Path(run.state.train_images[0]).stem}.json"
        if not taken:
            taken.append(file.read_bytes())
            file.unlink()
            if saved_as:
                file.with_name(f"{file.stem}{saved_as}").write_bytes(taken[0])

    monkeypatch.setattr(loop_module, "check_new_images", take_away)
    if saved_as:
        assert [row.train_size for row in go(settings).run.state.history] == [4, 7, 10]
        return
    with pytest.raises(AnnotationsAwaited, match="not annotated yet"):
        go(settings, wait=False)
    (copy,) = (settings.traindir / "annotate").glob("*.png")
    copy.with_suffix(".json").write_bytes(taken[0])
    assert [row.train_size for row in go(settings, wait=False).run.state.history] == [4, 7, 10]


def test_json_files_are_rewritten_only_when_something_has_changed(settings: Settings, network: FakeNetwork):
    go(settings)
    times = {split: (settings.dataroot / f"{split}.json").stat().st_mtime_ns for split in ("val", "test")}
    go(changed(settings, {"loops": 3}))
    assert times == {split: (settings.dataroot / f"{split}.json").stat().st_mtime_ns for split in times}
    annotation = settings.testdir / "00.json"
    annotation.write_text(annotation.read_text(encoding="utf-8").replace("20, 20", "21, 21"), encoding="utf-8")
    go(changed(settings, {"loops": 4}))
    assert times["val"] == (settings.dataroot / "val.json").stat().st_mtime_ns
    assert times["test"] != (settings.dataroot / "test.json").stat().st_mtime_ns


def test_each_loop_adds_the_least_certain_images(settings: Settings, network: FakeNetwork):
    loop = go(settings)
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10]
    initial, images = set(loop.run.state.train_images[:4]), [f"{index:02d}.png" for index in range(14)]
    assert loop.run.state.train_images[4:] == [name for name in images if name not in initial][:6]
    lines = loop.run.files.train_files(1).read_text(encoding="utf-8").splitlines()
    assert network.explained == [loop.run.state.train_images[4:7], loop.run.state.train_images[7:10]]
    first = loop.run.state.train_images[4]
    assert f"{first}, {int(first[:2]) / 100:.6f}" in lines
    assert sum(line.endswith(", NaN") for line in lines) == 4


def test_best_weights_and_best_ap_carry_over(settings: Settings, network: FakeNetwork):
    loop = go(settings)
    assert network.carried_ap == [0.0, 30.0, 40.0]
    assert network.started_from == ["pretrained", "best_model_000.pth", "best_model_001.pth"]
    assert [loop.run.files.best_model(number).read_text(encoding="utf-8") for number in range(3)] == ["0", "1", "1"]
    assert [row.mask_ap for row in loop.run.state.history] == [30.0, 40.0, 40.0]


@pytest.mark.parametrize(
    ("changes", "carried", "weights"),
    [
        ({"image_min_size": 64}, [0.0, 10.0, 40.0], "1"),  # it had 30 before
        ({"tile_overlap": 0.5}, [0.0, 10.0, 40.0], "1"),
        ({"nms_threshold": 0.1}, [0.0, 10.0, 40.0], "1"),
        ({"learning_rate": 0.002}, [0.0, 30.0, 40.0], "1"),
    ],
)
def test_the_best_is_measured_anew_with_other_settings(settings, network, monkeypatch, changes, carried, weights):
    loop = go_measuring_ten(settings, network, monkeypatch, changes, lambda: None)
    assert network.carried_ap == carried
    assert loop.run.files.best_model(2).read_text(encoding="utf-8") == weights


@pytest.mark.parametrize(
    ("edit", "carried"),
    [
        ("INPUT: {MIN_SIZE_TEST: 64}", 10.0),
        ("INPUT: {MAX_SIZE_TEST: 64}", 10.0),
        ("TEST: {DETECTIONS_PER_IMAGE: 3}", 10.0),
        ("MODEL: {RPN: {POST_NMS_TOPK_TEST: 3}}", 10.0),
        ("MODEL: {RPN: {NMS_THRESH: 0.5}}", 10.0),
        ("INPUT: {MIN_SIZE_TRAIN: [64]}", 30.0),
        ("SOLVER: {MOMENTUM: 0.8}", 30.0),
        ("MODEL: {MASK_ON: true}", 30.0),
    ],
)
@pytest.mark.parametrize("recorded_before", [True, False])
def test_the_best_is_measured_anew_with_another_network_file(
    settings, network, monkeypatch, tmp_path, log_text, edit, carried, recorded_before
):
    file = tmp_path / "network.yaml"
    file.write_text("MODEL: {MASK_ON: true}\n", encoding="utf-8")
    if not recorded_before:  # by an earlier version
        monkeypatch.setattr(RunState, "save", functools.partialmethod(save_without_network, RunState.save))
        network.stop_at = "evaluate"
        with pytest.raises(StopError):
            go(changed(settings, {"network_config": str(file)}))

    def change() -> None:
        file.write_text(f"_BASE_: base.yaml\n{edit}\n", encoding="utf-8")
        (tmp_path / "base.yaml").write_text("MODEL: {MASK_ON: true}\n", encoding="utf-8")

    go_measuring_ten(changed(settings, {"network_config": str(file)}), network, monkeypatch, {}, change)
    assert network.carried_ap == [0.0, carried if recorded_before else 30.0, 40.0]


def go_measuring_ten(settings, network, monkeypatch, changes: dict, change: Callable[[], object]) -> ActiveLearningLoop:
    """A run in which settings, and with `change` whatever else, change after the first training; all measuring on the
    validation images but that in a training finds 10."""
    done: list[object] = []

    def read(**_: bool) -> Settings:
        if network.carried_ap and not done:
            done.append(change())
        return changed(settings, changes if done else {})

    def evaluate(config: object, path: Path, dataset: str, thresholds: list[float]) -> list[Scores]:
        scores = network.evaluate(config, path, dataset, thresholds)
        return [Scores(10.0, {"a": 10.0, "b": math.nan})] if dataset == "maskal_val" else scores

    monkeypatch.setattr(evaluation, "evaluate_weights", evaluate)
    loop = ActiveLearningLoop(settings, settings.experiments()[0], read_settings=read)
    maskAL.run_experiment(loop)
    return loop


def save_without_network(state: RunState, save: Callable[[RunState, Path], None], path: Path) -> None:
    state.best_ap_settings.pop("network_config", None)
    save(state, path)


def rewrite(path: Path, change: Callable[[bytes], bytes] = lambda content: content) -> None:
    path.write_bytes(change(path.read_bytes()))


DATA = "Validation images or their annotations"
SETTINGS = "Settings that the mAP depends on"


@pytest.fixture
def log_text(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What a run has logged."""
    monkeypatch.setattr("active_learning.run.run.start_log", lambda path: None)
    caplog.set_level("INFO", "active_learning")
    return lambda: caplog.text


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda settings: annotated_image(settings.valdir / "new.png"), DATA),
        (lambda settings: [(settings.valdir / f"00{suffix}").unlink() for suffix in (".png", ".json")], DATA),
        (lambda settings: annotated_image(settings.valdir / "00.png", objects=2), DATA),
        (lambda settings: Image.new("RGB", (32, 24), (90, 120, 61)).save(settings.valdir / "00.png"), DATA),
        (lambda settings: rewrite(settings.valdir / "00.png"), ""),
        (lambda settings: rewrite(settings.valdir / "00.json", lambda content: content + b" \n"), ""),
        (lambda settings: annotated_image(settings.testdir / "new.png"), ""),
        (lambda settings: annotated_image(settings.traindir / "50.png"), ""),
    ],
    ids=["added", "gone", "annotated anew", "other pixels", "written alike", "saved alike", "test", "train"],
)
def test_the_best_is_measured_anew_on_other_validation_data(settings, network, monkeypatch, log_text, change, what):
    go_measuring_ten(settings, network, monkeypatch, {}, lambda: change(settings))
    assert network.carried_ap == [0.0, 10.0 if what else 30.0, 40.0]
    line = f"{what} were changed: the best weights have 10.0 with them (before: 30.0)"
    assert (line in log_text()) == bool(what)
    assert ("were changed: the best weights" in log_text()) == bool(what)


def test_one_measurement_is_enough_for_settings_and_data(settings, network, monkeypatch, log_text):
    def change() -> None:
        annotated_image(settings.valdir / "new.png")

    go_measuring_ten(settings, network, monkeypatch, {"nms_threshold": 0.1}, change)
    line = f"{SETTINGS}, {DATA} were changed: the best weights have 10.0"
    assert log_text().count("were changed: the best weights") == 1 and line in log_text()


def test_an_earlier_version_has_not_recorded_what_the_best_was_measured_on(settings, network, monkeypatch, log_text):
    def forget() -> None:
        state = output_files(settings, settings.experiments()[0]).state
        document = json.loads(state.read_text(encoding="utf-8"))
        del document["best_ap_images"]
        state.write_text(json.dumps(document), encoding="utf-8")

    network.stop_at = "evaluate"
    with pytest.raises(StopError):
        go(settings)
    forget()
    annotated_image(settings.valdir / "new.png")
    loop = go(settings)
    assert network.carried_ap == [0.0, 30.0, 40.0]
    assert loop.run.state.best_ap_images and "were changed" not in log_text()


def test_without_transfer_each_training_starts_anew(settings: Settings, network: FakeNetwork):
    go(changed(settings, {"transfer_learning_on_previous_models": False}))
    assert network.started_from == ["pretrained"] * 3


def test_a_network_that_learned_nothing_is_used_as_it_is(settings: Settings, network: FakeNetwork):
    network.aps = [0.0, 0.0, 0.0]
    loop = go(settings)
    assert not loop.run.files.best_model(0).exists()
    assert network.started_from == ["pretrained", "model_final.pth", "model_final.pth"]


@pytest.mark.parametrize("phase", ["train", "evaluate", "choose"])
def test_a_stopped_run_goes_on_where_it_was(settings: Settings, network: FakeNetwork, tmp_path: Path, phase: str):
    network.stop_at = phase
    with pytest.raises(StopError):
        go(settings)
    loop = go(settings)
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10]
    assert len(network.carried_ap) == 3
    rows = loop.run.files.scores.read_text(encoding="utf-8").splitlines()
    assert rows == [
        "train_size,mAP,mAP-a,mAP-b,objects",
        "4,30.0,30.0,nan,4",
        "7,40.0,40.0,nan,7",
        "10,40.0,40.0,nan,10",
    ]


@pytest.mark.parametrize("parts", [[""], ["", ".part0", ".part11"]], ids=["whole", "with parts"])
def test_an_earlier_state_that_is_put_back_uses_no_records_of_the_weights_that_were_there(
    settings: Settings, network: FakeNetwork, parts: list[str]
):
    network.stop_at = "evaluate"
    with pytest.raises(StopError):
        go(settings)
    files = output_files(settings, settings.experiments()[0])
    state = RunState.load(files.state)
    state.phase = "train"
    backup = files.state.with_suffix(".backup")
    state.save(backup)
    go(settings)
    kinds = [files.pool_records(0), files.training_records(0)]
    records = [path.with_name(path.name + part) for path in kinds for part in parts]
    kept = [files.pool_records(0).with_name("pool_records000 (copy).jsonl"), files.pool_records(1)]
    for path in [*records, *kept]:
        path.write_text("of the weights that were there", encoding="utf-8")
    shutil.copy(backup, files.state)
    network.aps += [30.0] * 3
    network.stop_at = "choose"
    with pytest.raises(StopError):
        go(settings)
    assert [path.exists() for path in [*records, *kept]] == [False] * len(records) + [True] * len(kept)


def test_more_loops_can_be_asked_for_later(settings: Settings, network: FakeNetwork):
    go(settings)
    network.stop_at = "train"
    with pytest.raises(StopError):
        go(changed(settings, {"loops": 3}))
    assert "Finished" not in describe_status(settings)
    loop = go(changed(settings, {"loops": 3}))
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10, 13]


FEWER = {
    "loops": ({"loops": 1}, "loop 1 of 1 is done"),
    "no loop": ({"loops": 0}, "loop 0 of 0 is done"),
    "schedule": ({"equal_pool_size": False, "pool_size": [3], "loops": [1]}, "loop 1 of 1 is done"),
    "target": ({"target_map": 25.0}, "mAP 30.0 has reached target_map 25"),
    "patience": ({"patience": 1}, "mAP has not risen for 1 loops (patience)"),
}


@pytest.mark.parametrize(("kind", "annotated"), [*((kind, 2) for kind in FEWER), ("loops", 0), ("loops", 3)])
def test_a_loop_that_edited_settings_do_not_have_is_awaited_no_more(
    settings, network, log_text, monkeypatch, kind, annotated
):
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.0)
    changes, reason = FEWER[kind]
    network.aps = [30.0] * 4
    answers = {path: path.read_bytes() for path in settings.traindir.glob("*.json")}
    annotate = settings.traindir / "annotate"

    def work(most: int) -> list[str]:
        names = sorted(path.stem for path in annotate.glob("*.png"))
        for name in names[:most]:
            (annotate / f"{name}.json").write_bytes(answers[settings.traindir / f"{name}.json"])
        return names

    for path in answers:
        path.unlink()
    for _ in range(2):  # the initial images, and those of loop 1
        with pytest.raises(AnnotationsAwaited):
            go(settings, wait=False)
        work(9)
    with pytest.raises(AnnotationsAwaited):
        go(settings, wait=False)
    asked = work(annotated)
    words = "The next start asks for the images of loop 2 no more, as "
    assert f"{words}{reason}." in describe_status(changed(settings, changes))
    assert words not in describe_status(settings)
    loop = go(changed(settings, changes), wait=False)
    assert (loop.run.state.loop, loop.run.state.phase, loop.run.state.why_finished) == (1, "finished", reason)
    assert len(loop.run.state.train_images) == 7
    assert len(network.carried_ap) == 2  # trainings
    counts = f"{annotated} annotations collected, {3 - annotated} image"
    assert f"The images of loop 2 are not needed, as {reason}: {counts}" in log_text()
    assert sorted(path.stem for path in annotate.glob("*.png")) == asked[annotated:]
    if annotated < 3:
        with pytest.raises(AnnotationsAwaited) as caught:
            go(settings, wait=False)
        assert all((f"{name}.png" in str(caught.value)) == (name in asked[annotated:]) for name in asked)
        work(3)
    loop = go(settings, wait=False)  # the same are asked for, once more of them are wanted
    assert sorted(loop.run.state.chosen) == [f"{name}.png" for name in asked]


@pytest.mark.parametrize("phase", ["annotate", "train"])
def test_a_loop_that_has_begun_to_train_is_not_withdrawn(settings: Settings, network: FakeNetwork, phase: str):
    less = changed(settings, {"loops": 0})
    go(less)
    network.stop_at = "train"
    with pytest.raises(StopError):
        go(settings)
    files = output_files(settings, settings.experiments()[0])
    files.training_log(1).mkdir(parents=True)
    replace(RunState.load(files.state), phase=phase).save(files.state)  # an annotation may have been asked for again
    assert len(go(less).run.state.history) == 2


@pytest.mark.parametrize(
    ("changes", "sizes", "reason"),
    [
        ({"loops": 9}, [4, 7, 10, 13], "the pool is empty"),
        ({"target_map": 40.0}, [4, 7], "target_map"),
        ({"loops": 9, "patience": 1}, [4, 7, 10], "patience"),
    ],
    ids=["pool", "target", "patience"],
)
def test_reasons_to_stop(settings: Settings, network: FakeNetwork, changes: dict, sizes: list[int], reason: str):
    network.aps = [30.0, 40.0, 35.0, 50.0, 60.0]
    loop = go(changed(settings, changes))
    assert [row.train_size for row in loop.run.state.history][: len(sizes)] == sizes
    assert reason in loop.run.state.why_finished


def test_patience_compares_what_was_measured_with_the_same_settings(settings: Settings, network: FakeNetwork):
    network.aps = [40.0, 30.0, 29.0]
    go(changed(settings, {"loops": 0}))
    stricter = {"loops": 2, "patience": 1, "confidence_threshold": 0.8}
    loop = go(changed(settings, stricter))
    assert loop.run.state.why_finished == "loop 2 of 2 is done"  # 29 is the first that 30 tells anything of
    assert go(changed(settings, stricter | {"loops": 9})).run.state.why_finished.endswith("(patience)")


def test_patience_counts_loops_of_which_an_earlier_version_recorded_no_settings(
    settings: Settings, network: FakeNetwork
):
    network.aps = [40.0, 30.0, 29.0]
    files = go(changed(settings, {"loops": 0})).run.files
    document = json.loads(files.state.read_text(encoding="utf-8"))
    del document["history"][0]["measured_with"]
    files.state.write_text(json.dumps(document), encoding="utf-8")
    assert go(changed(settings, {"patience": 1})).run.state.loop == 1


def test_a_blind_network_ends_the_run_with_a_reason(settings: Settings, network: FakeNetwork):
    network.sees = False
    loop = go(settings)
    assert len(loop.run.state.history) == 1
    assert "sees nothing" in loop.run.state.why_finished


def test_random_needs_no_network_to_choose(settings: Settings, network: FakeNetwork):
    network.stop_at = "choose"
    loop = go(changed(settings, {"strategy": "random"}))
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10]
    assert loop.run.files.train_files(2).read_text(encoding="utf-8").count("NaN") == 10


def test_missing_annotations_are_asked_for_by_name(settings: Settings, network: FakeNetwork):
    for path in settings.valdir.glob("*.json"):
        path.unlink()
    with pytest.raises(AnnotationsAwaited, match=r"(?s)val.annotate.*00\.png.*01\.png"):
        go(settings, wait=False)
    assert sorted(path.name for path in (settings.valdir / "annotate").iterdir()) == ["00.png", "01.png"]


def test_other_classes_than_the_run_has_are_refused(settings: Settings, network: FakeNetwork):
    go(settings)
    with pytest.raises(MaskALError, match="experiment_name, or start over with --fresh"):
        go(changed(settings, {"classes": ["a", "c"]}))
    start_over(settings)
    go(changed(settings, {"loops": 1}))


def test_the_initial_model_and_images_of_an_earlier_run_can_be_taken(settings: Settings, network: FakeNetwork):
    first = go(settings)
    changes = {
        "experiment_name": "second",
        "duplicate_initial_model_and_data": True,
        "initial_train_file": first.run.files.train_files(0),
        "loops": 1,
    }
    second = go(changed(settings, changes))
    assert second.run.state.train_images[:4] == first.run.state.train_images[:4]
    assert second.run.files.best_model(0).read_bytes() == first.run.files.best_model(0).read_bytes()
    assert second.run.state.history[0].mask_ap == first.run.state.history[0].mask_ap


def test_chosen_images_are_pre_labelled_by_the_weights_of_the_last_loop(
    settings: Settings, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
):
    """Those of loop 0 wait for a person: nothing has learned their classes yet."""
    drawn_by: list[tuple[str, list[str]]] = []

    monkeypatch.setattr(prediction, "load_network", lambda config, weights: weights.read_text(encoding="utf-8"))

    def pre_labeller(model: str, config: object, classes: Sequence[str]) -> Callable[..., list[Annotation]]:
        def draw(folder: Path, names: Sequence[str]) -> list[Annotation]:
            drawn_by.append((model, list(names)))
            return [Annotation(name, 24, 32) for name in names]

        return draw

    monkeypatch.setattr(pre_labelling, "PreLabeller", pre_labeller)
    settings = changed(settings, {"auto_annotate": True})
    initial = initial_images(RunData(settings), 0)
    for path in settings.traindir.glob("*.json"):
        if path.with_suffix(".png").name not in initial:
            path.unlink()
    for number in ("0", "1"):
        with pytest.raises(AnnotationsAwaited, match="pre-labelled, to be corrected"):
            go(settings, wait=False)
        assert drawn_by[-1][0] == number
        (settings.traindir / "annotate" / "DONE").touch()
    loop = go(settings, wait=False)
    assert [names for _, names in drawn_by] == [loop.run.state.train_images[4:7], loop.run.state.train_images[7:]]


def test_initial_images_are_not_pre_labelled(settings: Settings, network: FakeNetwork):
    for path in settings.traindir.glob("*.json"):
        path.unlink()
    with pytest.raises(AnnotationsAwaited, match="not annotated yet"):
        go(changed(settings, {"auto_annotate": True}), wait=False)


def yaml_values(settings: Settings) -> dict[str, object]:
    """What a settings file may hold."""
    empty = {"initial_train_file": "", "supervisely_meta_json": ""}
    return {**recorded(settings), "cuda_visible_devices": "cpu", **empty}


def run_all(settings: Settings, file: Path) -> None:
    """All experiments of the settings, which are written to the file."""
    file.write_text(yaml.safe_dump(yaml_values(settings)), encoding="utf-8")
    maskAL.run_experiments(settings, argparse.Namespace(fresh=False, no_wait=False, config=file, overrides=[]))


def test_a_run_whose_pool_grows_and_whose_settings_are_edited_meanwhile(
    settings: Settings,
    network: FakeNetwork,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """Three loops; what a person does while each of the first two trainings goes on holds from the next loop on."""
    monkeypatch.setattr("active_learning.run.run.start_log", lambda path: None)
    file, folder, train = tmp_path / "maskAL.yaml", settings.traindir, network.train
    values = yaml_values(settings)
    edits = [{"loops": 3, "pool_size": 2, "learning_rate": 0.002}, {"mcd_iterations": 3}]
    initial = initial_images(RunData(settings), 0)
    unwanted = next(name for name in reversed(RunData(settings).images("train")) if name not in initial)

    def write_settings(**changes: object) -> None:
        values.update(changes)
        file.write_text(yaml.safe_dump(values), encoding="utf-8")

    def train_while_a_person_works(*arguments: object, **options: object) -> float:
        number = len(network.carried_ap)
        if number < len(edits):
            write_settings(**edits[number])
            annotated_image(folder / f"0{number}_new.png")
        if number == 1:
            (folder / unwanted).unlink()
            annotation = (folder / initial[0]).with_suffix(".json")
            annotation.write_text(annotation.read_text(encoding="utf-8") + " ", encoding="utf-8")
        return train(*arguments, **options)

    write_settings()
    monkeypatch.setattr(training, "train", train_while_a_person_works)
    with caplog.at_level("INFO"):
        assert maskAL.main(["--config", str(file)]) == 0
    state = RunState.load(settings.resultsroot / "exp1" / "uncertainty" / "run_state.json")
    assert [row.train_size for row in state.history] == [4, 6, 8, 10]
    assert {"00_new.png", "01_new.png"} < set(state.train_images)
    messages = [
        "Loop 0 of 2: training on 4 images",
        "Settings that were changed:\n  learning_rate: 0.01 -> 0.002\n  pool_size: 3 -> 2\n  loops: 2 -> 3",
        f"New in {folder}: 1 image (00_new.png); from now on in the pool",
        "Looking 10 times at each of the 11 images of the pool",
        "2 images chosen for loop 1 of 3",
        "Loop 1 of 3: training on 6 images",
        "Settings that were changed:\n  mcd_iterations: 10 -> 3",
        f"New in {folder}: 1 image (01_new.png); from now on in the pool",
        f"Gone from {folder}: 1 image ({unwanted}); no longer in the pool",
        f"Annotated anew in {folder}: 1 image ({initial[0]}); what is there now is used",
        "Looking 3 times at each of the 9 images of the pool",
        "2 images chosen for loop 2 of 3",
        "Loop 2 of 3: training on 8 images",
        "2 images chosen for loop 3 of 3",
        "Finished: loop 3 of 3 is done",
    ]
    places = [caplog.text.find(line) for line in messages]
    assert -1 not in places, messages[places.index(-1)]
    assert places == sorted(places)
    assert caplog.text.count("Settings that were changed") == 2


def test_experiments_are_added_and_taken_away_while_one_goes_on(
    settings: Settings, network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings, train = changed(settings, {"loops": 1, "strategy": ["uncertainty", "random"]}), network.train
    network.aps *= 2

    def edit_and_train(*arguments: object, **options: object) -> float:
        values = {**yaml_values(settings), "strategy": ["entropy", "uncertainty", "certainty"]}
        (tmp_path / "maskAL.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", edit_and_train)
    run_all(settings, tmp_path / "maskAL.yaml")
    states = {path.parent.name: RunState.load(path) for path in settings.resultsroot.glob("exp1/*/run_state.json")}
    assert {name: state.phase for name, state in states.items()} == dict.fromkeys(
        ["uncertainty", "entropy", "certainty"], "finished"
    )


def test_an_image_that_vanished_is_left_out_until_it_is_back(settings: Settings, network: FakeNetwork):
    network.stop_at = "train"
    with pytest.raises(StopError):
        go(settings)
    first = initial_images(RunData(settings), 0)[0]
    content = (settings.traindir / first).read_bytes()
    (settings.traindir / first).unlink()
    network.stop_at = "choose"
    with pytest.raises(StopError):
        go(settings)
    (settings.traindir / first).write_bytes(content)
    loop = go(settings)
    assert [row.train_size for row in loop.run.state.history] == [3, 7, 10]


def test_a_validation_image_that_is_removed_while_it_is_awaited_is_left_out(
    settings: Settings, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
):
    (settings.valdir / "01.json").unlink()
    request_annotations = RunData.request_annotations

    def remove_instead(data: RunData, split: str, images: Sequence[str], **options: object) -> None:
        if split == "val":
            (settings.valdir / "01.png").unlink()
        request_annotations(data, split, images, **options)

    monkeypatch.setattr(RunData, "request_annotations", remove_instead)
    ActiveLearningLoop(settings, settings.experiments()[0]).prepare_data()
    assert (settings.dataroot / "val.txt").read_text(encoding="utf-8") == "00.png\n"


def test_a_validation_image_that_comes_while_another_is_awaited_is_for_the_next_loop(
    settings: Settings, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
):
    (settings.valdir / "01.json").unlink()

    def annotate_and_add(folder: AnnotateFolder, images: Sequence[str], settings: Settings, **options: object) -> None:
        annotated_image(folder.folder / "01.png")
        (folder.folder / "02.png").write_bytes((folder.folder / "01.png").read_bytes())

    monkeypatch.setattr(data_module, "request_annotations", annotate_and_add)
    loop = ActiveLearningLoop(settings, settings.experiments()[0])
    loop.prepare_data()
    assert (settings.dataroot / "val.txt").read_text(encoding="utf-8") == "00.png\n01.png\n"
    assert loop.run.data.images("val") == ["00.png", "01.png", "02.png"]


def test_a_training_annotation_that_comes_while_validation_is_awaited_counts(
    settings: Settings, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
):
    first = initial_images(RunData(settings), 0)[0]
    (settings.valdir / "01.json").unlink()
    annotation = settings.traindir / first
    annotation.with_suffix(".json").rename(annotation.with_name(f"{annotation.stem}.xml"))

    def annotate_both(folder: AnnotateFolder, images: Sequence[str], settings: Settings, **options: object) -> None:
        for path in (settings.valdir / "01.png", settings.traindir / first):
            annotated_image(path)

    monkeypatch.setattr(data_module, "request_annotations", annotate_both)
    loop = ActiveLearningLoop(settings, settings.experiments()[0], wait=False)
    loop.prepare_data()
    loop.annotate()
    loop.train()
    assert loop.run.state.train_size == 4


def test_an_image_that_is_reached_by_another_name_is_gone(settings: Settings, network: FakeNetwork):
    """A link of an earlier name leads to its folder: the walk finds the image there, and only there."""
    folder = settings.traindir / "s"
    folder.mkdir()
    for index in (20, 21):
        annotated_image(folder / f"{index}.png")
    data = RunData(settings)
    assert data.present("train", ["00.png", "s/20.png"]) == ["00.png", "s/20.png"]
    (settings.traindir / "b").symlink_to(folder)
    data.refresh()
    present = data.present("train", ["00.png", "s/20.png", "b/20.png"])
    assert data.write("train", present).images == 2


def test_all_training_images_gone_is_no_reason_to_go_on(settings: Settings, network: FakeNetwork):
    network.stop_at = "choose"
    with pytest.raises(StopError):
        go(settings)
    for name in initial_images(RunData(settings), 0):
        (settings.traindir / name).unlink()
    with pytest.raises(MaskALError, match="none of the 4 train images of the run is there any more"):
        go(settings)


def test_an_annotation_that_vanished_before_the_training_is_asked_for_again(settings: Settings, network: FakeNetwork):
    network.stop_at = "train"
    with pytest.raises(StopError):
        go(settings)
    victim = settings.traindir / initial_images(RunData(settings), 0)[1]
    victim.with_suffix(".json").unlink()
    with pytest.raises(AnnotationsAwaited, match=f"{victim.name}: not annotated yet"):
        go(settings, wait=False)


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "at a start"])
def test_a_network_file_that_is_edited_in_its_place_is_refused(
    settings: Settings, network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
):
    """Also in a file that it builds on; set back, the run goes on."""
    base, own, train = tmp_path / "base.yaml", tmp_path / "own.yaml", network.train
    zoo = network_file(settings.network_config)
    base.write_text(f"_BASE_: {zoo.as_posix()}\nMODEL: {{RESNETS: {{DEPTH: 152}}}}\n", encoding="utf-8")
    own.write_text("_BASE_: base.yaml\nINPUT: {RANDOM_FLIP: none}\n", encoding="utf-8")
    settings, whole = changed(settings, {"network_config": str(own), "pretrained_weights": ""}), base.read_bytes()

    trainings: list[object] = []

    def edit_and_train(*arguments: object, **options: object) -> float:
        trainings.append(arguments)
        if not running and len(trainings) == 1:
            return train(*arguments, **options)
        base.write_bytes(whole.replace(b"152", b"101") + b"TEST: {EVAL_PERIOD: 7}\n")
        if not running:
            raise StopError
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", edit_and_train)
    words = r"network_config: MODEL.RESNETS.DEPTH: 152 -> 101: the weights so far belong to the former; set it back"
    if not running:
        with pytest.raises(StopError):
            run_all(settings, tmp_path / "maskAL.yaml")
    before = {path: path.read_bytes() for path in settings.weightsroot.rglob("*.pth")}
    with pytest.raises(SettingsError, match=words) as caught:
        run_all(settings, tmp_path / "maskAL.yaml")
    assert len(caught.value.mistakes) == 1 if running else str(caught.value).count("network_config") == 1
    assert running or before == {path: path.read_bytes() for path in settings.weightsroot.rglob("*.pth")}
    monkeypatch.setattr(training, "train", train)
    base.write_bytes(b"# set back\n" + whole)
    run_all(settings, tmp_path / "maskAL.yaml")
    (state,) = (RunState.load(path) for path in settings.resultsroot.rglob("run_state.json"))
    assert state.phase == "finished" and state.network["MODEL.RESNETS.DEPTH"] == 152


@pytest.mark.parametrize("begun_by", ["this version", "an earlier one"])
def test_a_network_file_may_be_edited_until_there_are_weights_of_it(
    settings: Settings, network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun_by: str
):
    """Nor is it held against a run of which no network was recorded: which one it was trained with, nobody knows."""
    own, train = tmp_path / "own.yaml", network.train
    text = f"_BASE_: {network_file(settings.network_config).as_posix()}\nMODEL: {{RESNETS: {{DEPTH: 152}}}}\n"
    own.write_text(text, encoding="utf-8")
    settings = changed(settings, {"network_config": str(own), "pretrained_weights": ""})
    trainings: list[object] = []

    def stop(*arguments: object, **options: object) -> float:
        trainings.append(arguments)
        if begun_by == "this version" or len(trainings) > 1:
            raise StopError
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(StopError):
        run_all(settings, tmp_path / "maskAL.yaml")
    (path,) = settings.resultsroot.rglob("run_state.json")
    if begun_by == "an earlier one":
        state = RunState.load(path)
        state.network = {}
        state.save(path)
    assert not RunState.load(path).network
    own.write_text(text.replace("152", "101"), encoding="utf-8")
    with pytest.raises(StopError):
        run_all(settings, tmp_path / "maskAL.yaml")
    assert not RunState.load(path).network
    own.write_text(text, encoding="utf-8")
    monkeypatch.setattr(training, "train", train)
    run_all(settings, tmp_path / "maskAL.yaml")
    assert RunState.load(path).network["MODEL.RESNETS.DEPTH"] == 152


def test_a_network_file_that_is_half_saved_ends_no_run(settings: Settings, network: FakeNetwork, tmp_path: Path):
    own, loads = tmp_path / "own.yaml", []
    text = f"_BASE_: {network_file(settings.network_config).as_posix()}\n"
    own.write_text(text, encoding="utf-8")
    settings = changed(settings, {"network_config": str(own), "pretrained_weights": ""})

    def load(**_: object) -> Settings:
        loads.append(own.write_text("MODEL: {", encoding="utf-8"))
        return settings

    loop = ActiveLearningLoop(settings, settings.experiments()[0], read_settings=load)
    before = loop.run.network_file
    loop.run.reload_settings()
    assert loads and loop.run.network_file == before


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")], ids=" to ".join)
def test_a_run_goes_on_with_class_names_in_another_form_of_their_accents(
    settings: Settings, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch, forms: tuple[str, str]
):
    first, second = (
        changed(settings, {"classes": ["a", unicodedata.normalize(form, "carré")], "loops": loops})
        for form, loops in zip(forms, (1, 2), strict=True)
    )
    scored = (Scores(ap, dict.fromkeys(first.classes, ap)) for ap in (30.0, 40.0, 50.0))
    monkeypatch.setattr(evaluation, "evaluate_weights", lambda *_, **__: [next(scored)] * 2)
    go(first)
    loop = go(second)
    assert len(loop.run.state.history) == 3
    assert list(loop.run.settings.classes) == list(first.classes) == loop.run.state.classes
    assert "loop 2 of 2, phase finished" in describe_status(second)
    assert len(go(first).run.state.history) == 3


def test_an_edit_that_would_break_the_run_ends_it_until_it_is_mended(settings: Settings, network: FakeNetwork):
    now = settings

    def run() -> ActiveLearningLoop:
        read_settings = lambda **_: now if network.carried_ap else settings  # noqa: E731 (before any training it may)
        loop = ActiveLearningLoop(settings, settings.experiments()[0], read_settings=read_settings)
        maskAL.run_experiment(loop)
        return loop

    now = changed(settings, {"classes": ["a", "c"]})
    with pytest.raises(SettingsError, match=r"classes: \[a, b\] -> \[a, c\]"):
        run()
    now = settings
    assert [row.train_size for row in run().run.state.history] == [4, 7, 10]


def test_classes_that_are_edited_before_the_first_training_are_taken_up_by_the_next_start(
    settings: Settings, network: FakeNetwork
):
    """As where another class is found while the first images are annotated; the lists to measure on follow."""
    edited = changed(settings, {"classes": ["b", "a"]})
    loop = ActiveLearningLoop(settings, settings.experiments()[0], read_settings=lambda **_: edited)
    with pytest.raises(SettingsError, match=r"classes: \[a, b\] -> \[b, a\]: is taken up by a start; start again"):
        maskAL.run_experiment(loop)
    loop = ActiveLearningLoop(edited, edited.experiments()[0])
    loop.prepare_data()
    loop.annotate()
    network.stop_at = "train"
    with pytest.raises(StopError):
        loop.train()
    for split in ("train", "val", "test"):
        document = json.loads((edited.dataroot / f"{split}.json").read_text(encoding="utf-8"))
        assert [one["name"] for one in document["categories"]] == ["b", "a"]
    assert RunState.load(loop.run.files.state).classes == ["b", "a"]


def put_away(folder: Path) -> None:
    folder.rename(folder.with_name(f"{folder.name}_away"))


def empty_mount_point(folder: Path) -> None:
    put_away(folder)
    folder.mkdir()


def put_back(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.with_name(f"{folder.name}_away").rename(folder)


@pytest.mark.parametrize("phase", ["train", "evaluate", "score_images"])
@pytest.mark.parametrize("leave", [put_away, empty_mount_point])
@pytest.mark.parametrize("name", ["train", "val", "test", "results", "weights"])
def test_a_drive_that_goes_ends_the_run_with_what_to_do(
    settings: Settings, network: FakeNetwork, tmp_path: Path, monkeypatch, capsys, name: str, leave, phase: str
):
    """Whether the phase fails of it, or another one later. The same command then goes on as if nothing had been."""
    fake, gone = getattr(network, phase), []

    def goes(*arguments: object, **options: object) -> object:
        result = fake(*arguments, **options)
        if not gone:
            gone.append(leave(tmp_path / name))
        return result

    for module, attribute in ((training, "train"), (evaluation, "evaluate_weights"), (acquire, "score_images")):
        if attribute.startswith(phase):
            monkeypatch.setattr(module, attribute, goes)
    file = tmp_path / "maskAL.yaml"
    file.write_text(yaml.safe_dump(yaml_values(settings)), encoding="utf-8")
    assert maskAL.main(["--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert "is its drive connected? Nothing is lost: when it is back, the same command goes on" in error
    assert str(tmp_path / name) in error
    assert "edited" not in error
    put_back(tmp_path / name)
    assert maskAL.main(["--config", str(file)]) == 0
    state = RunState.load(settings.resultsroot / "exp1" / "uncertainty" / "run_state.json")
    assert [row.train_size for row in state.history] == [4, 7, 10]


def test_a_drive_below_the_pool_that_goes_is_not_left_out(settings: Settings, network: FakeNetwork, monkeypatch):
    (settings.traindir / "field").mkdir()
    for number in (20, 21):
        annotated_image(settings.traindir / "field" / f"{number}.png")
    score = network.score_images

    def goes(*arguments: object, **options: object) -> object:
        for path in (settings.traindir / "field").iterdir():
            path.unlink()
        records = score(*arguments, **options)
        return {name: one for name, one in records.items() if not name.startswith("field")}

    monkeypatch.setattr(acquire, "score_images", goes)
    with pytest.raises(MaskALError, match="field: nothing is there any more, it held"):
        go(settings)


def test_settings_that_name_what_is_gone_are_not_called_edited(settings: Settings, network: FakeNetwork, tmp_path):
    """initial_train_dir on a stick, which is taken out once its images are copied."""
    stick = tmp_path / "stick"
    stick.mkdir()
    annotated_image(stick / "30.png")
    settings = changed(settings, {"use_initial_train_dir": True, "initial_train_dir": stick})
    file = tmp_path / "maskAL.yaml"
    file.write_text(yaml.safe_dump(yaml_values(settings)), encoding="utf-8")
    read = functools.partial(load_settings, file)
    loop = ActiveLearningLoop(settings, settings.experiments()[0], read_settings=read)
    loop.prepare_data()
    put_away(stick)
    maskAL.run_experiment(loop)
    assert loop.finished


@pytest.mark.parametrize("leave", [put_away, empty_mount_point])
def test_a_start_does_not_ask_for_what_the_run_started_from(settings, network, tmp_path, capsys, leave):
    stick, file = tmp_path / "stick", tmp_path / "maskAL.yaml"
    stick.mkdir()
    annotated_image(stick / "30.png")
    write_weights(stick / "start.pth")
    start = {"use_initial_train_dir": True, "initial_train_dir": stick, "pretrained_weights": f"{stick}/start.pth"}
    file.write_text(yaml.safe_dump(yaml_values(changed(settings, start))), encoding="utf-8")
    network.stop_at = "choose"
    with pytest.raises(StopError):
        maskAL.main(["--config", str(file)])
    leave(stick)
    arguments = ["--config", str(file)]
    assert maskAL.main([*arguments, "transfer_learning_on_previous_models", "False"]) == 2
    assert "pretrained_weights: " in capsys.readouterr().err
    assert maskAL.main([*arguments, "--fresh"]) == 2
    for words in (["--status"], ["--check"], []):
        assert maskAL.main([*arguments, *words]) == 0, capsys.readouterr().err
    assert "Finished: loop 2 of 2 is done" in capsys.readouterr().out


def test_the_report_is_rewritten_after_each_score_and_choice(settings: Settings, network: FakeNetwork):
    loop = go(settings)
    assert network.reports == [loop.run.files.results.parent] * 6  # 3 scores, 2 choices, the end
    report = page.write_report(network.reports[0]).read_text(encoding="utf-8")
    assert "mAP 40.0 % with 10 annotated images, 10 objects (uncertainty), +10.0 since the start" in report
    assert 'id="balance"' in report


@pytest.mark.parametrize(
    ("changes", "trainings"),
    [
        ({"strategy": ["uncertainty", "random", "entropy"], "seed": [3, 4]}, 2 + 6),
        ({"dropout_probability": [0.25, 0.5]}, 2 + 2),
        ({"strategy": ["uncertainty", "random"], "mcd_iterations": [5, 10]}, 1 + 2),
    ],
    ids=["one for each seed", "one for each dropout", "one for any number of passes"],
)
def test_experiments_that_start_alike_share_the_initial_model(
    settings: Settings, network: FakeNetwork, tmp_path: Path, changes: dict, trainings: int
):
    network.aps = [float(value) for value in range(30, 60)]
    settings = changed(settings, {"loops": 1, **changes})
    run_all(settings, tmp_path / "maskAL.yaml")
    assert len(network.carried_ap) == trainings
    first: dict[tuple[int, float], set[str]] = {}
    for experiment in settings.experiments():
        model = output_files(settings, experiment).best_model(0).read_text(encoding="utf-8")
        first.setdefault((experiment.seed, experiment.dropout_probability), set()).add(model)
    assert all(len(models) == 1 for models in first.values())
    assert len(set.union(*first.values())) == len(first)


@pytest.mark.parametrize(
    ("edits", "annotated_anew", "why"),
    [
        ({}, 0, ""),
        ({"dropout_probability": 0.25}, 0, "dropout_probability: 0.5 -> 0.25"),
        ({}, 3, "images or annotations"),
    ],
    ids=["nothing", "dropout", "annotations"],
)
def test_an_initial_model_is_taken_over_as_long_as_it_would_be_trained_alike(
    settings: Settings, network: FakeNetwork, log_text, edits: dict[str, float], annotated_anew: int, why: str
):
    """Another experiment may begin days after the one before it."""
    settings = changed(settings, {"strategy": ["uncertainty", "random"], "loops": 1, "dropout_probability": 0.5})
    first = go(settings)
    for name in first.run.state.train_images[:annotated_anew]:
        annotated_image(settings.traindir / name, objects=3)
    settings, trained = changed(settings, edits), len(network.carried_ap)
    maskAL.run_experiment(ActiveLearningLoop(settings, settings.experiments()[1]))
    assert len(network.carried_ap) - trained == (2 if why else 1)
    assert ("Taking the initial model of an earlier run" in log_text()) == (not why)
    assert not why or f"which was trained before changes ({why})" in log_text()


def test_a_comparison_is_logged_in_the_end(settings: Settings, network: FakeNetwork, tmp_path: Path, capsys):
    network.aps = [30.0, 40.0, 50.0, 36.0, 40.0]
    settings = changed(settings, {"strategy": ["uncertainty", "random"]})
    run_all(settings, tmp_path / "maskAL.yaml")
    output = capsys.readouterr().out
    assert "Compared with random" in output
    assert "saved (%)" in output and "comparison.csv" in output


def test_a_single_experiment_is_compared_with_nothing(settings: Settings, network: FakeNetwork, tmp_path, capsys):
    run_all(settings, tmp_path / "maskAL.yaml")
    assert "Compared" not in capsys.readouterr().out


@pytest.mark.parametrize("loops", [0, 2])
def test_no_training_begins_on_no_object(settings: Settings, network: FakeNetwork, loops):
    for path in settings.traindir.glob("*.json"):
        path.write_text('{"shapes": []}', encoding="utf-8")
    settings = changed(settings, {"loops": loops})
    for _ in range(2):
        with pytest.raises(
            MaskALError, match="the 4 training images hold no object of the classes a, b; there is nothing"
        ):
            go(settings)
    assert (network.started_from, (settings.weightsroot / "exp1").exists()) == ([], True)
    for path in settings.traindir.glob("*.json"):
        annotated_image(path.with_suffix(".png"))
    assert go(settings).finished


def test_classes_that_no_training_image_holds_are_named(settings: Settings, network: FakeNetwork, capsys):
    go(changed(settings, {"loops": 1}))
    assert capsys.readouterr().out.count("no training image holds b: ") == 2


def test_an_image_that_loses_all_its_objects_is_asked_for_again(settings: Settings, network: FakeNetwork):
    for path in settings.traindir.glob("*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("polygon", "linestrip"), encoding="utf-8")
    with pytest.raises(AnnotationsAwaited, match=r"shapes\[0\]: .*encloses no area; no object is left of "):
        go(settings, wait=False)
    assert network.started_from == []


def test_a_correction_that_comes_after_the_last_training_is_collected(settings: Settings, network: FakeNetwork, capsys):
    go(settings)
    (settings.traindir / "annotate").mkdir()
    corrected = settings.traindir / "annotate/01.json"
    corrected.write_bytes((settings.traindir / "01.json").read_bytes() + b"\n")
    content = corrected.read_bytes()
    go(settings)
    assert f"01.png was annotated anew in {corrected}: that is used now" in capsys.readouterr().out
    assert (settings.traindir / "01.json").read_bytes() == content
    assert (settings.traindir / "01.json.orig").exists()


def counts_of(run_state: RunState) -> list[tuple[int, int]]:
    return [(row.train_size, sum(row.objects.values())) for row in run_state.history]


def test_a_budget_of_objects_begins_and_goes_on_in_objects(settings, network, capsys):
    """Each image holds one object; those of the pool are expected to hold one and are chosen by that."""
    settings = changed(settings, {"budget": "objects"})
    loop = go(settings)
    text = capsys.readouterr().out
    assert counts_of(loop.run.state) == [(4, 4), (7, 7), (10, 10)]
    assert loop.run.state.expected_objects == 3
    assert "4 images to start from\nThey are expected to hold 4 objects" in text
    assert "They are expected to hold 3 objects" in text
    assert "The 3 chosen ones hold 3 objects; 3 were expected" in text
    for table in (loop.run.table_of_loops(), describe_status(settings).split("\n\n")[-1]):
        header, _, *rows = table.splitlines()
        assert header.split()[:4] == ["loop", "train", "size", "objects"]
        assert [row.split()[:3] for row in rows] == [["0", "4", "4"], ["1", "7", "7"], ["2", "10", "10"]]


def test_initial_images_of_a_budget_of_objects_wait_for_val_and_test(settings, network):
    settings = changed(settings, {"budget": "objects", "initial_datasize": 6})
    for path in [*settings.valdir.glob("*.json"), *settings.testdir.glob("*.json")]:
        path.unlink()
    with pytest.raises(AnnotationsAwaited):
        go(settings, wait=False)
    assert "0 training images" in describe_status(settings)
    assert "are not known before" not in describe_run(settings)  # training images are annotated
    for path in [*settings.valdir.glob("*.png"), *settings.testdir.glob("*.png")]:
        annotated_image(path, objects=3)
    loop = go(settings, wait=False)
    assert loop.run.state.history[0].train_size == 4  # 4 images of 3 objects and 14 of one: 1.44 an image


@pytest.mark.parametrize("phase", ["train", "choose"])
def test_diverse_initial_images_are_chosen_once_for_a_seed(settings, network, monkeypatch, phase):
    asked = []

    def diverse(run, images, count):
        asked.append(run.experiment.name)
        return list(images)[-count:]

    monkeypatch.setattr(loop_module, "diverse_images", diverse)
    settings = changed(settings, {"initial_choice": "diverse", "strategy": ["uncertainty", "random"], "loops": 1})
    network.stop_at = phase
    with pytest.raises(StopError):
        go(settings)
    state = RunState.load(output_files(settings, settings.experiments()[0]).state)
    # The images are alike: the first of them, and others to fill up, are what there is to choose from.
    assert go(settings).run.state.train_images[:4] == state.train_images[:4] == ["00.png", "01.png", "02.png", "03.png"]
    assert initial_images(RunData(settings), 0) != state.train_images[:4]
    assert asked == ["uncertainty"]
    other = ActiveLearningLoop(settings, settings.experiments()[1])
    maskAL.run_experiment(other)
    assert other.run.state.train_images[:4] == state.train_images[:4]


@pytest.mark.parametrize("given", ["path", "number", "of other settings"])
def test_a_loop_of_another_kind_is_refused(settings: Settings, given: str):
    other = settings.model_copy(update={"seed": 9}).experiments()[0]
    what = {"path": ("maskAL.yaml", other), "number": (settings, 0), "of other settings": (settings, other)}[given]
    with pytest.raises(TypeError, match="settings of load_settings.*one of their settings.experiments"):
        ActiveLearningLoop(*what)
    assert not settings.resultsroot.exists() and not settings.weightsroot.exists()
