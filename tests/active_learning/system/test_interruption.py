"""Signals in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from active_learning.system.interruption import GO_ON

PROGRAMS = {
    "sleep": "time.sleep(60)",
    "swallow": "\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(60)",
    "tidy up": "\ntry:\n    time.sleep(60)\nfinally:\n    time.sleep(0.5)\n    print('tidied', flush=True)",
    "fail": "\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise RuntimeError('worker died')",
}
SCRIPT = """
import sys, time
from active_learning.system import interruption
from active_learning.system.exit_code import exit_code_of
interruption.SECONDS_TO_END = float(sys.argv[1])
def program():
    print("ready", flush=True)
    exec(sys.argv[2])
sys.exit(exit_code_of(program, go_on=sys.argv[3]))
"""


@pytest.fixture
def start(project_root):
    started = []

    def start_program(name: str, seconds_to_end: float = 30, go_on: str = GO_ON) -> subprocess.Popen:
        command = [sys.executable, "-c", SCRIPT, str(seconds_to_end), PROGRAMS[name], go_on]
        process = subprocess.Popen(
            command, cwd=project_root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until it sleeps
        return process

    yield start_program
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("program", ["sleep", "fail"])
def test_the_first_ends_the_run_and_reports_how_to_go_on(start, number, program):
    process = start(program)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "\nInterrupted. Nothing is lost: the same command, without --fresh, goes on from here.\n"


@pytest.mark.parametrize("go_on", [GO_ON, "What is written stays."])
def test_the_second_ends_at_once(start, go_on):
    process = start("swallow", go_on=go_on)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)  # it would be ended after 30
    assert process.returncode == 130
    assert err == f"\nInterrupted at once. {go_on}\n"


def test_two_signals_of_one_wish_are_one(start):
    process = start("tidy up")
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == "tidied\n"
    assert "at once" not in err


def test_what_does_not_end_by_itself_is_ended(start):
    process = start("swallow", seconds_to_end=1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)  # it would sleep for 60
    assert process.returncode == 130


def test_handlers_are_as_before_afterwards():
    from active_learning.system.exit_code import exit_code_of

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code_of(lambda: None) == 0
    assert signal.getsignal(signal.SIGTERM) is before
