"""How long does a user wait for `--help`, and for the mistakes of a settings file? Goal: within 1 s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 5


def seconds(arguments: list[str]) -> float:
    """Median wall time of the command in a process of its own."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, str(ROOT / "maskAL.py"), *arguments], capture_output=True, cwd=ROOT, check=False
        )
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "wrong.yaml"
        wrong.write_text("classes: []\nlearning_rate: -1\nlops: 3\n", encoding="utf-8")
        rows = [
            ("python maskAL.py --help", seconds(["--help"])),
            ("--check of a wrong settings file", seconds(["--config", str(wrong), "--check"])),
        ]
    print("## Start-up\n\n| command | seconds | goal |\n|---|---|---|")
    print("".join(f"| {name} | {value:.2f} | 1 |\n" for name, value in rows))


if __name__ == "__main__":
    main()
