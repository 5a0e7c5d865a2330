"""`label_check: review`: what is offered, when, and how often."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.passes import digest_of
from active_learning.label_check.results import CheckResults, read_results, write_results
from active_learning.label_check.review import FEWEST, offer_for_review
from active_learning.run.data import RunData
from active_learning.run.run import Run
from active_learning.settings import Settings

offer = offer_for_review


@pytest.fixture
def run(settings: Settings) -> Run:
    """In loop 1; the annotation of 06.png is awaited. Findings in val/00.png and in 00.png to 04.png."""
    settings = settings.model_copy(update={"label_check": "review"})
    run = Run(settings, settings.experiments()[0])
    run.state.loop, run.state.train_images = 1, [f"{number:02d}.png" for number in range(7)]
    run.state.chosen = {"05.png": 0.2, "06.png": 0.3}
    places = [("val", "00.png"), *(("train", f"{number:02d}.png") for number in range(5))]
    write_results(
        run.files, CheckResults(0, 0, tuple(finding(run, *place, 0.99 - 0.1 * n) for n, place in enumerate(places)))
    )
    (settings.traindir / "06.json").unlink()
    return run


def finding(run: Run, split: str, image: str, certainty: float) -> LabelFinding:
    digest = digest_of(run.data.annotated(split, [image])[image])
    box = (1.0, 1.0, 9.0, 9.0)
    return LabelFinding(image, split, "shapes[0]", "a", "other class", "Expected b.", box, certainty, 0, digest)


def offered(run: Run) -> set[str]:
    splits = {"val": run.settings.valdir, "train": run.settings.traindir}
    return {f"{split}/{path.stem}" for split, folder in splits.items() for path in (folder / "annotate").glob("*.json")}


def test_images_of_the_surest_findings_are_offered(run: Run):
    assert offer(run)
    assert FEWEST == 3
    assert offered(run) == {"val/00", "train/00", "train/01"}


def test_a_start_in_the_same_loop_offers_the_same(run: Run):
    offer(run)
    before = offered(run)
    (run.settings.valdir / "annotate" / "00.json").unlink()
    assert offer(run)
    assert offered(run) == before


def test_what_was_left_as_it_was_is_not_offered_again(run: Run):
    offer(run)
    before = offered(run)
    run.state.loop = 2
    offer(run)
    assert offered(run) - before == {"train/02", "train/03"}  # of those that are likely wrong, no more are left


class StopError(Exception):
    """The machine goes down."""


@pytest.mark.parametrize("fault", ["another run has the folder", "full disk", "stop"])
def test_what_never_lay_there_is_offered_in_the_next_loop(run: Run, monkeypatch: pytest.MonkeyPatch, fault: str):
    offers = RunData.offer
    errors = {"full disk": OSError(28, "No space left on device"), "stop": StopError()}

    def fails(data: RunData, split: str, images: list[str]) -> list[str]:
        if split != "val":
            return offers(data, split, images)
        if fault in errors:
            raise errors[fault]
        return []

    monkeypatch.setattr(RunData, "offer", fails)
    with suppress(StopError):
        offer(run)
    assert "val/00" not in offered(run)
    monkeypatch.setattr(RunData, "offer", offers)
    run.state.loop = 2
    assert offer(run)
    assert "val/00" in offered(run)


def test_where_nobody_annotates_nothing_is_offered(run: Run):
    run.state.train_images.remove("06.png")
    assert not offer(run)
    assert offered(run) == set()


@pytest.mark.parametrize("value", [True, False])
def test_only_review_offers(run: Run, value: bool):
    run.settings = run.settings.model_copy(update={"label_check": value})
    assert not offer(run)


def test_a_damaged_file_is_a_warning(run: Run, caplog: pytest.LogCaptureFixture):
    (run.files.label_check / "findings.json").write_text("[", encoding="utf-8")
    assert not offer(run)
    assert "No annotations are offered for correction" in caplog.text


def test_unlikely_findings_are_not_offered(run: Run):
    results = read_results(run.files)
    write_results(run.files, replace(results, findings=tuple(replace(one, certainty=0.3) for one in results.findings)))
    assert not offer(run)
