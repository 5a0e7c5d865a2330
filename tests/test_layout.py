"""Who may import whom (the table of the README's code layout), and the habits that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for place in ("maskAL.py", "auto_annotate.py", "active_learning", "detectron2", "demo", "benchmarks")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    if path.exists()
)
# Inside detectron2 a package imports from those before it in this list, and from its own line.
ENGINE_LAYERS = [
    ("utils",),
    ("config",),
    ("layers",),
    ("structures",),
    ("data",),
    ("modeling",),
    ("solver", "checkpoint", "model_zoo"),
    ("evaluation",),
    ("engine",),
]
ENGINE_RANK = {name: rank for rank, names in enumerate(ENGINE_LAYERS) for name in names}
# The parts of active_learning: what each may import of the project, itself aside.
ALLOWED = {
    "errors": set(),
    "log": set(),
    "progress": set(),
    "settings": {"errors", "settings_file", "settings_keys", "settings_paths"},
    "settings_file": set(),
    "settings_keys": set(),
    "settings_paths": {"annotations", "annotator", "errors", "settings_keys"},
    "files": set(),
    "disk_space": {"errors"},
    "output_files": {"errors", "files", "settings"},
    "run_state": {"errors", "files"},
    "annotations": {"errors", "files"},
    "dataset": {"annotations", "disk_space", "errors", "files"},
    "conversion": {"errors", "files", "annotations", "dataset"},
    "sampling": {"errors", "files", "log", "progress"},
    "network": {
        "annotations",
        "disk_space",
        "errors",
        "files",
        "log",
        "progress",
        "settings",
        "settings_paths",
        "sampling",
        "detectron2",
    },
    "report": {"errors", "files", "log", "output_files", "run_state", "sampling"},
    "annotator": set(),
    "annotating": {"annotations", "annotator", "dataset", "errors", "log", "network", "settings"},
    "run_lock": {"errors", "files", "log", "settings"},
    "interruption": set(),
    "settings_changes": {"errors", "settings"},
    "data_changes": {"annotations", "dataset", "files"},
    "run_data": {
        "annotating",
        "data_changes",
        "dataset",
        "errors",
        "log",
        "network",
        "output_files",
        "processes",
        "run_lock",
        "settings",
    },
}
HEAVY = {"torch", "torchvision", "detectron2", "pydantic", "matplotlib"}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of each import of a file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def part(name: str) -> str:
    """'active_learning.dataset.coco' -> 'dataset'; other projects by their first name."""
    words = name.split(".")
    return words[1] if words[0] == "active_learning" and len(words) > 1 else words[0]


def wrong_imports(path: Path) -> Iterator[str]:
    place = path.relative_to(ROOT).parts
    for line, name in imports(path):
        where, first = f"{'/'.join(place)}:{line}: imports {name}", name.split(".")[0]
        if place[0] == "detectron2":
            if first == "active_learning" or not engine_import_ok(place, name):
                yield where
        elif place[0] in ("maskAL.py", "auto_annotate.py"):
            if first == "detectron2":
                yield where
        elif place[0] == "active_learning" and not active_learning_import_ok(place, name):
            yield where


def engine_import_ok(place: tuple[str, ...], name: str) -> bool:
    words = name.split(".")
    if words[0] != "detectron2" or len(words) < 2 or words[1] not in ENGINE_RANK or len(place) < 3:
        return True
    if place[1:] == ("utils", "visualizer.py"):
        return ENGINE_RANK[words[1]] <= ENGINE_RANK["data"]
    return ENGINE_RANK[words[1]] <= ENGINE_RANK[place[1]]


def active_learning_import_ok(place: tuple[str, ...], name: str) -> bool:
    words = name.split(".")
    if words[0] == "detectron2" and any(word.startswith("_") for word in words):
        return False
    here = "conversion" if place[-1] == "__main__.py" else place[1].removesuffix(".py")  # its command line
    if here not in ALLOWED:
        return True
    if here == "annotations" and words[0] in HEAVY:
        return False
    return words[0] not in ("active_learning", "detectron2") or part(name) in {here, *ALLOWED[here]}


def test_imports_follow_the_layout():
    wrong = [found for path in SOURCES for found in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_the_import_rule_notices_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    wrong = {
        "active_learning/annotations/x.py": "import torch",
        "active_learning/dataset/x.py": "from active_learning.settings import Settings",
        "active_learning/network/x.py": "from detectron2.layers import _secret",
        "detectron2/layers/x.py": "from detectron2.structures import Boxes",
        "detectron2/data/x.py": "import active_learning",
        "maskAL.py": "import detectron2",
    }
    for name, text in wrong.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        assert list(wrong_imports(path)), name


def test_the_story_is_short():
    assert len((ROOT / "maskAL.py").read_text(encoding="utf-8").splitlines()) <= 150


def too_large(path: Path) -> Iterator[str]:
    """The file, and the functions in it, that have too many lines."""
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    if (lines := len(text.splitlines())) > 400:
        yield f"{name} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 75:
            yield f"{name}: {node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_functions_and_files_stay_small():
    large = [found for path in SOURCES for found in too_large(path)]
    assert not large, "\n".join(large)


def test_light_modules_import_without_torch():
    code = (
        "import sys, detectron2, active_learning, active_learning.annotations, active_learning.settings, maskAL,"
        "active_learning.conversion.command;"
        "heavy = {'torch', 'torchvision', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
