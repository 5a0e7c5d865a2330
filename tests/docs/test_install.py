"""What INSTALL.md has a newcomer run, run as it stands there; and the Dockerfile."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from active_learning.settings.paths import zoo_configs
from tests.docs.commands import ROOT, commands, console_scripts, fault
from tests.docs.markdown import blocks


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder like a fresh clone, in which a small demo data set is drawn."""
    for name in ("maskAL.py", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "demo").mkdir()
    for file in [*(ROOT / "demo").glob("*.yaml"), *(ROOT / "demo").glob("*.py")]:
        (tmp_path / "demo" / file.name).symlink_to(file)
    small = ["--images", "60", "--val", "1", "--test", "1", "--size", "96x72"]
    run(tmp_path, ["python", "demo/make_dataset.py", *small])
    return tmp_path


def block_that_starts_with(line: str) -> str:
    (text,) = [block.text for block in blocks(ROOT / "INSTALL.md") if block.text.startswith(f"{line}\n")]
    return text


def run(folder: Path, words: list[str]) -> str:
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_does_it_work(clone: Path):
    usage, drawing, check = commands(block_that_starts_with("python maskAL.py --help"))
    assert "usage:" in run(clone, usage)
    assert drawing == ["python", "demo/make_dataset.py"]
    assert "Settings, folders and annotations are in order" in run(clone, check)


def test_the_commands_for_windows_are_those_of_make_demo():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ndemo:")[2].partition("\n\n")[0].replace("$(BIN)/", "").replace("$(DEMO)", "demo/run")
    made = [shlex.split(line) for line in recipe.splitlines()[1:]]
    default = ["--out", "demo/run/datasets"]  # of make_dataset.py
    given = commands(block_that_starts_with("python demo/make_dataset.py"))
    assert given == [[word for word in words if word not in default] for words in made]


def test_the_docker_file_installs_and_starts_what_is_here():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.M)[1])[0] in console_scripts()
    (install,) = re.findall(r"^RUN (.*)$", text, re.M)
    assert fault(shlex.split(install)) == ""
    assert re.search(r"^COPY \. (\S+)$", text, re.M)[1] == shlex.split(install)[-1]


def test_docker_leaves_out_nothing_that_is_installed():
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'^(?:readme = |license-files = \[)"([\w.]+)"', project, re.M)
    needed = ["maskAL.py", "auto_annotate.py", "export_onnx.py", "setup.py", "pyproject.toml", *named]
    for folder in ("active_learning", "detectron2"):
        needed += [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
    needed += [os.path.join("configs", name) for name in zoo_configs()]  # noqa: PTH118
    assert len(needed) > 200 and len(named) == 2
    for path in needed:
        parents = [path, *map(str, Path(path).parents)]
        assert [p for p in patterns if any(fnmatch.fnmatchcase(parent, p) for parent in parents)] == []
