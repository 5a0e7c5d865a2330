"""Kind 8: every value of every file that a run reads again is checked; a wrong one is named with its file and field."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from active_learning.acquisition.explanation import read_explanations
from active_learning.acquisition.record_files import read_records
from active_learning.errors import MaskALError
from active_learning.run import lock
from active_learning.run.data_seen import DataSeen
from active_learning.run.output_files import read_pool_scores, read_train_files
from active_learning.run.state import RunState
from active_learning.system.own_files import OwnFiles
from active_learning.system.written_files import RECORD

EARLIER = Path(__file__).parent / "data" / "earlier_run"
MISSING = "<missing>"
WRONG = [
    *(MISSING, None, True, False, -1, 0.5, 10**30, 10**400, 1e300, math.nan, math.inf, -math.inf),
    *("", "unknown", "../../x", "a\ud800", "a\nb", "x" * 20_000, [], {}, [None], {"a": None}, [[]]),
]
VALUES = st.sampled_from(WRONG) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
EXPLANATION = {
    "image": "a.png",
    "certainty": 0.2,
    "mode": "mean",
    "passes": 4,
    "height": 96,
    "width": 64,
    "objects": [
        {
            **dict.fromkeys(("semantic", "mask", "box", "occurrence", "certainty"), 0.5),
            "boxes": [[1.0, 2.0, 3.0, 4.0]],
            "votes": {"disc": 1},
            "passes": [0],
        }
    ],
    "picture": "00.jpg",
    "spread": "00_spread.png",
}


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value stands, containers included."""
    if at:
        yield at
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in pairs:
        yield from places(value, (*at, key))


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    document = holder = copy.deepcopy(document)
    for step in place[:-1]:
        holder = holder[step]
    if isinstance(value, str) and value == MISSING:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return document


def value_at(document: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        document = document[step]
    return document


def of_a_kind(value: Any, before: Any) -> bool:
    """Whether a value that was taken can be what it stands for: same type, no number out of this world."""
    if value is None or before is None:  # null stands for NaN, and for settings that are not set
        return True
    numbers = (int, float)
    if isinstance(before, numbers) and type(before) is not bool:
        return (
            isinstance(value, numbers)
            and type(value) is not bool
            and value not in (math.inf, -math.inf)
            and value == value
        )
    return type(value) is type(before)


def check(document: Any, place: tuple[Any, ...], value: Any, read: Callable[[Any], object], name: str) -> None:
    """Reading the changed document ends in an error that names file and field, or takes a value of the same kind."""
    before = value_at(document, place)
    try:
        read(changed(document, place, value))
    except MaskALError as error:
        assert name in str(error)
        fields = [str(step) for step in place if isinstance(step, str)]
        named = fields if place != ("format",) else ["maskal pool records 1"]
        assert not named or any(field in str(error) for field in named), (place, str(error))
        assert len(str(error)) < 1500
        return
    if value == MISSING:
        parts = {
            "settings",
            "experiment",
            "objects",
            "train_objects",
            "conditions",
            "votes",
            "chosen",
            "annotations",
            "train",
            "val",
            "test",
        }
        assert parts & set(place) or isinstance(place[-1], int), place
    elif place[0] not in ("settings", "conditions"):  # they are compared with today's: whatever differs is reported
        assert of_a_kind(value, before), (place, value)


def fast(function: Any) -> Any:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=400, deadline=None, suppress_health_check=checks)(function)


STATE = json.loads((EARLIER / "run_state.json").read_text(encoding="utf-8"))
STATE["experiment"] = {"label": "uncertainty", "strategy": "uncertainty", "seed": 1, "mode": "mean", "pool_sizes": [3]}


@pytest.fixture
def read_state(tmp_path: Path) -> Callable[[Any], RunState]:
    def read(document: Any) -> RunState:
        path = tmp_path / "run_state.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        state = RunState.load(path)
        state.check_going_on(path)
        return state

    return read


def test_every_value_of_a_state_is_checked(read_state: Callable[[Any], RunState]) -> None:
    read_state(STATE)
    for place in places(STATE):
        for value in WRONG:
            check(STATE, place, value, read_state, "run_state.json")


@fast
@given(place=st.sampled_from(list(places(STATE))), value=VALUES)
@example(place=("experiment", "strategy"), value="unknown")
@example(place=("phase",), value="unknown")
@example(place=("loop",), value=7)
@example(place=("settings", "traindir"), value=5)
def test_any_value_of_a_state(read_state: Callable[[Any], RunState], place: tuple[Any, ...], value: Any) -> None:
    check(STATE, place, value, read_state, "run_state.json")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("phase",), "unknown"),
        (("phase",), "finished"),
        (("loop",), 2),
        (("loop",), 0),
        (("best_ap",), math.nan),
        (("best_ap",), 101),
        (("train_size",), -1),
        (("train_minutes",), math.inf),
        (("classes",), []),
        (("classes", 0), "unknown"),
        (("train_images", 0), "/etc/passwd"),
        (("train_images", 0), "train00.png"),
        (("train_images", 8), MISSING),
        (("chosen", "train03.png"), 2),
        (("history",), []),
        (("history", 0, "mask_ap"), -5),
        (("history", 0, "per_class", "disc"), MISSING),
        (("history", 0, "objects", "disc"), MISSING),
        (("train_objects", "disc"), 0.5),
        (("settings", "loops"), "many"),
        (("settings", "dropout_probability", 0), math.nan),
        (("settings", "learning_rate"), -1),
        (("experiment", "strategy"), "unknown"),
        (("experiment", "seed"), MISSING),
        (("experiment", "mode"), "median"),
        (("ahead",), {"train03.png": 0.5}),
        (("ahead",), {"/etc/passwd": 0.5}),
        (("ahead",), {"new.png": 2}),
        (("chosen_ahead",), 1),
        (("chosen_ahead",), True),
        (("times",), {"put": -1.0}),
        (("times_ahead",), []),
        (("history", 0, "person_minutes"), "long"),
        (("version",), 2),
        (("version",), MISSING),
    ],
    ids=str,
)
def test_these_are_never_taken(read_state: Callable[[Any], RunState], place: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(MaskALError, match=r"run_state\.json: .*--fresh") as caught:
        read_state(changed(STATE, place, value))
    assert any(str(field) in str(caught.value) for field in place) or place == ("train_images", 8)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"version": 1' + b"0" * 5000 + b"}", b"null"]
)
def test_a_state_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run_state.json").write_bytes(content)
    with pytest.raises(MaskALError, match=r"run_state\.json: .*--fresh"):
        RunState.load(tmp_path / "run_state.json")
    (tmp_path / "run_state.json").unlink()
    (tmp_path / "run_state.json").mkdir()
    with pytest.raises(MaskALError, match=r"run_state\.json: cannot be read.*Is a directory"):
        RunState.load(tmp_path / "run_state.json")


SEEN = json.loads((EARLIER / "data_seen.json").read_text(encoding="utf-8"))


@fast
@given(place=st.sampled_from(list(places(SEEN))), value=VALUES)
def test_any_value_of_what_was_seen(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    def read(document: Any) -> None:
        (tmp_path / "data_seen.json").write_text(json.dumps(document), encoding="utf-8")
        DataSeen(tmp_path / "data_seen.json").images("train")

    check(SEEN, place, value, read, "data_seen.json")


LINES = (EARLIER / "pool_records000.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("number", [0, 1])
def test_every_value_of_a_pool_record_is_checked(tmp_path: Path, number: int) -> None:
    document = json.loads(LINES[number])

    def read(changed: Any) -> None:
        lines = [json.dumps(changed) if index == number else line for index, line in enumerate(LINES)]
        (tmp_path / "pool_records000.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        read_records(tmp_path / "pool_records000.jsonl")

    read(document)
    for place in places(document):
        for value in (*WRONG, "AAA", "AHw=", "AH4AfAB8"):  # not base64; infinity and NaN in half precision
            if place != ("features",) or value not in ("unknown", ""):
                check(document, place, value, read, f"pool_records000.jsonl: {'line 1' if number == 0 else ''}")


@fast
@given(place=st.sampled_from(list(places([EXPLANATION]))), value=VALUES)
@example(place=(0, "picture"), value="../../../etc/passwd")
def test_any_value_of_an_explanation(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    def read(document: Any) -> None:
        (tmp_path / "why.json").write_text(json.dumps(document), encoding="utf-8")
        for one in read_explanations(tmp_path):
            assert ".." not in one.picture + one.spread
            assert isinstance(one.lowest_part, str)

    if len(place) == 1 and value == MISSING:
        return  # no explanation is less than one
    check([EXPLANATION], place, value, read, "why.json")


TEXT = st.text(max_size=8) | st.sampled_from(["nan", "-1", "2", "inf", "1e999", "0.5 0.5", "../up", "/root", ""])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=TEXT, comma=st.sampled_from([", ", ",", ""]), value=TEXT)
def test_any_line_of_a_list(tmp_path: Path, name: str, comma: str, value: str) -> None:
    path = tmp_path / "list.csv"
    for read in (read_pool_scores, read_train_files):
        path.write_bytes(f"a.png, 0.5\n{name}{comma}{value}\nb, c.png, NaN\n".encode())
        try:
            found = list(read(path))
        except MaskALError as error:
            assert re.match(rf"{path}: line \d+: ", str(error))
        else:
            assert {"a.png", "b, c.png"} <= set(found)
            assert all(one and not one.startswith("/") and ".." not in Path(one).parts for one in found)


NO_LINES = [
    ("c.png, 2", "is no certainty from 0 to 1, nor NaN"),
    ("c.png, -1", "is no certainty"),
    ("c.png, inf", "is no certainty"),
    ("c.png, x", "is not `name, value`"),
    ("../c.png, 0.5", "is no name of an image"),
    ("a.png, 0.5", "'a.png' is listed twice"),
    (", 1", "is no name of an image"),
]


@pytest.mark.parametrize(("line", "words"), NO_LINES)
def test_lines_that_are_never_taken(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"a.png, 0.5\n{line}\n", encoding="utf-8")
    for read in (read_pool_scores, read_train_files):
        with pytest.raises(MaskALError, match=rf"list\.csv: line 2: .*{words}.*; (delete the file|start from)"):
            read(path)
    path.write_bytes(b"a.png, 0.5\n\xff, 0.5\n")
    with pytest.raises(MaskALError, match=r"list\.csv: byte 11 is not UTF-8"):
        read_train_files(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
@example(value=["../outside.json", "a.png", "0" * 64])
@example(value=5)
def test_any_line_of_the_record_of_own_files(tmp_path: Path, value: Any) -> None:
    """Files are removed by it: one that it cannot name is a person's."""
    folder = tmp_path / "annotate"
    folder.mkdir(exist_ok=True)
    (tmp_path / "outside.json").write_text("{}")
    (folder / RECORD).write_text(json.dumps(value) + "\n", encoding="utf-8")
    own = OwnFiles(folder)
    assert not own.is_untouched(tmp_path / "outside.json")
    own.remove(["a.png"])
    assert (tmp_path / "outside.json").exists()


@pytest.mark.parametrize("pid", [*WRONG[1:], 2**31, -(2**40)], ids=str)
def test_any_holder_of_a_lock(pid: Any) -> None:
    assert lock._has_died({"host": lock.socket.gethostname(), "pid": pid}) in (True, False)
