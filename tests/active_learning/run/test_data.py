from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.run import data as run_data
from active_learning.run.data import RunData
from active_learning.run.data_seen import DataSeen
from active_learning.run.lock import only_annotated_here
from active_learning.settings import Settings
from active_learning.system import saving


def test_an_empty_folder_is_named(settings: Settings):
    for path in settings.valdir.iterdir():
        path.unlink()
    with pytest.raises(MaskALError, match="holds no image; put the images of valdir there"):
        RunData(settings).images("val")


def test_a_faulty_annotation_is_awaited_with_its_fault(settings: Settings):
    (settings.valdir / "01.json").write_text("{", encoding="utf-8")
    data = RunData(settings)
    with pytest.raises(AnnotationsAwaited, match=r"01\.png: .*01\.json: .*damaged or half-written"):
        data.request_annotations("val", data.images("val"), wait=False)
    assert (settings.valdir / "01.json").read_text(encoding="utf-8") == "{"


def test_what_another_run_awaits_in_the_same_folder_is_left_alone(settings: Settings):
    (settings.traindir / "01.json").unlink()
    done = settings.traindir / "annotate" / "DONE"
    with only_annotated_here(settings.traindir, wait=False) as is_ours:
        assert is_ours
        done.parent.mkdir()
        done.touch()
        RunData(settings).request_annotations("train", ["00.png"], wait=True)
        assert done.exists()
        with pytest.raises(
            AnnotationsAwaited, match=r"Another run has images annotated in .*, and this one needs 1, too"
        ):
            RunData(settings).request_annotations("train", ["00.png", "01.png"], wait=False)
        assert [path.name for path in done.parent.iterdir()] == ["DONE"]
    RunData(settings).request_annotations("train", ["00.png"], wait=True)
    assert not done.parent.exists()


def test_a_folder_that_is_held_is_this_runs_however_it_is_written(settings: Settings, tmp_path: Path):
    for name in ("00", "01"):
        (settings.traindir / f"{name}.json").unlink()
    data = RunData(settings)
    assert data.request_ahead(["00.png"], open_tool=False)
    (tmp_path / "link").symlink_to(settings.traindir)
    for way in (tmp_path / "val" / ".." / "train", tmp_path / "link"):
        data.apply(settings.model_copy(update={"traindir": way}))
        with pytest.raises(AnnotationsAwaited, match=r"01\.png"):
            data.request_annotations("train", ["01.png"], wait=False)
    data.let_go()


@pytest.mark.timeout(60)
def test_the_second_run_at_an_annotate_folder_waits_for_the_first(settings: Settings, caplog: pytest.LogCaptureFixture):
    annotation = settings.traindir / "01.json"
    content = annotation.read_bytes()
    annotation.unlink()
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(1) as pool:
        with only_annotated_here(settings.traindir, wait=False):
            second = pool.submit(RunData(settings).request_annotations, "train", ["01.png"], wait=True)
            while "Another run has images" not in caplog.text:
                assert not second.done()
                time.sleep(0.05)
            annotation.write_bytes(content)
            assert not second.done()
        second.result(timeout=20)
    assert not (settings.traindir / "annotate").exists()


def test_the_tool_on_what_lies_ahead_is_not_asked_for_other_images(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(run_data, "request_annotations", lambda *_, tool, **how: given.append(tool))
    data = RunData(settings)
    for split, folder in (("train", settings.traindir), ("val", settings.valdir)):
        for path in folder.glob("*.json"):
            path.unlink()
        data.request_annotations(split, data.images(split), wait=True)
    ahead, other = given
    assert ahead is data._tool is not other


def test_an_annotated_folder_gets_no_lock(settings: Settings):
    before = sorted(settings.traindir.iterdir())
    RunData(settings).request_annotations("train", ["00.png"], wait=True)
    assert sorted(settings.traindir.iterdir()) == before


def test_lists_and_coco_files_are_written_side_by_side(settings: Settings):
    data = RunData(settings)
    summary = data.write("test", data.images("test"))
    assert summary.objects == {"a": 2, "b": 0}
    assert (settings.dataroot / "test.txt").read_text(encoding="utf-8") == "00.png\n01.png\n"
    assert data.json("test").is_file()


def test_an_image_that_cannot_be_decoded_ends_the_run_before_it_trains(settings: Settings):
    data, path = RunData(settings), settings.testdir / "01.png"
    assert data.write("test", data.images("test")).images == 2
    path.write_bytes(path.read_bytes()[:60])  # the header is whole
    with pytest.raises(MaskALError, match=r"01\.png: cannot be read as an image: .*; replace or remove it"):
        data.write("test", data.images("test"))


def test_what_is_being_written_is_waited_for(settings: Settings, monkeypatch):
    """Images that are copied there, and a tool that removes a file to save it anew."""
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 60.0)
    data, images = RunData(settings), ["00.png", "01.png"]
    for path in (settings.testdir / "01.png", settings.testdir / "01.json"):
        data.refresh("test")
        data.images("test")
        whole, slept = path.read_bytes(), []
        path.write_bytes(whole[:60]) if path.suffix == ".png" else path.unlink()

        def finish(_: float, path: Path = path, whole: bytes = whole, slept: list[int] = slept) -> None:
            slept.append(path.write_bytes(whole))

        monkeypatch.setattr(time, "sleep", finish)
        assert data.write("test", images).images == 2
        assert slept


def test_a_fault_is_waited_for_until_its_folder_is_at_rest(settings: Settings, monkeypatch):
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 0.5)
    (settings.testdir / "01.png").write_bytes(b"")
    begin = time.monotonic()
    with pytest.raises(MaskALError, match="01.png"):
        RunData(settings).write("test", ["00.png", "01.png"])
    assert 0.4 < time.monotonic() - begin < 30


def test_an_image_of_more_pixels_than_the_settings_allow_is_named(settings: Settings):
    Image.new("1", (1001, 1000)).save(settings.testdir / "01.png")
    small = Settings(**{**settings.model_dump(), "max_image_megapixels": 1})
    data = RunData(small)
    with pytest.raises(MaskALError, match="1 million pixels .1001 x 1000., more than the 1 million that are allowed"):
        data.write("test", data.images("test"))
    data.apply(settings)
    assert data.write("test", data.images("test")).images == 2


def test_what_is_passed_over_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture):
    (settings.valdir / "x.gif").touch()
    data = RunData(settings)
    for _ in range(2):
        data.log_changes("val", [])
        data.refresh()
    assert caplog.text.count("1 file of kinds that are not read: 1 .gif; save images as JPEG or PNG") == 1


@pytest.mark.parametrize("leave", ["nothing", "an empty folder", "an empty sub-folder"])
def test_a_folder_that_is_gone_is_no_empty_folder(settings: Settings, tmp_path: Path, leave: str):
    """In a later start or phase of a run, which has seen the images."""
    place = settings.valdir / "field" if leave == "an empty sub-folder" else settings.valdir
    (settings.valdir / "field").mkdir()
    for path in list(settings.valdir.glob("01.*")):
        path.rename(settings.valdir / "field" / path.name)
    data = RunData(settings, DataSeen(tmp_path / "data_seen.json"))
    data.log_changes("val", data.images("val"))
    place.rename(tmp_path / "away")
    if leave != "nothing":
        place.mkdir()
    assert data.absence()
    again = RunData(settings, DataSeen(tmp_path / "data_seen.json"))
    for ask in (again.images, lambda split: data.present(split, ["00.png", "field/01.png"])):
        with pytest.raises(MaskALError, match="is its drive connected|put them back, or check that the drive"):
            ask("val")


def test_images_that_a_person_takes_away_are_left_out(settings: Settings, tmp_path: Path):
    data = RunData(settings, DataSeen(tmp_path / "data_seen.json"))
    data.log_changes("val", data.images("val"))
    (settings.valdir / "01.png").unlink()
    data.refresh()
    assert data.images("val") == ["00.png"]
    assert not data.absence()
