"""Who may import whom (the tables of CONTRIBUTING.md), and the habits that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import rows

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("maskAL.py", "auto_annotate.py", "export_onnx.py")
SOURCES = sorted(
    path
    for place in (*PROGRAMS, "active_learning", "detectron2", "demo", "benchmarks")
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
# The parts of active_learning, from the ground up: what each may import of the project, itself aside.
ALLOWED = {
    "errors": set(),
    "system": {"errors", "detectron2"},
    "annotations": {"errors", "system"},
    "sampling": set(),
    "tiles": {"annotations", "detectron2", "errors", "sampling", "system"},
    "dataset": {"annotations", "errors", "system", "tiles"},
    "conversion": {"annotations", "dataset", "errors", "system"},
    "settings": {"annotations", "errors", "sampling", "system"},
    "network": {"annotations", "detectron2", "errors", "sampling", "settings", "system", "tiles"},
    "annotating": {"annotations", "dataset", "errors", "network", "settings", "system"},
    "run": {"annotating", "annotations", "dataset", "detectron2", "errors", "network", "settings", "system", "tiles"},
    "acquisition": {"dataset", "detectron2", "errors", "network", "run", "sampling", "settings", "system", "tiles"},
    "label_check": {"annotations", "detectron2", "errors", "network", "run", "sampling", "system"},
    "report": {"acquisition", "errors", "label_check", "run", "system"},
    "loop": {"acquisition", "dataset", "label_check", "network", "report", "run", "settings", "system"},
    "utils": {"annotations", "dataset", "detectron2", "errors", "network", "run", "sampling", "settings", "system"},
    "__init__": {"annotations", "loop", "sampling", "settings"},
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
        elif place[0] in PROGRAMS:
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
    if words[0] == "unittest" or (words[0] == "detectron2" and any(word.startswith("_") for word in words)):
        return False  # a test double, or what is not public
    here = place[1].removesuffix(".py")
    if here == "annotations" and words[0] in HEAVY:
        return False
    return words[0] not in ("active_learning", "detectron2") or part(name) in {here, *ALLOWED[here]}


def test_imports_follow_the_layout():
    wrong = [found for path in SOURCES for found in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_the_table_names_every_part_from_the_ground_up():
    there = {path.relative_to(ROOT).parts[1].removesuffix(".py") for path in SOURCES if "active_learning" in path.parts}
    assert there == set(ALLOWED)
    parts = list(ALLOWED)
    upward = [(part, other) for part in parts for other in ALLOWED[part] if other in parts[parts.index(part) :]]
    assert not upward


def test_the_table_allows_no_more_than_is_used():
    used: dict[str, set[str]] = {name: set() for name in ALLOWED}
    for path in SOURCES:
        if "active_learning" in path.parts:
            used[path.relative_to(ROOT).parts[1].removesuffix(".py")] |= {part(name) for _, name in imports(path)}
    assert {name: parts - used[name] for name, parts in ALLOWED.items() if parts - used[name]} == {}


def test_the_import_rule_notices_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    wrong = {
        "active_learning/annotations/x.py": "import torch",
        "active_learning/dataset/x.py": "from active_learning.settings import Settings",
        "active_learning/network/x.py": "from detectron2.layers import _secret",
        "active_learning/run/x.py": "from active_learning.report import page",
        "active_learning/sampling/x.py": "from active_learning.system.log import logger",
        "active_learning/system/x.py": "from unittest import mock",
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
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 45:
            yield f"{name}: {node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_functions_and_files_stay_small():
    large = [found for path in SOURCES for found in too_large(path)]
    assert not large, "\n".join(large)


def test_each_module_has_a_test_file_or_a_row_that_names_one():
    tests = ROOT / "tests"
    elsewhere: dict[str, list[str]] = {}
    for modules, files in rows(tests / "README.md", "module"):
        elsewhere |= dict.fromkeys(re.findall(r"`([^`]+)`", modules), re.findall(r"`([^`]+)`", files))
    assert all((tests / file).is_file() for files in elsewhere.values() for file in files)
    package = ROOT / "active_learning"
    modules = {path.relative_to(package) for path in package.rglob("*.py") if not path.name.startswith("__")}
    own = {path for path in modules if (tests / "active_learning" / path.with_name(f"test_{path.name}")).is_file()}
    assert {path.as_posix() for path in modules - own} == set(elsewhere)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (
            "detectron2, active_learning, active_learning.annotations, active_learning.settings, maskAL, "
            "active_learning.conversion.command",
            {"torch", "torchvision", "matplotlib"},
        ),
        ("active_learning.loop, active_learning.report.page", {"torch", "torchvision"}),
        ("maskAL, auto_annotate, export_onnx", {"pydantic", "numpy", "yaml"}),
    ],
)
def test_light_modules_import_without_heavy_ones(modules: str, heavy: set[str]):
    code = f"import sys, {modules}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
