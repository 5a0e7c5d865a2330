from __future__ import annotations

import errno
import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.system.exit_code import exit_code_of
from active_learning.system.log import log_to_file, log_traceback, logger, mute_log, print_note, start_log


def test_our_lines_go_to_the_terminal_plain_and_to_the_file_with_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    start_log(tmp_path / "run" / "maskAL.log")
    logger.info("Loop %d", 1)
    logging.getLogger("active_learning.acquisition.pool_scoring").warning("a.png: cannot be read")
    assert capsys.readouterr().out == "Loop 1\na.png: cannot be read\n"
    lines = (tmp_path / "run" / "maskAL.log").read_text(encoding="utf-8").splitlines()
    assert [line[19:] for line in lines] == [" INFO Loop 1", " WARNING a.png: cannot be read"]


def test_of_the_engine_only_warnings_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture):
    start_log(tmp_path / "maskAL.log")
    logging.getLogger("detectron2.data").info("details")
    logging.getLogger("detectron2.checkpoint").warning("no such weight")
    logging.getLogger("detectron2.evaluation.coco_evaluation").warning("no predictions")
    captured = capsys.readouterr()
    assert captured.out + captured.err == "no such weight\n"
    log = (tmp_path / "maskAL.log").read_text(encoding="utf-8")
    assert [line[19:] for line in log.splitlines()] == [" WARNING no such weight"]
    engine = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert all(words in engine for words in ("details", "no such weight", "no predictions"))


def test_what_is_no_text_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file name that is not UTF-8; a terminal that shows fewer characters than there are."""
    terminal = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(terminal, encoding="ascii", write_through=True))
    assert exit_code_of(print, "caf\udce9 ä") == 0
    assert terminal.getvalue() == rb"caf\udce9 \xe4" + b"\n"
    start_log(tmp_path / "maskAL.log")
    logger.warning("caf\udce9 ä")
    assert (tmp_path / "maskAL.log").read_text(encoding="utf-8").endswith("caf\\udce9 ä\n")


def test_files_hold_no_colours(tmp_path: Path):
    start_log(tmp_path / "maskAL.log")
    logging.getLogger("detectron2.data").info("\x1b[36m| healthy | 71 |\x1b[0m")
    assert (tmp_path / "engine.log").read_text(encoding="utf-8")[19:] == " INFO | healthy | 71 |\n"


def test_a_second_run_writes_to_its_own_file(tmp_path: Path):
    start_log(tmp_path / "one.log")
    start_log(tmp_path / "two.log")
    logger.info("second")
    assert (tmp_path / "one.log").read_text(encoding="utf-8") == ""
    assert "second" in (tmp_path / "two.log").read_text(encoding="utf-8")


def test_a_second_run_elsewhere_has_an_engine_log_of_its_own(tmp_path: Path):
    for name in ("one", "two"):
        start_log(tmp_path / name / "maskAL.log")
        logging.getLogger("detectron2.engine").info(name)
    assert (tmp_path / "one" / "engine.log").read_text(encoding="utf-8").endswith(" INFO one\n")
    assert (tmp_path / "two" / "engine.log").read_text(encoding="utf-8").endswith(" INFO two\n")


def test_how_a_run_ended_stands_in_the_log_file_too(tmp_path: Path, capfd: pytest.CaptureFixture):
    log_to_file("before there is a log file")
    start_log(tmp_path / "maskAL.log")
    assert exit_code_of(_fail) == 1
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "\n100 %: no such image\n")
    assert (tmp_path / "maskAL.log").read_text(encoding="utf-8")[19:] == " WARNING 100 %: no such image\n"


def _fail() -> None:
    raise MaskALError("100 %: no such image")


def test_a_muted_process_logs_nothing(capfd: pytest.CaptureFixture):
    mute_log()
    logging.getLogger("active_learning.sampling").warning("a.png: cannot be read")
    logging.getLogger("detectron2.engine").error("stopped")
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_warnings_stand_out(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    monkeypatch.setattr("active_learning.system.log.colored", lambda line, color: f"<{color}>{line}")
    start_log(tmp_path / "maskAL.log")
    logger.info("Loop 1")
    logger.warning("a.png: cannot be read")
    assert capsys.readouterr().out == "Loop 1\n<yellow>a.png: cannot be read\n"
    assert "yellow" not in (tmp_path / "maskAL.log").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_on_a_full_disk_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch, terminal: bool):
    (tmp_path / "maskAL.log").symlink_to("/dev/full")
    (tmp_path / "engine.log").symlink_to("/dev/full")
    if terminal:
        monkeypatch.setattr("sys.stdout", Path("/dev/full").open("w", buffering=1))  # noqa: SIM115
    start_log(tmp_path / "maskAL.log")
    logger.info("Loop 1")
    logging.getLogger("detectron2.engine").warning("no such weight")
    log_to_file("the end")
    start_log(tmp_path / "other.log")
    logger.info("Loop 2")
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ("" if terminal else "Loop 1\nno such weight\nLoop 2\n")
    assert (tmp_path / "other.log").read_text(encoding="utf-8").endswith(" INFO Loop 2\n")


def test_other_faults_of_logging_are_shown(tmp_path: Path, capfd: pytest.CaptureFixture):
    start_log(tmp_path / "maskAL.log")
    logger.handlers[0].handle(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None))
    assert "Logging error" in capfd.readouterr().err


def test_a_traceback_goes_to_the_file_alone(tmp_path: Path, capfd: pytest.CaptureFixture):
    start_log(tmp_path / "maskAL.log")
    log_traceback(ValueError("inside"))
    assert capfd.readouterr() == ("", "")
    assert "ValueError: inside" in (tmp_path / "maskAL.log").read_text(encoding="utf-8")


def test_a_reader_that_closes_early_is_no_failure(project_root: Path):
    """As in `maskAL.py --status | head -1`."""
    code = "from active_learning.system.log import print_result; print_result('x' * 10**6); print_result('more')"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_behind_standard_output_is_named(project_root: Path):
    code = "from active_learning.system import exit_code, log; exit(exit_code.exit_code_of(log.print_result, 'x'))"
    command = [sys.executable, "-c", code]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=project_root, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.strip().partition(";")[0]) == (1, "standard output: No space left on device")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full")], ids=["closed", "full"])
def test_a_note_that_standard_error_does_not_take_is_left_out(monkeypatch: pytest.MonkeyPatch, error: OSError):
    class Stream(io.StringIO):
        def write(self, _: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Stream())
    print_note("a.png: cannot be read")
