"""The short form of kill_run.py; the long form, with 100 kills and each signal, is run by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).with_name("kill_run.py")


@pytest.mark.parametrize(("signal", "kills"), [("KILL", 3), ("TERM", 2)])
def test_a_run_that_is_ended_at_random_moments_loses_nothing(tmp_path, signal, kills):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(kills), "--signal", signal, "--folder", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= kills
    assert report["annotations"] > 20
    assert report["slowest_end"] < 10
