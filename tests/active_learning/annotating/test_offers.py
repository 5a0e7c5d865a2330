"""Annotated images that are offered for correction."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.offers import offer_annotations
from active_learning.run.data import annotation_cache
from active_learning.settings import Settings


@pytest.fixture
def folder(settings: Settings) -> AnnotateFolder:
    """00.png is offered, 01.png has no annotation yet, all others have."""
    (settings.traindir / "01.json").unlink()
    annotations = annotation_cache(settings.traindir, settings)
    folder = AnnotateFolder(annotations)
    folder.fill(["00.png", "01.png", "02.png"])
    assert offer_annotations(annotations, ["00.png", "01.png"]) == ["00.png"]
    return AnnotateFolder(annotations)


def files(folder: AnnotateFolder) -> set[str]:
    return (
        {path.name for path in folder.path.iterdir() if not path.name.startswith(".")}
        if folder.path.is_dir()
        else set()
    )


def annotate(folder: AnnotateFolder, name: str) -> None:
    source = folder.folder / "02.json"
    (folder.path / name).write_text(source.read_text(encoding="utf-8").replace("02.png", "01.png"), encoding="utf-8")


def collect(folder: AnnotateFolder) -> dict[str, Path]:
    folder.fill(["00.png", "01.png", "02.png"])
    folder.collect()
    folder.await_rest()
    return folder.take_corrections().files


def test_image_and_annotation_lie_in_the_annotate_folder(folder: AnnotateFolder):
    assert files(folder) == {"00.png", "00.json", "01.png"}
    assert (folder.path / "00.json").read_bytes() == (folder.folder / "00.json").read_bytes()


def test_what_nobody_changes_is_not_waited_for_and_goes(folder: AnnotateFolder):
    before = (folder.folder / "00.json").read_bytes()
    folder.fill(["00.png", "01.png", "02.png"])
    assert folder.awaited == ("01.png",)
    annotate(folder, "01.json")
    assert collect(folder) == {}
    assert files(folder) == set()
    assert (folder.folder / "00.json").read_bytes() == before
    assert not list(folder.folder.glob("*.orig"))


def test_what_is_corrected_is_used_and_the_former_kept(folder: AnnotateFolder):
    before = (folder.folder / "00.json").read_bytes()
    corrected = (folder.path / "00.json").read_text(encoding="utf-8").replace("20, 20", "21, 21")
    (folder.path / "00.json").write_text(corrected, encoding="utf-8")
    annotate(folder, "01.json")
    assert list(collect(folder)) == ["00.png"]
    assert (folder.folder / "00.json").read_text(encoding="utf-8") == corrected
    assert (folder.folder / "00.json.orig").read_bytes() == before
    assert files(folder) == set()


def test_what_is_there_is_not_written_over(folder: AnnotateFolder, settings: Settings):
    (folder.path / "00.json").write_text("a person's", encoding="utf-8")
    offer_annotations(annotation_cache(settings.traindir, settings), ["00.png"])
    assert (folder.path / "00.json").read_text(encoding="utf-8") == "a person's"


def test_a_save_of_the_same_content_goes_too(folder: AnnotateFolder):
    (folder.path / "00.json").write_bytes((folder.folder / "00.json").read_bytes())
    annotate(folder, "01.json")
    assert collect(folder) == {}
    assert files(folder) == set()
