"""Which edits a run takes up, with which words, and which it refuses."""

from __future__ import annotations

import functools
import re
import unicodedata
from contextlib import nullcontext
from pathlib import Path

import pytest

from active_learning.errors import SettingsError
from active_learning.settings import Settings, load_settings
from active_learning.settings.changes import apply_settings, fixed_changes, network_changes, recorded, reload_settings

BEFORE = {"classes": ["a", "b"], "strategy": ["uncertainty", "random"], "loops": 2, "cuda_visible_devices": "cpu"}


def edit(changes: dict, *, running: bool = True):
    settings = Settings(**BEFORE)
    return apply_settings(
        recorded(settings), Settings(**{**BEFORE, **changes}), settings.experiments()[0], running=running
    )


def test_names_of_classes_in_another_form_of_accents_are_no_edit():
    composed, decomposed = (unicodedata.normalize(form, "späte Nuß é") for form in ("NFC", "NFD"))
    before = Settings(classes=["a", composed], minority_classes=[decomposed])
    now = Settings(classes=["a", decomposed], minority_classes=[composed])
    assert fixed_changes(recorded(before), now) == []
    assert apply_settings(recorded(before), now, now.experiments()[0], running=True).lines == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"learning_rate": 0.001}, "learning_rate: 0.01 -> 0.001"),
        ({"loops": 4}, "loops: 2 -> 4"),
        ({"pool_size": [50, 100]}, "pool_size: 200 -> [50, 100]"),
        ({"annotator": "labelme"}, "annotator: nothing -> labelme"),
        ({"patience": 2}, "patience: nothing -> 2"),
        ({"strategy": ["uncertainty", "random", "entropy"]}, "strategy: [uncertainty, random] -> [unc"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
@pytest.mark.parametrize("running", [True, False], ids=["running", "at a start"])
def test_taken_up_with_a_line(changes, line, running):
    taken = edit(changes, running=running)
    assert [text[: len(line)] for text in taken.lines] == [line]
    assert recorded(taken.settings) == recorded(Settings(**{**BEFORE, **changes}))
    assert taken.experiment == taken.settings.experiments()[0]


@pytest.mark.filterwarnings("error")
def test_a_list_of_seeds_is_recorded_as_such():
    assert recorded(Settings(**BEFORE, seed=[3, 4]))["seed"] == [3, 4]


def test_nothing_changed_nothing_logged():
    assert edit({}).lines == ()
    assert apply_settings({}, Settings(**BEFORE), Settings(**BEFORE).experiments()[0], running=False).lines == ()


def test_devices_change_with_the_next_start():
    taken = edit({"cuda_visible_devices": "1"})
    assert taken.lines == ("cuda_visible_devices: cpu -> 1 (from the next start on)",)
    assert taken.settings.cuda_visible_devices == "cpu"
    assert edit({"cuda_visible_devices": "1"}, running=False).settings.cuda_visible_devices == "1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["b", "a"]}, r"classes: \[a, b\] -> \[b, a\]: .*; set it back, choose another exp"),
        ({"network_config": "own.yaml"}, "network_config: .* -> own.yaml: the weights so far belong to the former"),
        ({"traindir": "/"}, r"traindir: datasets/train -> /: the run is in the former; set it back"),
        ({"experiment_name": "x"}, "experiment_name: exp1 -> x: this run is going on; set it back, and start"),
        ({"seed": 5}, "seed: 0 -> 5: what the run has done is of seed 0; set it back, choose another exp"),
        ({"seed": [0, 1]}, r"seed: 0 -> \[0, 1\]: .* no longer for the experiment uncertainty"),
        ({"strategy": ["random"]}, r"strategy: \[uncertainty, random\] -> random: .* no longer for the experiment unc"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_refused_with_the_remedy(changes, words):
    with pytest.raises(SettingsError, match=words) as caught:
        edit({**changes, "learning_rate": 1.0})
    assert caught.value.exit_code == 2
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        (0, 5, True),
        (0, [0, 1], False),  # folders of their own
        ([0, 1], [0, 1, 2], False),
        ([0, 1], [1, 0], False),
        ([3], 3, False),
        (3, [3], False),
        (3, [4], False),
    ],
)
def test_a_run_keeps_its_seed_at_a_start(before, now, refused):
    former, settings = Settings(**BEFORE, seed=before), Settings(**BEFORE, seed=now)
    words = "seed: 0 -> 5: what the run has done is of seed 0; .* or start over with --fresh"
    with pytest.raises(SettingsError, match=words) if refused else nullcontext():
        apply_settings(recorded(former), settings, former.experiments()[0], running=False)


def test_all_refusals_come_in_one_message():
    with pytest.raises(SettingsError) as caught:
        edit({"classes": ["c"], "traindir": "/", "weightsroot": "/"})
    assert len(caught.value.mistakes) == 3


@pytest.mark.parametrize("leaves_hidden_files", [False, True])
def test_a_folder_that_was_moved_is_taken_up_at_a_start(tmp_path, leaves_hidden_files: bool):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "a.png").touch()
    settings = Settings(**BEFORE, traindir=old)
    now, experiment = Settings(**BEFORE, traindir=new), settings.experiments()[0]
    with pytest.raises(SettingsError, match="To go on in a copy, rename the former"):
        apply_settings(recorded(settings), now, experiment, running=False)
    old.rename(new)
    if leaves_hidden_files:
        old.mkdir()
        (old / ".annotate.lock").touch()
    with pytest.raises(SettingsError, match="Move a folder while MaskAL is not running"):
        apply_settings(recorded(settings), now, experiment, running=True)
    assert apply_settings(recorded(settings), now, experiment, running=False).lines == (f"traindir: {old} -> {new}",)


@pytest.mark.parametrize(
    ("changes", "moves", "refused"),
    [
        ({"resultsroot": "big"}, ["results/exp1 -> big/exp1"], False),  # the root stays, for other runs
        ({"weightsroot": "big"}, ["weights/exp1/uncertainty -> big/exp1/uncertainty"], False),
        ({"resultsroot": "big"}, [], True),
        ({"resultsroot": "big", "experiment_name": "x"}, ["results/exp1 -> big/x"], False),
        ({"experiment_name": "x"}, ["results/exp1 -> results/x", "weights/exp1 -> weights/x"], False),
        ({"dataroot": "big"}, [], False),  # the lists in it are made again
        ({"traindir": "big"}, [], True),
        ({"traindir": "big"}, ["train -> big"], False),
    ],
    ids=str,
)
def test_what_of_a_run_was_moved_or_renamed_is_taken_up_at_a_start(tmp_path, monkeypatch, changes, moves, refused):
    monkeypatch.chdir(tmp_path)
    for folder in ("results/exp1/uncertainty", "weights/exp1/uncertainty", "train", "lists"):
        Path(folder).mkdir(parents=True)
        Path(folder, "file").touch()
    folders = {**BEFORE, "resultsroot": "results", "weightsroot": "weights", "traindir": "train", "dataroot": "lists"}
    settings, now = Settings(**folders), Settings(**{**folders, **changes})
    for former, latter in (move.split(" -> ") for move in moves):
        Path(latter).parent.mkdir(parents=True, exist_ok=True)
        Path(former).rename(latter)
    for running in (False, True):
        with pytest.raises(SettingsError) if refused or running else nullcontext():
            apply_settings(recorded(settings), now, settings.experiments()[0], running=running)


ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
R101 = ZOO.replace("R_50", "R_101")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("nets/own.yaml", "./nets/own.yaml", True),
        ("nets/own.yaml", "nets/../nets/own.yaml", True),
        ("nets/own.yaml", "{here}/nets/own.yaml", True),
        ("{here}/nets/own.yaml", "link/own.yaml", True),
        (ZOO, f"{ROOT}/configs/{ZOO}", True),
        ("old/own.yaml", "nets/own.yaml", True),  # which was moved, or is named as from another folder
        ("old/other.yaml", "nets/own.yaml", False),
        ("copy/own.yaml", "nets/own.yaml", False),
        (ZOO, "nets/own.yaml", False),
        (f"{ROOT}/configs/{R101}", R101, False),  # a file of that path comes first
        (ZOO, ZOO.replace("R_50", "X_101_32x8d"), False),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_a_network_file_may_be_named_by_another_path(tmp_path, monkeypatch, before, now, same, running):
    for folder in ("nets", "copy"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.yaml").touch()
    (tmp_path / R101).parent.mkdir()
    (tmp_path / R101).touch()
    (tmp_path / "link").symlink_to(tmp_path / "nets")
    monkeypatch.chdir(tmp_path)
    old, new = (Settings(**BEFORE, network_config=name.replace("{here}", str(tmp_path))) for name in (before, now))
    assert bool(fixed_changes(recorded(old), new)) != same
    with nullcontext() if same else pytest.raises(SettingsError, match="the weights so far belong to the former"):
        apply_settings(recorded(old), new, old.experiments()[0], running=running)


@pytest.mark.parametrize(
    ("before", "now", "line", "refused"),
    [
        ({"MODEL.RESNETS.DEPTH": 101}, {}, "network_config: MODEL.RESNETS.DEPTH: 101 -> its default", True),
        ({"A": 1}, {"A": 1, "MODEL.X": [1, 2]}, "network_config: MODEL.X: its default -> [1, 2]", True),
        ({"INPUT.FORMAT": "RGB"}, {"INPUT.FORMAT": "BGR"}, "network_config: INPUT.FORMAT: RGB -> BGR", True),
        ({"INPUT.RANDOM_FLIP": "none"}, {}, "network_config: INPUT.RANDOM_FLIP: none -> its default", False),
        ({"SOLVER.MOMENTUM": 0.8}, {"SOLVER.MOMENTUM": 0.7}, "network_config: SOLVER.MOMENTUM: 0.8 -> 0.7", False),
        (
            {"MODEL.RPN.POST_NMS_TOPK_TEST": 5},
            {},
            "network_config: MODEL.RPN.POST_NMS_TOPK_TEST: 5 -> its default",
            False,
        ),
        ({"MODEL.BACKBONE.FREEZE_AT": 4}, {}, "network_config: MODEL.BACKBONE.FREEZE_AT: 4 -> its default", False),
        ({"MODEL.X": 1}, {"MODEL.X": 1}, "", False),
        ({}, {"MODEL.X": 1}, "", False),  # an earlier version has recorded nothing
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_a_network_file_that_is_edited_in_place_is_noticed(before, now, line, refused, running):
    settings = Settings(**BEFORE)
    edits = network_changes(before, now)
    assert [str(edit) for edit in edits] == [line] * bool(line)
    assert bool(fixed_changes(recorded(settings), settings, edits)) == refused
    words = f"{re.escape(line)}: the weights so far belong to the former; set it back, choose another exp"
    with pytest.raises(SettingsError, match=words) if refused else nullcontext():
        taken = apply_settings(
            recorded(settings), settings, settings.experiments()[0], running=running, network_edits=edits
        )
        assert list(taken.lines) == [line] * bool(line)


def test_of_another_network_file_not_each_value_is_listed():
    before, now = Settings(**BEFORE), Settings(**{**BEFORE, "network_config": "own.yaml"})
    edits = network_changes({"MODEL.X": 1}, {"MODEL.X": 2})
    with pytest.raises(SettingsError) as caught:
        apply_settings(recorded(before), now, before.experiments()[0], running=False, network_edits=edits)
    assert len(caught.value.mistakes) == 1


def test_a_settings_file_that_became_wrong_is_reported_with_the_way_on():
    """Not as an edit: it may be gone with its drive."""

    def load(**_):
        raise SettingsError("m.yaml: 1 mistake in the settings; nothing was changed", ("line 3: x",))

    with pytest.raises(SettingsError, match=r"(?s)cannot be used as they are now.*line 3: x.*start again, it goes on"):
        reload_settings(load, Settings(**BEFORE))


HALF = {
    "wrong": SettingsError("m.yaml: 1 mistake", ("line 3: classes: is missing",)),
    "empty": SettingsError("m.yaml: 1 mistake", ("classes: is missing",)),
    "without its end": Settings(**{**BEFORE, "loops": 1, "dataroot": "elsewhere"}),
    "not there": SettingsError("m.yaml: 1 mistake", ("there is no such file",)),
}


@pytest.mark.parametrize("half", HALF.values(), ids=HALF)
@pytest.mark.parametrize("edited", [True, False], ids=["edited", "saved as it was"])
def test_a_half_saved_settings_file_is_read_again(half, edited):
    whole = Settings(**{**BEFORE, "loops": 9} if edited else BEFORE)
    readings = [half, whole]

    def load(*, check_paths):
        now = readings[0]
        if len(readings) > 1 and (check_paths or isinstance(now, Exception)):
            readings.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    assert reload_settings(load, Settings(**BEFORE)) == whole


def test_what_is_not_there_any_more_is_no_edit(tmp_path):
    """Such as a stick with the weights, or with initial_train_dir, which were needed for the start alone."""
    file = tmp_path / "m.yaml"
    start = "initial_train_dir: gone\nuse_initial_train_dir: True\npretrained_weights: gone.pth\n"
    file.write_text(f"classes: [a]\n{start}", encoding="utf-8")
    in_use = load_settings(file)
    assert reload_settings(functools.partial(load_settings, file), in_use) == in_use
    file.write_text(f"classes: [a]\n{start}loops: 9\n", encoding="utf-8")
    assert reload_settings(functools.partial(load_settings, file), in_use).loops == (9,)
    file.write_text(f"classes: [a]\n{start}loops: 9\nannotator: no such program\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="there is no program"):
        reload_settings(functools.partial(load_settings, file), in_use)
