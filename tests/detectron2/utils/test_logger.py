"""The log's set-up, repeated messages, small tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from detectron2.utils import logger as d2_logger
from detectron2.utils.logger import (
    create_class_table,
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A logger of this test's own, emptied at the end."""
    name = f"test_logger_{abs(hash(request.node.nodeid))}"
    yield name
    log = logging.getLogger(name)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def test_folder_gets_a_log_file(tmp_path: Path, name: str) -> None:
    setup_logger(str(tmp_path / "out"), name=name, abbrev_name="short", configure_stdout=False)
    logging.getLogger(name + ".part").warning("careful")
    logging.getLogger(name).info("fine")
    lines = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("WARNING [")
    assert lines[0].endswith("short.part]: careful")
    assert lines[1].endswith("short]: fine")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("output", "rank", "file"),
    [("x/run.log", 0, "x/run.log"), ("x/run.txt", 2, "x/run.txt.rank2"), ("x", 1, "x/log.txt.rank1")],
    ids=["file", "file-of-rank-2", "folder-of-rank-1"],
)
def test_file_names(tmp_path: Path, name: str, output: str, rank: int, file: str) -> None:
    setup_logger(str(tmp_path / output), rank, name=name, configure_stdout=False).info("hello")
    assert "hello" in (tmp_path / file).read_text(encoding="utf-8")


def test_setting_up_again_adds_nothing(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        setup_logger(name=name, color=False)
        log = setup_logger(str(tmp_path), name=name, color=False)
    log.info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("once") == 1


def test_other_ranks_are_silent(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(distributed_rank=1, name=name).info("quiet")
    assert capsys.readouterr().out == ""


def test_colour_and_propagation(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # termcolor itself decides once a process whether there are colours
    monkeypatch.setattr("detectron2.utils.logger.colored", lambda text, *_, **__: f"\x1b[31m{text}")
    log = setup_logger(name=name, enable_propagation=True)
    assert log.propagate
    log.error("bad")
    assert "\x1b[" in capsys.readouterr().out


def test_first_n_counts_by_line(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        log_first_n(logging.WARNING, "here", 2)
        log_first_n(logging.WARNING, "there")
    assert caplog.messages == ["here", "there", "here"]
    assert {record.name for record in caplog.records} == {__name__}


def test_first_n_counts_by_message(caplog: pytest.LogCaptureFixture) -> None:
    for text in ("a", "b", "a", "b"):
        log_first_n(logging.WARNING, text, key="message")
    for text in ("a", "b", "a", "b"):
        log_first_n(logging.WARNING, text, key=("caller", "message"), name="elsewhere")
    assert caplog.messages == ["a", "b", "a", "b"]
    assert caplog.records[-1].name == "elsewhere"
    with pytest.raises(ValueError, match="colour"):
        log_first_n(logging.WARNING, "x", key="colour")


def test_every_n_seconds(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (100.0, 101.0, 104.9, 105.0, 106.0):
        monkeypatch.setattr(d2_logger.time, "monotonic", lambda now=now: now)
        log_every_n_seconds(logging.WARNING, f"{now}", 5)
    assert caplog.messages == ["100.0", "105.0"]


def test_every_nth_call_of_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(7):
        log_every_n(logging.WARNING, f"{number}", 3)
        log_every_n(logging.ERROR, f"all {number}")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == ["0", "3", "6"]
    assert len(caplog.messages) == 3 + 7


def test_small_table() -> None:
    lines = create_small_table({"AP": 41.23456, "AP50": 60.0}).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == ["AP", "AP50"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["41.235", "60.000"]


def test_class_table_has_three_classes_a_row() -> None:
    lines = create_class_table([("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 0.5)], "AP", floatfmt=".1f").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["category", "AP"] * 3
    assert cells[2:] == [["a", "1.0", "b", "2.0", "c", "3.0"], ["d", "0.5", "", "", "", ""]]
