"""Of the tests' own way to start programs: a script cannot tell it from Python's."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.processes import Program

SCRIPT = """
import os, sys
import beside
print(__name__, sys.argv[1:], os.getcwd() == beside.PLACE, os.environ.get("FRUIT"), sys.stdin.read(), "ä")
print("trouble", file=sys.stderr)
{end}
"""


@pytest.fixture
def program(tmp_path: Path):
    (tmp_path / "beside.py").write_text(f"PLACE = {str(tmp_path)!r}", encoding="utf-8")

    def start(end: str, **options: object) -> Program:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(end=end), encoding="utf-8")
        return Program(str(script), "--count", "2", cwd=tmp_path, env={**os.environ, "FRUIT": "pear"}, **options)

    return start


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("", 0, "trouble\n"),
        ("sys.exit(3)", 3, "trouble\n"),
        ("sys.exit('no')", 1, "trouble\nno\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("os.kill(os.getpid(), 9)", -9, "trouble\n"),
    ],
)
def test_a_script_runs_as_from_the_command_line(program, end: str, code: int, said: str):
    process = program(end)
    out, err = process.communicate(timeout=60)
    assert process.returncode == process.poll() == code
    assert out == "__main__ ['--count', '2'] True pear  ä\n"
    assert err.endswith(said)


def test_both_outputs_can_be_one(program):
    out, err = program("", merged=True).communicate(timeout=60)
    assert out.splitlines()[1:] == ["trouble"]
    assert err == ""


def test_it_can_be_waited_for_and_ended(program):
    process = program("import time; time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.1)
    assert process.poll() is None
    begin = time.monotonic()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -15
    assert time.monotonic() - begin < 60
