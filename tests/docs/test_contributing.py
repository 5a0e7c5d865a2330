"""CONTRIBUTING.md, followed as a newcomer would: its two worked examples, its tables of imports and words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import blocks, rows
from tests.test_layout import ALLOWED, ENGINE_LAYERS, SOURCES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
# The first line of a block of code: the file it belongs to, and where in it.
PLACE = re.compile(r"# ([\w/]+\.py): (new|above the table|in the table|at the end)\n")
TABLE = re.compile(r"^[A-Z]+: dict\[str, \w+\] = \{\n(?:.*\n)*?(?=\}$)", re.M)

# What both examples promise, in the folder of a user whose settings file is `settings.yaml`.
USE = """
import random
from pathlib import Path

import auto_annotate
from active_learning import load_settings, read_annotation
from active_learning.conversion.command import main as convert

settings = load_settings(Path("settings.yaml"), ["strategy", "crowded", "export_format", "outliner"])
assert settings.experiments()[0].strategy == "crowded"
options = ["--img_dir", "x", "--weights_file", "x.pth", "--export_format", "outliner"]
assert auto_annotate.parse_arguments(options).export_format == "outliner"

there = ["images", "--to", "outliner", "--classes", "a", "--out", "out"]
assert convert(["convert", *there]) == 0
(written,) = [path for path in Path("out").rglob("*.json")]
annotation = read_annotation(written, image="a.png", size=(30, 40))
assert [one.label for one in annotation.instances] == ["a"] and not annotation.warnings
assert "outlines" in written.read_text(encoding="utf-8")
back = ["out", "--to", "labelme", "--classes", "a", "--out", "back"]
assert convert(["convert", *back]) == 0
assert [path.name for path in Path("back").rglob("*.json")] == ["a.json"]
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the code blocks of the page in their places."""
    folder = tmp_path_factory.mktemp("changed")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "active_learning", folder / "active_learning", ignore=without)
    shutil.copytree(ROOT / "tests" / "active_learning", folder / "tests" / "active_learning", ignore=without)
    for name in ("detectron2", "configs", "auto_annotate.py", "pyproject.toml", "tests/conftest.py"):
        (folder / name).symlink_to(ROOT / name)
    applied = [apply(block.text, folder) for block in blocks(PAGE) if block.language == "python"]
    assert len(applied) == 5
    return folder


def apply(block: str, folder: Path) -> Path:
    place = PLACE.match(block)
    assert place, f"no place in the first line: {block.splitlines()[0]}"
    file, code = folder / place[1], block[place.end() :]
    if place[2] == "new":
        assert not file.exists()
        file.write_text(code, encoding="utf-8")
        return file
    text = file.read_text(encoding="utf-8")
    if place[2] == "at the end":
        text = f"{text}\n\n{code}"
    else:
        (table,) = TABLE.finditer(text)
        above = place[2] == "above the table"
        at = table.start() if above else table.end()
        text = text[:at] + (f"{code}\n\n" if above else code) + text[at:]
    file.write_text(text, encoding="utf-8")
    return file


def run(folder: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_the_examples_pass_and_those_of_all_formats_take_in_the_tool(changed: Path):
    places = ["sampling/test_strategies.py", "annotations/test_formats.py", "annotations/test_round_trip.py"]
    files = [f"tests/active_learning/{place}" for place in places]
    report = run(changed, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "crowded or outliner", *files)
    passed = re.findall(r"::(\w+)\S* PASSED", report)
    assert "test_crowded_counts_objects_by_how_often_they_are_detected" in passed
    assert sum("codec" in name for name in passed) >= 2
    assert "test_round_trip.py::" in report


def test_both_are_settings_and_the_tool_is_read_and_written(changed: Path, tmp_path: Path):
    import cv2
    import numpy as np

    from active_learning.annotations import Annotation, Instance, Part, labelme

    (tmp_path / "settings.yaml").write_text("classes: [a]\n", encoding="utf-8")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((30, 40, 3), np.uint8))
    parts = [Part(np.array([[x, 4.0], [x + 9, 4], [x + 9, 20], [x, 20]])) for x in (3.0, 25.0)]
    labelme.write(Annotation("a.png", 30, 40, (Instance("a", tuple(parts)),)), tmp_path / "images" / "a.json")
    run(tmp_path, "-c", USE, PYTHONPATH=str(changed))


def test_the_examples_are_in_the_style_of_the_house(changed: Path):
    files = [name for block in blocks(PAGE) if block.language == "python" for name in PLACE.findall(block.text)]
    names = sorted({name for name, _ in files})
    run(changed, "-m", "ruff", "check", "--no-cache", *names)
    run(changed, "-m", "ruff", "format", "--no-cache", "--check", *names)


def test_the_import_law_is_that_of_the_test():
    written = {
        cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[1])) for cells in rows(PAGE, "part of `active_learning`")
    }
    assert written == ALLOWED
    assert list(written) == list(ALLOWED)
    layers = " < ".join(", ".join(names) for names in ENGINE_LAYERS)
    assert layers in " ".join(PAGE.read_text(encoding="utf-8").split())


def test_the_places_that_the_page_names_are_there():
    found = rows(PAGE, "to change, or to understand")
    assert len(found) > 10
    for what, names, files in found:
        for name_cell, file in zip(names.split("; "), re.findall(r"`([^`]+)`", files), strict=True):
            text = (ROOT / "active_learning" / file).read_text(encoding="utf-8")
            for name in re.findall(r"`(\w+)`", name_cell):
                assert re.search(rf"^(def |class )?{name}\b", text, re.M), f"{what}: {name} is not in {file}"


def test_the_code_keeps_to_the_glossary():
    """Words in `code` in its last column have no other meaning, so none of our sources holds them."""
    avoided = {word for cells in rows(PAGE, "word") for word in re.findall(r"`([^`]+)`", cells[2])}
    assert len(avoided) > 5
    pattern = re.compile(rf"\b({'|'.join(sorted(avoided))})\b", re.I)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {word[0]}"
        for file in SOURCES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (word := pattern.search(line))
    ]
    assert not found, "\n".join(found)
