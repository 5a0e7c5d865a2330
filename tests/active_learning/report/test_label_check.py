from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.errors import MaskALError
from active_learning.label_check import pictures
from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.pictures import MOST_PICTURES, read_pictures, write_pictures
from active_learning.label_check.results import CheckResults, Offer, read_results, write_results
from active_learning.report import page
from active_learning.report.runs import read_runs

ONE = LabelFinding(
    image="a ü.png",
    split="val",
    place="shapes[0]",
    label="a",
    finding="other class",
    expected="Expected <b>, annotated as a.",
    box=(5.0, 5.0, 20.0, 20.0),
    certainty=0.95,
    loop=1,
    digest="",
    annotated=((5.0, 5.0, 20.0, 5.0, 20.0, 20.0),),
    detected=((6.0, 5.0, 20.0, 5.0, 20.0, 19.0),),
)


def add_findings(run: Path, *findings: LabelFinding, loop: int = 1) -> Path:
    """Findings with their pictures; returns the folder of the pictures."""
    (found,) = [one for one in read_runs(run.parent) if one.folder == run]
    image = run.parent / "image.png"
    Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(image)
    write_results(found.files, CheckResults(loop, loop, findings))
    write_pictures(found.files.label_check, findings, lambda _: image, 10**6)
    return found.files.label_check


def test_the_report_shows_the_surest_findings_with_both_outlines(tmp_path: Path, make_run: Callable[..., Path]):
    add_findings(make_run(tmp_path / "uncertainty", [30, 40]), ONE, replace(ONE, place="shapes[1]", certainty=0.6))
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert "2 annotations of uncertainty look wrong, 1 of them surely." in text
    assert text.count("data:image/jpeg;base64,") == text.count('<polygon class="annotated"') == 2
    assert text.count('<polygon class="detected" points="6.0 5.0 20.0 5.0 20.0 19.0 "/>') == 2
    assert "Expected &lt;b&gt;, annotated as a." in text and "Expected <b>" not in text
    assert "val/a ü.png, shapes[1]" in text
    assert "http" not in text


@pytest.mark.parametrize("certainty", [None, 0.3])
def test_without_likely_findings_there_is_no_section(tmp_path: Path, make_run, certainty: float | None):
    run = make_run(tmp_path / "uncertainty", [30, 40])
    if certainty:
        add_findings(run, replace(ONE, certainty=certainty))
    assert "look wrong" not in page.write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("loop", "digest", "said"),
    [
        (1, "as it was", "1 annotation of uncertainty looks wrong, 0 of them surely, beside 1 that was offered"),
        (1, "corrected", "2 annotations of uncertainty look wrong, 1 of them surely."),
        (2, "as it was", "2 annotations of uncertainty look wrong, 1 of them surely."),
    ],
    ids=["left", "corrected", "lies there at this time"],
)
def test_what_was_offered_and_left_looks_wrong_no_longer(tmp_path: Path, make_run, loop: int, digest: str, said: str):
    run = make_run(tmp_path / "uncertainty", [30, 40])
    add_findings(run, replace(ONE, digest=digest), replace(ONE, image="b.png", certainty=0.6))
    (found,) = read_runs(tmp_path)
    offer = Offer(ONE.split, ONE.image, "as it was", loop)
    write_results(found.files, replace(read_results(found.files), offered=(offer,)))
    assert said in page.write_report(tmp_path).read_text(encoding="utf-8")


def test_the_run_that_checked_last_is_shown(tmp_path: Path, make_run):
    add_findings(make_run(tmp_path / "uncertainty", [30]), ONE, loop=0)
    add_findings(make_run(tmp_path / "random", [30, 40]), ONE, loop=1)
    assert "1 annotation of random looks wrong" in page.write_report(tmp_path).read_text(encoding="utf-8")


def test_a_long_run_that_was_checked_before_is_not_shown_for_it(tmp_path: Path, make_run):
    """Its findings have been corrected since; a shorter run shares the images and has checked them anew."""
    folder = add_findings(make_run(tmp_path / "uncertainty", [30, 40, 50]), ONE, replace(ONE, place="1"), loop=2)
    os.utime(folder / "findings.json", (1e9, 1e9))
    add_findings(make_run(tmp_path / "random", [30]), ONE, loop=0)
    assert "1 annotation of random looks wrong" in page.write_report(tmp_path).read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_written_leaves_no_wrong_ones(tmp_path: Path, make_run, monkeypatch):
    folder = add_findings(make_run(tmp_path / "uncertainty", [30]), ONE)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "write_small_picture", fail)
    with pytest.raises(OSError, match="No space"):
        write_pictures(folder, [replace(ONE, place="1")], lambda _: tmp_path / "image.png", 10**6)
    assert read_pictures(folder) == []


def test_pictures_are_few_and_small(tmp_path: Path, make_run):
    folder = add_findings(make_run(tmp_path / "uncertainty", [30]), *[replace(ONE, place=f"{n}") for n in range(40)])
    assert len(list(folder.glob("*.jpg"))) == MOST_PICTURES
    write_pictures(folder, [ONE], lambda _: tmp_path / "image.png", 10**6)
    assert [path.name for path in folder.glob("*.jpg")] == ["00.jpg"]


def test_a_damaged_file_is_named(tmp_path: Path, make_run):
    folder = add_findings(make_run(tmp_path / "uncertainty", [30]), ONE)
    (folder / "pictures.json").write_text("[3]", encoding="utf-8")
    with pytest.raises(MaskALError, match=r"pictures.json: \[0\]: 3 must be a mapping"):
        page.write_report(tmp_path)
