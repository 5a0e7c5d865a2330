"""work_ahead: the next images are annotated while a loop trains; a fake plays the network, a function the person."""

from __future__ import annotations

import functools
import math
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import maskAL
from active_learning import loop as loop_module
from active_learning.acquisition import acquire
from active_learning.annotating import waiting
from active_learning.annotations import Annotation
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.loop import ActiveLearningLoop
from active_learning.network import pre_labelling, prediction, training
from active_learning.report.page import certainties
from active_learning.report.runs import read_runs
from active_learning.run.data import RunData
from active_learning.run.lock import only_annotated_here
from active_learning.run.output_files import read_network, read_pool_scores
from active_learning.run.state import RunState
from active_learning.run.status import describe_status
from active_learning.settings import Settings
from tests.active_learning.conftest import annotated_image
from tests.active_learning.test_loop import FakeNetwork, StopError, changed, number_in


class StaleNetwork(FakeNetwork):
    """Its certainties differ from training to training, so that it matters which network chose."""

    def score_images(self, config, weights: Path, folder: Path, images: list[str], **options):
        self.stop("choose")
        number = int(weights.read_text(encoding="utf-8"))
        values = {name: (number_in(name) * (3 + 4 * number) % 17) / 17 for name in images}
        return {name: self.make_record(name, [value] * self.sees) for name, value in values.items()}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, make_record: Callable) -> FakeNetwork:
    fake = StaleNetwork(make_record)
    fake.install(monkeypatch)
    monkeypatch.setattr(loop_module, "try_to_write_report", fake.reports.append)
    monkeypatch.setattr("active_learning.run.run.start_log", lambda path: None)
    for name in ("POLL_SECONDS", "ANSWER_POLL_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.05)
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.3)
    return fake


@dataclass
class Person:
    """Keeps the annotations that there are, and puts one beside each copy in the annotate folder when asked to work."""

    folder: Path
    answers: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob("*.json")):
            self.answers[path.stem] = path.read_bytes()
            path.unlink()

    @property
    def annotate(self) -> Path:
        return self.folder / "annotate"

    @property
    def waiting(self) -> list[str]:
        """Images that lie there without an annotation."""
        return sorted(p.name for p in self.annotate.glob("*.png") if not p.with_suffix(".json").exists())

    def work(self, most: int = 100) -> list[str]:
        done = self.waiting[:most]
        for name in done:
            stem = name.removesuffix(".png")
            (self.annotate / f"{stem}.json").write_bytes(self.answers[stem])
        return done


@pytest.fixture
def ahead(settings: Settings) -> Settings:
    return changed(settings, {"work_ahead": True, "loops": 3})


def start(settings: Settings, *, wait: bool = False, **options) -> ActiveLearningLoop:
    loop = ActiveLearningLoop(settings, settings.experiments()[0], wait=wait, **options)
    maskAL.run_experiment(loop)
    return loop


def go(settings: Settings, work: Callable[[], object] = lambda: None) -> ActiveLearningLoop:
    """Starts again and again, `work` in between."""
    for _ in range(12):
        try:
            return start(settings)
        except (AnnotationsAwaited, StopError):
            work()
    raise AssertionError("the run does not come to its end")


def state_of(settings: Settings) -> RunState:
    return RunState.load(settings.resultsroot / "exp1" / settings.strategy[0] / "run_state.json")


def while_training(monkeypatch: pytest.MonkeyPatch, network: FakeNetwork, act: Callable[[int], object]) -> None:
    """`act` gets the number of the loop that trains."""
    train = network.train

    def acts(*arguments, best_model: Path, **options):
        act(int(best_model.stem[-3:]))
        return train(*arguments, best_model=best_model, **options)

    monkeypatch.setattr(training, "train", acts)


def test_the_next_images_lie_there_while_a_loop_trains(ahead, network, monkeypatch):
    person, seen = Person(ahead.traindir), []
    while_training(monkeypatch, network, lambda loop: seen.append((loop, person.work())))
    with pytest.raises(AnnotationsAwaited):
        start(ahead)  # the initial images
    person.work()
    with pytest.raises(AnnotationsAwaited):
        start(ahead)  # the first that a network chose: nothing is there to be annotated before
    person.work()
    loop = start(ahead)  # from here on the person works while a loop trains, and is never waited for
    state = loop.run.state
    assert [loop for loop, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == seen[3][1] == []
    assert [len(images) for _, images in seen[1:3]] == [3, 3]
    assert sorted(state.train_images[7:10]) == seen[1][1]
    assert sorted(state.train_images[10:]) == seen[2][1]
    assert [row.train_size for row in state.history] == [4, 7, 10, 13]
    assert not person.annotate.exists()


def test_each_batch_is_chosen_by_the_network_of_one_training_before(ahead, network):
    loop = start(ahead)
    files, state = loop.run.files, loop.run.state
    assert [read_network(files.train_files(number)) for number in range(4)] == [None, None, 0, 1]
    line = files.train_files(2).read_text(encoding="utf-8").splitlines()[7]
    assert line.startswith(state.train_images[7]) and line.endswith(", network 0")
    scores = [read_pool_scores(files.pool_scores(number)) for number in range(2)]
    assert [len(values) for values in scores] == [10, 4]  # of the second network what the first two batches have left
    assert not files.pool_scores(2).exists()  # nothing comes after that it could choose
    by_certainty = sorted(scores[0], key=lambda name: (scores[0][name], name))
    assert state.train_images[4:10] == by_certainty[:6]
    (run,) = read_runs(files.results.parent)
    shown = certainties([run])
    assert [(one.loop, len(one.pool), len(one.chosen)) for one in shown] == [(0, 10, 6), (1, 4, 3)]
    assert network.explained == [state.train_images[at : at + 3] for at in (4, 7, 10)]


@pytest.mark.parametrize("strategy", ["random", "uncertainty", "class_balanced", "coreset"])
def test_the_first_choice_is_that_without_and_random_all_choices(settings, network, strategy):
    plain = changed(settings, {"loops": 3, "strategy": strategy})
    images = start(plain).run.state.train_images
    network.carried_ap.clear()
    ahead = changed(plain, {"work_ahead": True, "experiment_name": "ahead"})
    same = 13 if strategy == "random" else 7
    assert start(ahead).run.state.train_images[:same] == images[:same]


STOPS = {
    "training": (training, "train"),
    "scoring the pool": (acquire, "score_images"),
    "explaining": (acquire, "explain_images"),
    "putting the images there": (RunData, "request_ahead"),
    "requesting": (RunData, "request_annotations"),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("module", "name"), STOPS.values(), ids=STOPS)
def test_a_run_that_stops_anywhere_chooses_the_same(ahead, network, monkeypatch, module, name, moment):
    person = Person(ahead.traindir)
    expected = go(ahead, person.work).run
    wanted = expected.state.train_images, expected.files.train_files(3).read_text(encoding="utf-8")
    for path in ahead.traindir.glob("*.json"):
        path.unlink()
    network.carried_ap.clear()
    again, calls = changed(ahead, {"experiment_name": "again"}), []
    function = getattr(module, name)

    def stops(*arguments, **options):
        calls.append(None)
        stop = math.isqrt(len(calls)) ** 2 == len(calls)  # at the calls 1, 4, 9, ...
        if stop and moment == "before":
            raise StopError
        result = function(*arguments, **options)
        if stop:
            network.carried_ap[:] = network.carried_ap[:-1] if name == "train" else network.carried_ap
            raise StopError
        return result

    monkeypatch.setattr(module, name, stops)
    run = go(again, person.work).run
    assert (run.state.train_images, run.files.train_files(3).read_text(encoding="utf-8")) == wanted
    assert len(calls) > 2


def test_without_waiting_it_trains_as_long_as_it_can(ahead, network):
    """Each start but the first two trains what was handed in, and only then exits for more."""
    person, trained = Person(ahead.traindir), []
    for _ in range(5):
        try:
            start(ahead)
        except AnnotationsAwaited:
            trained.append(len(network.carried_ap))
            person.work()
    assert trained == [0, 1, 2, 3]
    assert state_of(ahead).phase == "finished"


def test_nothing_to_annotate_is_no_wait(ahead, network):
    """All annotations are there: as in a comparison of strategies."""
    loop = start(ahead, wait=True)
    assert [row.train_size for row in loop.run.state.history] == [4, 7, 10, 13]
    assert all(row.waiting == (0, 0) for row in loop.run.state.history)
    assert "waited" not in loop.run.table_of_loops()


@pytest.mark.parametrize("annotated", [0, 2, 3])
def test_a_run_that_ends_collects_what_was_annotated_ahead(ahead, network, monkeypatch, caplog, annotated):
    """And goes on with these images where more loops are asked for later."""
    person = Person(ahead.traindir)
    while_training(monkeypatch, network, lambda loop: person.work(annotated) if loop == 1 else None)
    stopping = changed(ahead, {"target_map": 40})
    with caplog.at_level("INFO"):
        state = go(stopping, person.work).run.state
    assert "has reached target_map" in state.why_finished
    assert [row.train_size for row in state.history] == [4, 7]
    assert len(state.ahead) == 3 and not set(state.ahead) & set(state.train_images)
    assert f"{annotated} annotation" in caplog.text
    assert f"{3 - annotated} image" in caplog.text
    beside = [name for name in state.ahead if (ahead.traindir / name).with_suffix(".json").exists()]
    assert len(beside) == annotated
    assert len(person.waiting) == 3 - annotated
    with only_annotated_here(ahead.traindir, wait=False) as is_free:
        assert is_free
    images = go(ahead, person.work).run.state.train_images
    assert images[7:10] == list(state.ahead)


def test_pre_labels_that_nobody_has_seen_are_left_where_they_are(ahead, network, monkeypatch):
    install_pre_labels(monkeypatch)
    person, stopping = Person(ahead.traindir), changed(ahead, {"auto_annotate": True, "target_map": 40})

    def confirm() -> None:
        person.work()
        (person.annotate / "DONE").touch()

    state = go(stopping, confirm).run.state
    assert [(ahead.traindir / name).with_suffix(".json").exists() for name in state.ahead] == [False] * 3
    assert len(list(person.annotate.glob("*.json"))) == 3


def install_pre_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "load_network", lambda config, weights: weights)
    monkeypatch.setattr(
        pre_labelling,
        "PreLabeller",
        lambda model, config, classes: lambda folder, names: [Annotation(name, 24, 32) for name in names],
    )


def test_pre_labels_are_confirmed_while_a_loop_trains(ahead, network, monkeypatch):
    """A kill and a new start in between leave DONE to the images that it is of."""
    install_pre_labels(monkeypatch)
    person, settings = Person(ahead.traindir), changed(ahead, {"auto_annotate": True, "loops": 2})
    done = person.annotate / "DONE"

    def correct(loop: int) -> None:
        if loop == 1:
            assert len(list(person.annotate.glob("*.json"))) == 3
            done.touch()
            if network.stop_at:
                network.stop("train")

    while_training(monkeypatch, network, correct)
    with pytest.raises(AnnotationsAwaited):
        start(settings)
    person.work()
    with pytest.raises(AnnotationsAwaited, match="pre-labelled, to be corrected"):
        start(settings)
    done.touch()
    network.stop_at = "train"
    with pytest.raises(StopError):
        start(settings)
    assert done.exists()
    state = start(settings).run.state
    assert [row.train_size for row in state.history] == [4, 7, 10]
    assert not person.annotate.exists()


def test_pre_labels_without_a_confirmation_are_awaited(ahead, network, monkeypatch):
    install_pre_labels(monkeypatch)
    person, settings = Person(ahead.traindir), changed(ahead, {"auto_annotate": True, "loops": 2})
    exits = 0
    while state_of(settings).phase != "finished" if exits else True:
        try:
            start(settings)
        except AnnotationsAwaited:
            exits += 1
            person.work()
            (person.annotate / "DONE").touch()
    assert exits == 3


@pytest.mark.parametrize("to", [True, False])
def test_it_is_switched_in_the_middle(ahead, network, monkeypatch, caplog, to):
    person, now = Person(ahead.traindir), {"settings": changed(ahead, {"work_ahead": not to})}

    def switch(loop: int) -> None:
        if loop == 1:
            now["settings"] = changed(ahead, {"work_ahead": to})

    while_training(monkeypatch, network, switch)
    with caplog.at_level("INFO"):
        for _ in range(9):
            try:
                run = start(now["settings"], read_settings=lambda **_: now["settings"]).run
                break
            except AnnotationsAwaited:
                person.work()
    assert [row.train_size for row in run.state.history] == [4, 7, 10, 13]
    networks = [read_network(run.files.train_files(number)) for number in range(4)]
    assert networks == ([None, None, None, 1] if to else [None, None, 0, None])
    line = f"work_ahead: {not to} -> {to}"
    assert (f"{line} (the images of loop 2 are chosen already: they stay)" in caplog.text) is not to


def test_a_batch_that_was_chosen_stays_when_its_size_is_changed(ahead, network, monkeypatch, caplog):
    person, now = Person(ahead.traindir), {"settings": ahead}

    def edit(loop: int) -> None:
        if loop == 1:
            now["settings"] = changed(ahead, {"pool_size": 2, "mcd_iterations": 3, "learning_rate": 0.002})

    while_training(monkeypatch, network, edit)
    with caplog.at_level("INFO"):
        for _ in range(9):
            try:
                state = start(now["settings"], read_settings=lambda **_: now["settings"]).run.state
                break
            except AnnotationsAwaited:
                person.work()
    assert [row.train_size for row in state.history] == [4, 7, 10, 12]
    assert "pool_size: 3 -> 2 (the images of loop 2 are chosen already: they stay)" in caplog.text
    assert "learning_rate: 0.01 -> 0.002\n" in caplog.text


@pytest.mark.parametrize("taken", [1, 3])
def test_images_that_are_taken_away_are_left_out(ahead, network, monkeypatch, taken):
    person, gone = Person(ahead.traindir), []

    def take_away(loop: int) -> None:
        if loop == 1 and not gone:
            gone.extend(person.waiting[:taken])
            for name in gone:
                (ahead.traindir / name).unlink()
                (person.annotate / name).unlink()
            raise StopError

    while_training(monkeypatch, network, take_away)
    state = go(ahead, person.work).run.state
    assert [row.train_size for row in state.history] == [4, 7, 10 - taken, 13 - taken]


def test_new_images_join_the_pool_of_the_next_choice(ahead, network, monkeypatch):
    while_training(monkeypatch, network, lambda loop: annotated_image(ahead.traindir / "00_new.png"))
    assert "00_new.png" in start(changed(ahead, {"loops": 3})).run.state.train_images


def test_a_pool_that_is_chosen_to_the_end(ahead, network):
    loop = start(changed(ahead, {"pool_size": 5, "loops": 5}))
    assert [row.train_size for row in loop.run.state.history] == [4, 9, 14]
    assert "the pool is empty" in loop.run.state.why_finished


def test_a_network_that_sees_nothing_is_no_reason_to_end_before_it_is_trained(ahead, network, monkeypatch, caplog):
    score, blind = network.score_images, []

    def score_images(config, weights, folder, images, **options):
        records = score(config, weights, folder, images, **options)
        blind.append(len(blind) == 1)
        return {name: network.make_record(name) for name in records} if blind[-1] else records

    monkeypatch.setattr(acquire, "score_images", score_images)
    with caplog.at_level("INFO"):
        state = start(ahead).run.state
    assert [row.train_size for row in state.history] == [4, 7, 10, 13]
    assert "No images are chosen ahead for loop 2: the network sees nothing" in caplog.text


def test_the_drive_of_the_images_goes_while_a_loop_trains(ahead, network, monkeypatch, tmp_path):
    person, away = Person(ahead.traindir), tmp_path / "away"

    def disconnect(loop: int) -> None:
        if loop == 1 and not away.exists():
            ahead.traindir.rename(away)

    while_training(monkeypatch, network, disconnect)
    with pytest.raises(MaskALError, match="is its drive connected"):
        for _ in range(9):
            try:
                start(ahead)
            except AnnotationsAwaited:
                person.work()
    away.rename(ahead.traindir)
    away.mkdir()
    state = go(ahead, person.work).run.state
    assert [row.train_size for row in state.history] == [4, 7, 10, 13]


def test_another_run_does_not_get_the_folder_while_images_lie_there(ahead, network, monkeypatch):
    person, free = Person(ahead.traindir), []

    def look(loop: int) -> None:
        with only_annotated_here(ahead.traindir, wait=False) as is_free:
            free.append(is_free)

    while_training(monkeypatch, network, look)
    go(ahead, person.work)
    assert free == [True, False, False, True]


def test_the_folder_of_another_run_is_no_reason_to_wait_with_training(ahead, network, monkeypatch, caplog):
    person = Person(ahead.traindir)
    with pytest.raises(AnnotationsAwaited):
        start(ahead)
    person.work()
    with pytest.raises(AnnotationsAwaited):
        start(ahead)
    for name in person.waiting:  # beside the images, so that nothing is awaited
        (ahead.traindir / name).with_suffix(".json").write_bytes(person.answers[name.removesuffix(".png")])
    with (
        only_annotated_here(ahead.traindir, wait=False),
        caplog.at_level("INFO"),
        pytest.raises(AnnotationsAwaited, match="Another run has images annotated"),
    ):
        start(ahead)
    assert len(network.carried_ap) == 2
    assert "those of the next loop come later" in caplog.text
    assert [row.train_size for row in go(ahead, person.work).run.state.history] == [4, 7, 10, 13]


TOOL = """
import pathlib, sys, time
folder, log = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[1])
with log.open("a") as stream:
    stream.write("opened\\n")
while not (folder / "DONE").exists():
    for image in folder.glob("*.png"):
        answer = log.parent / f"{image.stem}.answer"
        if not image.with_suffix(".json").exists():
            image.with_suffix(".json").write_bytes(answer.read_bytes())
            last = time.monotonic()
    if len(list(folder.glob("*.png"))) == len(list(folder.glob("*.json"))):
        break
    time.sleep(0.05)
time.sleep(0.5)
with log.open("a") as stream:
    stream.write("closed\\n")
"""


@pytest.mark.timeout(120)
def test_the_tool_is_open_while_a_loop_trains_and_closing_it_hands_in(ahead, network, monkeypatch, tmp_path, caplog):
    person, script, log = Person(ahead.traindir), tmp_path / "tool.py", tmp_path / "tool.txt"
    script.write_text(TOOL, encoding="utf-8")
    for stem, content in person.answers.items():
        (tmp_path / f"{stem}.answer").write_bytes(content)
    opened = []
    while_training(monkeypatch, network, lambda loop: opened.append((loop, wait_for_lines(log, loop + 2))))
    settings = changed(ahead, {"annotator": shlex.join([sys.executable, str(script), str(log)]), "loops": 2})
    with caplog.at_level("INFO"):
        state = start(settings, wait=True).run.state
    assert [row.train_size for row in state.history] == [4, 7, 10]
    assert log.read_text(encoding="utf-8").split() == ["opened", "closed"] * 3  # for each batch once
    assert opened == [(0, 1), (1, 3), (2, 3)]
    assert "When you are finished, close the annotation tool, or put an empty file there" in caplog.text


def wait_for_lines(log: Path, most: int) -> int:
    """How often the tool has been opened, once it had time for it."""
    deadline = time.monotonic() + 3
    while (count := log.read_text(encoding="utf-8").count("opened")) < most and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


@pytest.mark.timeout(60)
def test_the_last_image_may_still_be_worked_at_when_the_training_ends(ahead, network, monkeypatch, caplog):
    person, settings = Person(ahead.traindir), changed(ahead, {"loops": 2})
    while_training(monkeypatch, network, lambda loop: person.work() if loop == 1 else None)
    with pytest.raises(AnnotationsAwaited):
        start(settings)
    person.work()
    with pytest.raises(AnnotationsAwaited):
        start(settings)
    person.work()
    monkeypatch.setattr(waiting, "_age_of_newest", lambda *_: 0.0)  # on a machine of any speed
    with caplog.at_level("INFO"):
        start(settings, wait=True)
    text = "All images are annotated. MaskAL goes on when no file has changed for 0.3 seconds."
    assert caplog.text.count(text) == 2  # those of loop 1 at the start, those of loop 2 after its training


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day of a run, in minutes; files bear that of this machine."""
    now = [1000.0]
    monkeypatch.setattr("active_learning.run.run.time.time", lambda: now[0] * 60)
    monkeypatch.setattr(RunData, "last_saved", lambda *_: now[0] * 60)
    return now


def test_how_long_each_side_waited(ahead, network, monkeypatch, clock):
    """Trainings take 10 minutes; the person starts at once: 7 minutes for the first images, 4 and 25 for later ones."""
    person = Person(ahead.traindir)

    def later(minutes: float, work: bool) -> None:
        clock[0] += minutes
        if work:
            person.work()

    while_training(monkeypatch, network, lambda loop: later(10, work=loop == 1))
    for minutes in (7, 4, 25, None):
        try:
            start(ahead)
        except AnnotationsAwaited:
            status = describe_status(ahead)
            later(minutes, work=True)
    waits = [row.waiting for row in state_of(ahead).history]
    # Loop 1: 10 while loop 0 trained. Loop 2: put at once, and annotated while loop 1 trained. Loop 3: put when that
    # was over; 25 minutes, 10 of them while loop 2 trained.
    assert waits == [(0, 7), (10, 4), (0, 0), (0, 25)]
    assert "The computer has waited 0 minutes for the images of loop 3." in status


def test_the_table_and_the_status_show_the_waiting(ahead, network, clock):
    person = Person(ahead.traindir)

    def work() -> None:
        clock[0] += 6
        person.work()

    loop = go(ahead, work)
    header, _, *rows = loop.run.table_of_loops().splitlines()
    assert header.split()[-4:] == ["person", "waited", "computer", "waited"]
    assert rows[0].split()[-2:] == ["0.0", "6.0"]
    assert "computer waited" in describe_status(ahead)


def test_the_status_counts_the_images_of_the_next_loop(ahead, network, monkeypatch):
    person, status = Person(ahead.traindir), []

    def look(loop: int) -> None:
        person.work(1)
        status.append(describe_status(ahead))

    while_training(monkeypatch, network, look)
    go(ahead, person.work)
    assert "chosen ahead" not in status[0]
    assert "3 images of loop 2, chosen ahead: 1 annotated, 2 missing" in status[1]


def test_lists_of_experiments_take_turns(ahead, network, tmp_path):
    network.aps *= 3
    settings = changed(ahead, {"strategy": ["uncertainty", "random"], "loops": 2})
    person = Person(ahead.traindir)
    for experiment in settings.experiments():
        run = functools.partial(ActiveLearningLoop, settings, experiment, wait=False)
        for _ in range(9):
            try:
                loop = run()
                maskAL.run_experiment(loop)
                break
            except AnnotationsAwaited:
                person.work()
        assert loop.finished
