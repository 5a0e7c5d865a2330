"""The page holds all it shows, is well-formed, and lets no name become markup."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from active_learning.acquisition.explanation import ExplainedObject, Explanation, write_explanations
from active_learning.report import page
from active_learning.report.comparison import LEAST_SEEDS
from active_learning.report.runs import read_runs
from active_learning.run.state import LoopScores, RunState

NASTY = '<script>alert("x")</script> & $a_b$ Blüte 花'
VOID = {"meta", "input", "br", "img", "link", "hr"}
SECTIONS = {"learning-curve", "comparison", "classes", "balance", "certainty", "why", "numbers"}


class Page(HTMLParser):
    """Checks that elements close in order, and gathers what a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.unnamed: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags[tag] += 1
        self.ids.update([given["id"]] if given.get("id") else [])
        self.addresses += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href")]
        if given.get("role") == "img" and not given.get("aria-label"):
            self.unnamed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def sections(self) -> set[str]:
        return SECTIONS & set(self.ids)


def page_of(folder: Path) -> Page:
    text = page.write_report(folder).read_text(encoding="utf-8")
    found = Page(text)
    twice = [name for name, times in found.ids.items() if times > 1]
    assert not twice, f"ids used twice: {twice}"
    assert all(address.startswith(("#", "data:image/")) for address in found.addresses)
    assert {address[1:] for address in found.addresses if address.startswith("#")} <= set(found.ids)
    assert not re.search(r"@import|url\((?!#)", text)
    assert found.tags["script"] == 0
    plain = [text for text in re.findall(r"<text style=[^>]*>", text) if "fill: var(--" not in text]
    assert not plain, "a text that would stay black in dark mode"
    assert not found.unnamed
    assert "#0400" not in text and "#0101" not in text  # stand-in colours
    return found


@pytest.fixture
def two_strategies(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    for seed in range(2):
        make_run(tmp_path / f"uncertainty_seed{seed}", [10.0, 30.0 + seed, 40.0], certainty=0.4)
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0 + seed])
    return tmp_path


def test_a_comparison_has_every_section_that_it_has_numbers_for(two_strategies: Path):
    shown = page_of(two_strategies)
    assert shown.sections == SECTIONS - {"why"}
    text = " ".join(shown.words)
    assert "20 images chosen by uncertainty were as good as 30 by chance: 33 % fewer annotations" in text
    assert "10 images saved" in text and "20 objects saved" in text
    assert "annotated images" in text and "annotated objects" in text
    assert (two_strategies / "comparison.csv").exists()
    assert not list(two_strategies.rglob("*.maskal-draft"))
    assert "mAP above random, at each number of images" in text


def test_an_earlier_comparison_does_not_stay(two_strategies: Path):
    page.write_report(two_strategies)
    file = two_strategies / "comparison.csv"
    before = file.read_text(encoding="utf-8").splitlines()
    for run in two_strategies.glob("random_*"):
        shutil.rmtree(run)
    page.write_report(two_strategies)
    (headers,) = file.read_text(encoding="utf-8").splitlines()
    assert headers.startswith("strategy,seeds,images") and len(before) == 2


def test_runs_with_a_budget_of_objects_are_compared_at_equal_objects(tmp_path: Path, make_run: Callable[..., Path]):
    for name in ("hybrid", "random"):
        make_run(tmp_path / name, [10.0, 30.0], budget="objects")
    text = " ".join(page_of(tmp_path).words)
    assert "mAP above random, at each number of objects" in text
    assert "compared at equal numbers of annotated objects" in text


@pytest.mark.parametrize(
    ("scores", "sections"),
    [
        ([], {"numbers"}),
        ([31.7], {"learning-curve", "classes", "numbers"}),
        ([math.nan, math.nan], {"learning-curve", "balance", "certainty", "numbers"}),
        ([0.0, 0.0], {"learning-curve", "classes", "balance", "certainty", "numbers"}),
    ],
    ids=["not scored yet", "one loop", "no object in the test images", "nothing learned"],
)
def test_runs_with_little_to_show(tmp_path: Path, make_run, scores: list[float], sections: set[str]):
    make_run(tmp_path / "uncertainty", scores, certainty=0.4, phase="choose")
    assert page_of(tmp_path).sections == sections
    assert not (tmp_path / "comparison.csv").exists()


def test_where_nothing_was_detected_there_is_no_histogram(tmp_path: Path, make_run):
    make_run(tmp_path / "uncertainty", [0.0, 0.0], certainty=math.nan)
    assert page_of(tmp_path).sections == {"learning-curve", "classes", "balance", "numbers"}


def test_an_axis_has_whole_images_and_no_map_below_0(tmp_path: Path, make_run):
    make_run(tmp_path / "uncertainty", [0.0, 0.0], first=4, step=1)
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    ticks = [one for one in re.findall(r"<text[^>]*>([^<]*)</text>", text) if re.fullmatch(r"[-−\d.]+", one)]
    assert ticks and not [one for one in ticks if one.startswith(("-", "−"))]
    learning = text[text.index('<svg class="figure"') : text.index("annotated images")]
    assert not [one for one in re.findall(r">(\d+\.\d+)</text>", learning) if float(one) > 1]


def test_an_experiment_without_runs(tmp_path: Path):
    assert page_of(tmp_path).sections == {"numbers"}


def test_names_stay_text(tmp_path: Path, make_run):
    make_run(tmp_path / "uncertainty", [1.0, 2.0], classes=[NASTY], certainty=0.4)
    assert NASTY in page_of(tmp_path).words


def test_many_classes(tmp_path: Path, make_run):
    make_run(tmp_path / "uncertainty", [1.0, 2.0], classes=[f"class {index}" for index in range(12)], certainty=0.4)
    assert page_of(tmp_path).tags["figure"] == 2 + 12 + 1


def test_the_histogram_counts_pool_and_choice(two_strategies: Path):
    runs = [run for run in read_runs(two_strategies) if run.label == "uncertainty"]
    first, second = page.certainties(runs)
    assert (first.loop, len(first.pool), len(first.chosen)) == (0, 42, 20)
    assert (second.loop, len(second.pool), len(second.chosen)) == (1, 22, 20)


def test_the_same_runs_make_the_same_figures(two_strategies: Path):
    def figures() -> list[str]:
        return re.findall(
            r'<svg class="figure".*?</svg>', page.write_report(two_strategies).read_text("utf-8"), re.DOTALL
        )

    assert figures() == figures()


def test_a_run_that_cannot_be_read_is_left_out(two_strategies: Path):
    (two_strategies / "random_seed1" / "run_state.json").write_text("{", encoding="utf-8")
    assert "random" in " ".join(page_of(two_strategies).words)
    assert len(read_runs(two_strategies)) == 3


def test_a_faulty_file_is_reported_and_stops_nothing(two_strategies: Path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(page.logger, "warning", lambda text, *given: warnings.append(text % given))
    (two_strategies / "uncertainty_seed0" / "pool_certainty000.csv").write_text("no number\n", encoding="utf-8")
    page.try_to_write_report(two_strategies)
    assert "pool_certainty000.csv: line 1" in warnings[0]
    assert not (two_strategies / "report.html").exists()


def test_states_of_an_older_version_lack_object_counts(tmp_path: Path, make_run):
    state = make_run(tmp_path / "random", [1.0, 2.0]) / "run_state.json"
    document = json.loads(state.read_text("utf-8"))
    for row in document["history"]:
        del row["objects"]
    state.write_text(json.dumps(document), encoding="utf-8")
    assert "balance" not in page_of(tmp_path).sections


def test_the_newest_choice_is_explained(tmp_path: Path, make_run: Callable[..., Path]):
    run = make_run(tmp_path / "uncertainty", [1.0, 2.0, 3.0], certainty=0.4)
    box, votes = (5.0, 5.0, 25.0, 25.0), {"healthy": 1, "Blüte <b>": 1}
    one = ExplainedObject(0.9, 1.0, 1.0, 2 / 3, 0.6, (box, box), votes, (0, 2))
    pictures = np.full((40, 60, 3), (200, 100, 20), dtype=np.uint8), np.zeros((40, 60, 4), dtype=np.uint8)
    for loop in range(2):
        explanation = Explanation("a/b ü.png", 0.6, "mean", 3, 40, 60, (one,))
        write_explanations(run / f"why_chosen{loop:03d}", [(explanation, *pictures)])
    shutil.copytree(run / "why_chosen001", run / "why_chosen001_copy")
    shutil.copytree(run / "why_chosen001", run / "why_chosen (copy)")
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert "uncertainty, loop 1" in text and "uncertainty, loop 0" not in text
    assert "Blüte &lt;b&gt;&nbsp;1" in text and "Blüte <b>" not in text
    assert text.count('<rect x="5.0" y="5.0" width="20.0" height="20.0"/>') == 2
    assert "objects are detected in some of the passes only" in text
    assert text.count("data:image/jpeg;base64,") == 1 and text.count("data:image/png;base64,") == 1


def test_who_waited_for_whom(tmp_path: Path):
    make_waiting(tmp_path / "uncertainty", [(0.0, 7.0), (10.0, 4.0)])
    found = page_of(tmp_path)
    assert "waiting" in found.ids
    words = " ".join(" ".join(found.words).split())
    assert "1.0 minutes of training; a person waited 10 minutes, the computer 11." in words


def test_a_run_in_which_nobody_waited_has_no_such_section(tmp_path: Path, make_run: Callable[..., Path]):
    make_run(tmp_path / "uncertainty", [30.0, 40.0])
    assert "waiting" not in page_of(tmp_path).ids


def make_waiting(folder: Path, waits: list[tuple[float, float]]) -> None:
    rows = [
        LoopScores(10, 30.0, {"a": 30.0}, 31.0, {"a": 31.0}, 0.5, {"a": 10}, person, computer)
        for person, computer in waits
    ]
    folder.mkdir(parents=True)
    state = RunState(["a"], len(rows) - 1, "finished", ["a.png"], history=rows)
    state.experiment = {"label": folder.name, "strategy": "uncertainty", "seed": 0}
    state.save(folder / "run_state.json")


@pytest.mark.parametrize(
    ("classes", "random_classes"),
    [("abc", "ab"), ("ab", "abc"), ("ab", "ba")],
    ids=["fewer classes", "more classes", "another order"],
)
def test_class_balance_of_runs_with_other_classes(tmp_path: Path, make_run, classes: str, random_classes: str):
    make_run(tmp_path / "uncertainty", [10, 20, 30], classes=tuple(classes))
    make_run(tmp_path / "random", [10, 20, 30], classes=tuple(random_classes))
    runs = read_runs(tmp_path)
    names = ["a", "b", "c"] if "c" in classes + random_classes else ["a", "b"]
    for label, shares in page._balance(runs)[0]:
        (run,) = [one for one in runs if one.label == label]
        first, last = run.scores[0].objects, run.scores[-1].objects
        assert {one.name: one.chosen for one in shares} == {
            name: last.get(name, 0) - first.get(name, 0) for name in names
        }
    assert 'id="balance"' in page.write_report(tmp_path).read_text(encoding="utf-8")


def test_class_balance_is_left_out_where_corrections_took_objects(tmp_path: Path, make_run):
    folder = make_run(tmp_path / "uncertainty", [10, 20, 30])
    state = RunState.load(folder / "run_state.json")
    state.history[-1].objects["a"] = state.history[0].objects["a"] - 2
    state.save(folder / "run_state.json")
    make_run(tmp_path / "random", [10, 20, 30])
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert "Left out: uncertainty. Annotations were corrected meanwhile" in text
    assert "width: -" not in text


@pytest.mark.parametrize(
    ("ours", "random", "saved"),
    [
        pytest.param([10, 15, 20, 26, 31], [10, 30, 30, 30, 30], "", id="random had it early"),
        pytest.param([30, 34, 38, 42], [30, 31, 30, 29], "", id="random learned nothing"),
        pytest.param([10, 30, 40], [10, 20, 30], "10 images saved", id="saved"),
    ],
)
def test_figure_and_headline_agree_on_what_is_saved(tmp_path: Path, make_run, ours, random, saved: str):
    make_run(tmp_path / "uncertainty", ours)
    make_run(tmp_path / "random", random)
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert ("images saved" in text.replace("images saved (%)", "")) == bool(saved)
    assert saved in text
    assert ("images chosen by uncertainty were as good as" in text) == bool(saved)


@pytest.mark.parametrize("seeds", [1, LEAST_SEEDS])
def test_figure_and_headline_agree_on_what_may_be_luck(tmp_path: Path, make_run, seeds: int):
    for seed in range(seeds):
        make_run(tmp_path / f"uncertainty_seed{seed}", [10, 30, 40 + seed])
        make_run(tmp_path / f"random_seed{seed}", [10, 20, 30 + seed])
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert ("this may be luck." in text, "images saved, may be luck" in text) == ((seeds == 1,) * 2)
    assert "images saved" in text.replace("images saved (%)", "")


@pytest.mark.parametrize(
    ("randoms", "saved"),
    [
        pytest.param([[10, 20, 25, 30], [10, 11, 12, 13]], "", id="only against a seed that is not shared"),
        pytest.param([[10, 12, 14, 20], [10, 25, 32, 40]], "20 images saved", id="only against the shared seed"),
    ],
)
def test_figure_and_headline_compare_the_same_seeds(tmp_path: Path, make_run, randoms, saved: str):
    make_run(tmp_path / "uncertainty_seed0", [10, 20, 25, 30])
    for seed, scores in enumerate(randoms):
        make_run(tmp_path / f"random_seed{seed}", scores)
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert ("images saved" in text.replace("images saved (%)", "")) == bool(saved)
    assert saved in text
    assert ("images chosen by uncertainty were as good as" in text) == bool(saved)


def test_the_headline_is_of_a_mean_and_not_of_the_luckiest_seed(tmp_path: Path, make_run):
    for seed in range(3):
        make_run(tmp_path / f"uncertainty_seed{seed}", [10 + 20 * seed, 25 + 20 * seed])
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert "mAP 45.0 % with 20 annotated images, 30 objects (uncertainty, mean of 3 seeds), +15.0 since the" in text


@pytest.mark.parametrize(
    ("scores", "best", "text"),
    [
        ([math.nan, 20.0, 10.0], "20.0", "mAP 10.0 % with 30 annotated images, 50 objects (uncertainty)."),
        ([20.0, 10.0, math.nan], "20.0", "No network has been scored"),
        ([math.nan] * 3, "nan", "No network has been scored"),
    ],
    ids=["the first", "the last", "all"],
)
def test_test_images_without_an_object_give_no_mean_ap(tmp_path: Path, make_run, scores, best: str, text: str):
    make_run(tmp_path / "uncertainty", scores)
    runs = read_runs(tmp_path)
    assert page._run_row(runs[0])[-1] == best
    assert page.headline(runs, []).startswith(text)


def test_a_fault_of_the_report_stops_nothing(two_strategies: Path, monkeypatch, caplog):
    monkeypatch.setattr(page, "_run_row", lambda run: run.no_such_attribute)
    page.try_to_write_report(two_strategies)
    assert "The report could not be written: AttributeError: 'RunResult' object has no attribute" in caplog.text
