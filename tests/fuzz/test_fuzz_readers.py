"""A small run of the fuzz script, and that it notices what it is there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="its limits are those of Linux")


def run(out: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The script's main in a process of its own, after the statements `before`."""
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import fuzz_readers\n{before}\nsys.exit(fuzz_readers.main())"
    )
    command = [sys.executable, "-c", code, "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_damaged_files_of_every_format(tmp_path):
    done = run(tmp_path / "failures", "--files", "200", "--seed", "1", "--seconds", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "labelme", "darwin", "darwin1", "supervisely", "cvat", "cvat_images", "yolo",
    ]  # fmt: skip
    assert all(" read, " in line and " refused" in line for line in lines)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        pytest.param("raise KeyError('shapes')", "KeyError", id="another exception"),
        pytest.param("while True: pass", "TooLong", id="hang"),
        pytest.param("bytearray(10**10)", "MemoryError", id="memory"),
        pytest.param("open(path.parents[2] / 'outside.png').close()", "TrespassError", id="a file outside"),
    ],
)
def test_faults_are_noticed_and_can_be_repeated(tmp_path, fault, name):
    before = f"def read_all(path, image, size):\n    {fault}\nfuzz_readers.read_all = read_all"
    done = run(tmp_path, "--format", "labelme", "--only", "3", "--seconds", "0.5", before=before)
    assert done.returncode == 1
    assert name in done.stdout
    assert "repeat with --format labelme --seed 0 --only 3" in done.stdout
    assert list((tmp_path / "labelme-0-3").rglob("*.json"))


def test_the_same_numbers_give_the_same_files(tmp_path):
    code = (
        "import random, zlib\n"
        "for name, samples in fuzz_readers.corpus(None).items():\n"
        "    files = fuzz_readers.mutated(samples[0], random.Random(5))\n"
        "    print(name, zlib.crc32(repr(sorted(files.items())).encode()))\n"
        "sys.exit(0)"
    )
    first, second = (run(tmp_path, before=code).stdout for _ in range(2))
    assert len(first.splitlines()) == 7
    assert first == second
