"""A run writes into no folder that is not its own, and `--fresh` moves nothing else."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.errors import MaskALError, SettingsError
from active_learning.report.page import write_report
from active_learning.run.checks import check_start
from active_learning.run.output_files import OutputFiles, output_files, write_scores
from active_learning.run.own_folders import MARK, claim, output_mistakes, read_mark, start_over
from active_learning.settings import Settings
from tests.contents import contents


def files_of(settings: Settings, number: int = 0) -> OutputFiles:
    return output_files(settings, settings.experiments()[number])


def ran(settings: Settings, *, marked: bool = True) -> OutputFiles:
    """What a run of these settings leaves, also of a version that made no marks."""
    files = files_of(settings)
    claim(files)
    files.state.write_text("{}", encoding="utf-8")
    files.scores.write_text("scores", encoding="utf-8")
    files.best_model(0).write_bytes(b"best")
    (files.results.parent / "report.html").write_text("report", encoding="utf-8")
    for folder in (files.results, files.weights) if not marked else ():
        (folder / MARK).unlink()
    return files


def changed(settings: Settings, **changes: object) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


def foreign_weights(settings: Settings) -> Settings:
    files_of(settings).weights.mkdir(parents=True)
    files_of(settings).best_model(3).write_bytes(b"a colleague's")
    return settings


def foreign_log(settings: Settings) -> Settings:
    (files_of(settings).weights / "training000").mkdir(parents=True)
    (files_of(settings).weights / "training000" / "metrics.json").write_text("mine", encoding="utf-8")
    return settings


def foreign_scores(settings: Settings) -> Settings:
    files_of(settings).results.mkdir(parents=True)
    files_of(settings).scores.write_text("mine", encoding="utf-8")
    return settings


def same_weightsroot(settings: Settings) -> Settings:
    ran(settings)
    return changed(settings, resultsroot=settings.resultsroot.with_name("results2"))


def results_deleted(settings: Settings) -> Settings:
    shutil.rmtree(ran(settings).results)
    return settings


def inside_a_run(settings: Settings) -> Settings:
    files = ran(settings)
    return changed(settings, resultsroot=files.results.parent, experiment_name=files.results.name)


def beside_the_experiments_of_a_run(settings: Settings) -> Settings:
    return changed(settings, resultsroot=ran(settings).results.parent, experiment_name="other")


def beside_a_run_that_was_moved_by_hand(settings: Settings) -> Settings:
    ran(settings).weights.rename(settings.weightsroot / "exp1_old")
    return changed(settings, resultsroot=settings.dataroot / "results")


def around_a_run(settings: Settings) -> Settings:
    ran(changed(settings, resultsroot=settings.resultsroot / "exp1" / "uncertainty", weightsroot=settings.dataroot))
    return settings


def deep_around_a_run(settings: Settings) -> Settings:
    ran(changed(settings, experiment_name="exp1/uncertainty/a/b/c"))
    return settings


def weights_in_results(settings: Settings) -> Settings:
    return changed(settings, weightsroot=files_of(settings).results)


def dataroot_in_results(settings: Settings) -> Settings:
    return changed(settings, dataroot=files_of(settings).results / "data")


def own_start_weights(settings: Settings) -> Settings:
    return changed(settings, pretrained_weights=str(ran(settings).best_model(0)))


def linked_start_weights(settings: Settings) -> Settings:
    link = settings.dataroot / "start.pth"
    link.parent.mkdir()
    link.symlink_to(ran(settings).best_model(0))
    return changed(settings, pretrained_weights=str(link))


def file_in_place_of_results(settings: Settings) -> Settings:
    settings.resultsroot.mkdir()
    (settings.resultsroot / settings.experiment_name).write_text("mine", encoding="utf-8")
    return settings


def weights_on_a_drive_that_is_gone(settings: Settings) -> Settings:
    files_of(settings).weights.parent.mkdir(parents=True)
    files_of(settings).weights.symlink_to(settings.dataroot / "gone")
    return settings


REFUSED = {
    file_in_place_of_results: "resultsroot: .*exp1 is a file, not a folder; name another folder, or move the file else",
    weights_on_a_drive_that_is_gone: "weightsroot: .*uncertainty is a link that leads nowhere; is its drive connected",
    foreign_weights: "best_model_003.pth is of no run whose results are in",
    foreign_log: "training000 is of no run whose results are in",
    foreign_scores: "uncertainty.csv is of no run that is known here; move it elsewhere",
    same_weightsroot: "holds the weights of another run, its results are in",
    results_deleted: r"best_model_000.pth is of no run .*; put the results back \(is their drive .*, start over with",
    inside_a_run: "lies in the folder of another run",
    beside_the_experiments_of_a_run: "lies in the folder of another run",
    beside_a_run_that_was_moved_by_hand: "lies in the folder of another run, .*, as .*exp1_old is one; move",
    around_a_run: "holds the folder of another run",
    deep_around_a_run: "holds the folder of another run",
    weights_in_results: "weightsroot: .* lies in .*, where a run writes",
    dataroot_in_results: "dataroot: .* lies in .*, where a run writes",
    own_start_weights: "pretrained_weights: .* lies where this run writes its weights; copy the file elsewhere",
    linked_start_weights: "pretrained_weights: .* lies where this run writes its weights; copy the file elsewhere",
}
WITH_FRESH_TOO = [one for one in REFUSED if one not in (results_deleted, own_start_weights, linked_start_weights)]


@pytest.mark.parametrize(("make", "words"), REFUSED.items(), ids=[one.__name__ for one in REFUSED])
def test_refused_before_anything_is_changed(
    settings: Settings, tmp_path: Path, make: Callable[[Settings], Settings], words: str
):
    settings = make(settings)
    before = contents(tmp_path)
    with pytest.raises(SettingsError, match=words):
        check_start(settings)
    if make in WITH_FRESH_TOO:
        with pytest.raises(SettingsError, match=words):
            check_start(settings, fresh=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("make", [foreign_weights, foreign_scores, same_weightsroot], ids=lambda make: make.__name__)
def test_fresh_moves_nothing_that_is_not_its_own(settings: Settings, make: Callable[[Settings], Settings]):
    settings = make(settings)
    before = contents(settings.weightsroot), contents(settings.resultsroot)
    start_over(settings)
    assert (contents(settings.weightsroot), contents(settings.resultsroot)) == before


def test_fresh_moves_a_run_whose_folders_are_links(settings: Settings, tmp_path: Path):
    ran(settings)
    for root in (settings.weightsroot, settings.resultsroot):
        place = tmp_path / "scratch" / root.name
        place.parent.mkdir(exist_ok=True)
        (root / "exp1").rename(place)
        (root / "exp1").symlink_to(place, target_is_directory=True)
    start_over(settings)
    assert not files_of(settings).weights.exists()
    assert [path.name for path in tmp_path.glob("scratch/*.bak-*/uncertainty/best_model_000.pth")] == [
        "best_model_000.pth"
    ]
    assert all((root / "exp1").is_symlink() for root in (settings.weightsroot, settings.resultsroot))


def test_a_run_that_cannot_be_moved_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    files = ran(settings)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(MaskALError, match=r"uncertainty: cannot be moved to .* \(Invalid cross-device link\); move it"):
        start_over(settings)
    monkeypatch.undo()
    assert files.best_model(0).exists() and not list(settings.resultsroot.glob("exp1.bak-*"))


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "of a version without marks"])
def test_fresh_moves_a_run_and_leaves_what_a_person_put_beside_it(settings: Settings, marked: bool):
    files = ran(settings, marked=marked)
    (files.results.parent / "photos").mkdir()
    (files.results.parent / "photos" / "a.png").write_bytes(b"mine")
    (files.training_tiles / ("0" * 32)).mkdir(parents=True)
    (files.training_tiles / ("0" * 32) / "a_0_0.png").touch()  # it is removed
    assert not list(output_mistakes(settings, fresh=True))
    start_over(settings)
    assert contents(settings.resultsroot / "exp1") == {"photos/a.png": b"mine"}
    assert not files.weights.exists()
    aside = {path.relative_to(root).as_posix().partition("/")[2]: path.read_text(encoding="utf-8")
             for root in (settings.resultsroot, settings.weightsroot) for path in root.rglob("*")
             if path.is_file() and ".bak-" in str(path) and path.name != MARK}  # fmt: skip
    expected = {"uncertainty/run_state.json": "{}", "uncertainty/uncertainty.csv": "scores", "report.html": "report"}
    assert aside == {**expected, "uncertainty/best_model_000.pth": "best"}
    assert not list(output_mistakes(settings, fresh=False))
    claim(files)


def test_results_and_weights_in_one_folder_are_one_run(settings: Settings):
    settings = changed(settings, weightsroot=settings.resultsroot)
    files = ran(settings)
    assert not list(output_mistakes(settings, fresh=False))
    assert not list(output_mistakes(settings, fresh=True))
    start_over(settings)
    assert not files.results.exists()


@pytest.mark.parametrize("left", ["all else", "weights alone"])
def test_a_run_that_lost_its_state_is_not_begun_anew(settings: Settings, left: str):
    """Which would write over it."""
    files = ran(settings)
    for path in [files.state] if left == "all else" else files.results.glob("[!.]*"):
        path.unlink()
    before = contents(settings.resultsroot) | contents(settings.weightsroot)
    (mistake,) = output_mistakes(settings, fresh=False)
    assert mistake.startswith(f"resultsroot: {files.state} is gone, without which that run cannot go on; put back a co")
    with pytest.raises(SettingsError):
        claim(files)
    assert contents(settings.resultsroot) | contents(settings.weightsroot) == before
    assert not list(output_mistakes(settings, fresh=True))


@pytest.mark.parametrize("change", ["moved", "marks lost", "weights deleted"])
def test_a_run_knows_its_own(settings: Settings, tmp_path: Path, change: str):
    files = ran(settings, marked=change != "marks lost")
    if change == "moved":
        for name in ("results", "weights"):
            (tmp_path / name).rename(tmp_path / f"{name}2")
        settings = changed(settings, resultsroot=tmp_path / "results2", weightsroot=tmp_path / "weights2")
    elif change == "weights deleted":
        shutil.rmtree(files.weights)
    assert not list(output_mistakes(settings, fresh=False))
    claim(files_of(settings))
    marks = [read_mark(folder) for folder in (files_of(settings).results, files_of(settings).weights)]
    assert marks[0] == marks[1]
    assert marks[0] is not None and marks[0].results == str(files_of(settings).results)


@pytest.mark.parametrize("weights_there", [True, False], ids=["again", "a copy alone is left"])
def test_fresh_may_start_from_the_weights_of_the_run_before(
    settings: Settings, weights_there: bool, capsys: pytest.CaptureFixture[str]
):
    settings = own_start_weights(settings)
    assert not list(output_mistakes(settings, fresh=True))
    start_over(settings)
    copy = settings.weightsroot / "exp1.start.uncertainty.best_model_000.pth"
    assert copy.read_bytes() == b"best"
    files = files_of(settings)
    if weights_there:
        ran(changed(settings, pretrained_weights=""))
        files.best_model(0).write_bytes(b"of the second run")
        assert not list(output_mistakes(settings, fresh=True))
        start_over(settings)
        assert copy.read_bytes() == b"of the second run"
        assert copy.with_name(f"{copy.name}.orig").read_bytes() == b"best"
    says = "Those that it had started from itself are kept beside them"
    assert (says in capsys.readouterr().out) == weights_there
    assert not list(output_mistakes(settings, fresh=False))
    from active_learning.network.network_config import pretrained_weights

    assert pretrained_weights(settings) == str(copy)


def test_a_persons_report_is_kept_aside(settings: Settings):
    folder = settings.resultsroot / "exp1"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("mine", encoding="utf-8")
    claim(files_of(settings))
    write_report(folder)
    assert (folder / "report.html.orig").read_text(encoding="utf-8") == "mine"
    write_report(folder)
    assert len(list(folder.glob("report.html*"))) == 2


NEEDED = {
    "the settings file": "maskAL.yaml",
    "network_config": "network.yaml",
    "pretrained_weights": "start.pth",
    "initial_train_file": "trainfiles_iteration000.txt",
    "dataroot": "data",
}


@pytest.mark.parametrize("experiment", ["uncertainty", "random"], ids=["its own", "one that is asked for no more"])
@pytest.mark.parametrize("key", NEEDED)
def test_fresh_does_not_move_aside_what_the_run_needs(settings: Settings, key: str, experiment: str):
    ran(settings)
    ran(changed(settings, strategy="random"))
    file = settings.resultsroot / "exp1" / experiment / NEEDED[key]
    file.write_text("mine", encoding="utf-8")
    if key != "the settings file":
        more = {"duplicate_initial_model_and_data": True} if key == "initial_train_file" else {}
        settings = Settings.model_construct(**{**dict(settings), key: file if "pre" not in key else str(file), **more})
    found = "\n".join(output_mistakes(settings, fresh=True, settings_file=file if key == "the settings file" else None))
    assert f"{key}: {file} lies in {file.parent}, w" in found
    assert "which --fresh moves aside; move it elsewhere" in found


def test_scores_that_a_person_edited_are_kept(settings: Settings):
    files = files_of(settings)
    write_scores(files, [], ["a"])
    files.scores.write_text("with my remarks", encoding="utf-8")
    write_scores(files, [], ["a", "b"])
    assert files.scores.with_name(f"{files.scores.name}.orig").read_text(encoding="utf-8") == "with my remarks"


def test_a_damaged_mark_is_none(settings: Settings):
    files = ran(settings)
    for text in ("", "[]", json.dumps({"run": 1}), "\0"):
        (files.results / MARK).write_text(text, encoding="utf-8")
        assert read_mark(files.results) is None


def test_a_folder_beside_that_may_not_be_looked_into_is_of_no_run(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Such as `lost+found` of a disk, or another user's; until Python 3.13 `Path.exists` has an error for it."""
    for root in (settings.resultsroot, settings.weightsroot):
        for place in (root / "lost+found", root / "exp1" / "private"):
            place.mkdir(parents=True)
    looked, exists = [], Path.exists

    def exists_or_denied(path: Path, **options: bool) -> bool:
        if {"lost+found", "private"} & set(path.parent.parts):
            looked.append(path)
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", exists_or_denied)
    for fresh in (False, True):
        assert not list(output_mistakes(settings, fresh=fresh))
    start_over(settings)
    claim(files_of(settings))
    assert not looked
