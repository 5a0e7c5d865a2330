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
SIGNALS = ["KILL", "TERM"]
KILLS = 3


def test_a_run_that_is_ended_at_random_moments_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(KILLS), "--signal", *SIGNALS, "--folder", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reports = json.loads(done.stdout)
    assert list(reports) == SIGNALS
    for report in reports.values():
        assert report["kills"] >= KILLS
        assert report["annotations"] > 20
        assert report["slowest_end"] < 10
