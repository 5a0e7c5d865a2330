from __future__ import annotations

import unicodedata
from contextlib import nullcontext
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.network.network_file import network_values, read_network_file
from active_learning.run.data import RunData
from active_learning.run.initial_images import initial_images
from active_learning.run.output_files import output_files, write_train_files
from active_learning.run.state import LoopScores, RunState
from active_learning.run.weights import duplicated_initial_model, earlier_initial_model
from active_learning.settings import Settings
from active_learning.settings.changes import recorded


def data_with(settings: Settings, **changes: object) -> RunData:
    return RunData(Settings(**{**settings.model_dump(), **changes}))


def earlier_run(settings: Settings, names: list[str]) -> Path:
    """The train list of an earlier run below resultsroot."""
    path = settings.resultsroot / "exp0" / "random" / "trainfiles_iteration000.txt"
    write_train_files(path, names, {})
    return path


def test_initial_images_depend_on_the_seed(settings: Settings):
    data = RunData(settings)
    assert initial_images(data, 1) == initial_images(data, 1)
    assert len(initial_images(data, 1)) == 4
    assert initial_images(data, 1) != initial_images(data, 2)


def test_initial_images_come_from_their_own_folder(settings: Settings, tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    for suffix in (".png", ".json"):
        (own / f"new{suffix}").write_bytes((settings.traindir / f"00{suffix}").read_bytes())
    data = data_with(settings, use_initial_train_dir=True, initial_train_dir=own)
    assert initial_images(data, 0) == ["new.png"]
    assert (settings.traindir / "new.json").is_file()


def test_initial_images_and_model_of_an_earlier_run(settings: Settings):
    changes = {
        "duplicate_initial_model_and_data": True,
        "initial_train_file": earlier_run(settings, ["03.png", "01.png"]),
    }
    data = data_with(settings, **changes)
    assert initial_images(data, 0) == ["03.png", "01.png"]
    with pytest.raises(MaskALError, match="initial model of that run is not there"):
        duplicated_initial_model(data.settings)
    model = settings.weightsroot / "exp0" / "random" / "best_model_000.pth"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    assert duplicated_initial_model(data.settings) == model
    assert earlier_initial_model(data.settings, data.settings.experiments()[0], ["01.png", "03.png"], {}, "") == model
    others = ["01.png", "02.png"]  # chosen before it was switched on
    assert earlier_initial_model(data.settings, data.settings.experiments()[0], others, {}, "") is None


@pytest.mark.parametrize(
    ("edits", "is_taken"),
    [
        ({}, True),
        ({"the network's file": {"INPUT.CROP.ENABLED": True}}, False),
        ({"pool_size": 4, "confidence_threshold": 0.4}, True),
        ({"dropout_probability": [0.5, 0.5, 0.25]}, True),
        ({"dropout_probability": [0.25, 0.25, 0.25]}, False),
        ({"no settings": True}, True),  # of a run that was begun before they were recorded
        ({"its annotations": "others"}, False),
        ({"its annotations": ""}, True),  # of an earlier version
        ({"learning_rate": 0.0001}, False),
        ({"image_min_size": 320}, False),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_an_initial_model_is_shared_by_experiments_that_train_alike(settings: Settings, edits: dict, is_taken: bool):
    """The first experiment went on with the edits, too, after its initial training."""
    edits = dict(edits)
    edited_file, data = edits.pop("the network's file", {}), edits.pop("its annotations", "digest")
    lists = {"strategy": ["random", "uncertainty", "entropy"], "dropout_probability": [0.5, 0.5, 0.5]}
    are_recorded = not edits.pop("no settings", False)
    before = Settings(**{**settings.model_dump(), **lists})
    now = Settings(**{**settings.model_dump(), **lists, **edits})
    first, second, _ = now.experiments()
    files, images = output_files(now, first), ["00.png", "01.png"]
    scores = LoopScores(2, 41.25, {}, 43.0, {}, 1.0)
    recorded_now, recorded_before = recorded(now), recorded(before)
    network = network_values(read_network_file(now.network_config))
    state = RunState(["a", "b"], 0, "choose", images, history=[scores], network=network, initial_data=data,
                     initial_network={**network, **edited_file})  # fmt: skip
    if are_recorded:
        state.settings, state.initial_settings = recorded_now, {**recorded_before, "dropout_probability": 0.5}
    state.save(files.state)
    write_train_files(files.train_files(0), images, {})
    files.weights.mkdir(parents=True)
    files.best_model(0).touch()
    taken = earlier_initial_model(now, second, images, network, "digest")
    assert taken == (files.best_model(0) if is_taken else None)
    assert earlier_initial_model(now, first, images, network, "digest") is None


@pytest.mark.parametrize(
    ("phase", "listed", "reason"),
    [
        ("train", "trainfiles_iteration000.txt", "that run still trains its initial model"),
        ("choose", "trainfiles_iteration001.txt", r"lists other images .* give .*trainfiles_iteration000\.txt"),
        ("choose", "trainfiles_iteration000.txt", ""),
    ],
    ids=["not trained to its end", "the list of another loop", "right"],
)
def test_a_model_that_is_not_of_these_images_is_refused(settings: Settings, phase: str, listed: str, reason: str):
    first = earlier_run(settings, ["03.png", "01.png"])
    write_train_files(first.with_name("trainfiles_iteration001.txt"), ["01.png", "02.png", "03.png"], {})
    RunState(["a", "b"], phase=phase).save(first.with_name("run_state.json"))
    model = settings.weightsroot / "exp0" / "random" / "best_model_000.pth"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    data = data_with(settings, duplicate_initial_model_and_data=True, initial_train_file=first.with_name(listed))
    with pytest.raises(MaskALError, match=reason) if reason else nullcontext():
        duplicated_initial_model(data.settings)


def test_images_of_an_earlier_run_whose_accents_are_stored_otherwise(settings: Settings):
    composed, decomposed = (unicodedata.normalize(form, "rübe.png") for form in ("NFC", "NFD"))
    for suffix in (".png", ".json"):
        (settings.traindir / f"03{suffix}").rename((settings.traindir / composed).with_suffix(suffix))
    changes = {
        "duplicate_initial_model_and_data": True,
        "initial_train_file": earlier_run(settings, [decomposed, "01.png"]),
    }
    data = data_with(settings, **changes)
    assert initial_images(data, 0) == [composed, "01.png"]
    model = settings.weightsroot / "exp0" / "random" / "best_model_000.pth"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    assert earlier_initial_model(data.settings, data.settings.experiments()[0], [composed, "01.png"], {}, "") == model


def test_images_of_an_earlier_run_that_are_gone_are_named(settings: Settings):
    changes = {
        "duplicate_initial_model_and_data": True,
        "initial_train_file": earlier_run(settings, ["03.png", "x.png"]),
    }
    with pytest.raises(MaskALError, match=r"1 of its images are not in .*, such as x\.png"):
        initial_images(data_with(settings, **changes), 0)


def test_an_earlier_run_outside_resultsroot_is_refused(settings: Settings, tmp_path: Path):
    write_train_files(tmp_path / "elsewhere.txt", ["03.png"], {})
    data = data_with(settings, duplicate_initial_model_and_data=True, initial_train_file=tmp_path / "elsewhere.txt")
    with pytest.raises(MaskALError, match="is not below resultsroot"):
        duplicated_initial_model(data.settings)
