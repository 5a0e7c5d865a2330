"""The environment report runs as a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch


def test_environment_report(project_root: Path) -> None:
    command = [sys.executable, "-m", "detectron2.utils.collect_env"]
    report = subprocess.run(command, cwd=project_root, check=True, capture_output=True, text=True).stdout
    assert torch.__version__ in report
    assert "Python" in report
    assert "GPU" in report
