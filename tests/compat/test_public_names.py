"""The engine has the names of Detectron2's public surface that this project promises; MaskAL uses those and a few more.

See README.md beside this file.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Module -> names of it that may be used.
PUBLIC: dict[str, list[str]] = json.loads((Path(__file__).with_name("public_names.json")).read_text(encoding="utf-8"))
SOURCES = sorted([ROOT / "maskAL.py", *(ROOT / "active_learning").rglob("*.py")])


def missing_names(listed: dict[str, list[str]]) -> Iterator[str]:
    for module, names in listed.items():
        try:
            found = dir(importlib.import_module(module))
        except ImportError as error:
            yield f"{module}: {error}"
        else:
            yield from (f"{module}.{name}" for name in names if name not in found)


def test_the_engine_has_the_public_names() -> None:
    missing = list(missing_names(PUBLIC))
    assert not missing, "\n".join(missing)


# Where this project's table of the public surface lists them, one package above where upstream has them.
OURS = {
    "detectron2.data.datasets": ["convert_to_coco_dict"],
    "detectron2.evaluation": ["instances_to_coco_json"],
    "detectron2.modeling": ["BasicBlock", "BasicStem", "BottleneckBlock", "Res5ROIHeads", "CascadeROIHeads"],
    "detectron2.modeling.backbone": ["BasicBlock", "build_resnet_fpn_backbone"],
    "detectron2.modeling.proposal_generator": ["RPN", "StandardRPNHead"],
    "detectron2.modeling.roi_heads": ["fast_rcnn_inference", "mask_rcnn_inference", "mask_rcnn_loss"],
    "detectron2.solver": ["maybe_add_gradient_clipping"],
    "detectron2.structures": ["matched_pairwise_iou", "pairwise_intersection"],
}


def test_our_engine_also_has_names_in_its_packages() -> None:
    if not Path(str(importlib.import_module("detectron2").__file__)).is_relative_to(ROOT):
        pytest.skip("this is another engine")
    missing = list(missing_names(OURS))
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"])
def test_the_names_of_schedules_are_known(name: str) -> None:
    from torch import nn

    from detectron2.config import get_cfg
    from detectron2.solver import build_lr_scheduler, build_optimizer

    cfg = get_cfg()
    cfg.SOLVER.LR_SCHEDULER_NAME = name
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    assert build_lr_scheduler(cfg, optimizer).get_last_lr()[0] < cfg.SOLVER.BASE_LR


# Image files are opened as our engine opens them.
IMAGE_FILE = (
    *("DAMAGED", "UnknownImageError", "check_file", "check_pixels"),
    *("eight_bits", "open_image", "read_pixels", "read_size", "read_small"),
)
# What makes the processor wait for a GPU, or fills it, is handled as our engine handles it.
GPU = (
    "modeling.roi_heads.detect_objects",
    *(f"utils.memory.{name}" for name in ("is_cuda_out_of_memory", "none_if_cuda_oom", "retry_with_empty_cache")),
    *(f"utils.transfers.{name}" for name in ("host_copies", "to_device")),
)
BEYOND_UPSTREAM = {
    "detectron2.data.worker_start.worker_start_method",  # forks of a rank could stand still
    "detectron2.modeling.backbone.BasicBlock",  # upstream has it one package below
    "detectron2.utils.comm.single_process",  # where one of several processes trains alone
    "detectron2.utils.file_io.cached_file",  # where --check finds weights that were fetched before
    *(f"detectron2.utils.fonts.{name}" for name in ("font_families", "without_glyph_warnings")),  # any script
    *(f"detectron2.utils.image_file.{name}" for name in IMAGE_FILE),
    *(f"detectron2.{name}" for name in GPU),
}


def is_public(name: str) -> bool:
    """Whether 'detectron2.engine.DefaultTrainer', or the module 'detectron2.engine', is on the list."""
    module, _, last = name.rpartition(".")
    return name in PUBLIC or last in PUBLIC.get(module, []) or name in BEYOND_UPSTREAM


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of what is imported of detectron2, and of what is taken out of its imported modules."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        engine = {alias: name for alias, name in imported.items() if name.split(".")[0] == "detectron2"}
        modules.update((alias, name) for alias, name in engine.items() if name in PUBLIC)
        yield from ((node.lineno, name) for name in engine.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield node.lineno, f"{modules[node.value.id]}.{node.attr}"


def test_maskal_uses_public_names_only() -> None:
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    used = [(f"{path}:{line}: {name}", name) for path, tree in trees.items() for line, name in used_names(tree)]
    others = [place for place, name in used if not is_public(name)]
    assert not others, "\n".join(others)
    assert "detectron2.engine.DefaultTrainer" in {name for _, name in used}  # the check sees what is used
    assert {name for _, name in used} >= BEYOND_UPSTREAM


def test_readme_names_the_modules_with_names_beyond_upstream() -> None:
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    modules = {name.rpartition(".")[0].removeprefix("detectron2.") for name in BEYOND_UPSTREAM}
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)) == modules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from detectron2.engine import DefaultTrainer, hooks\nhooks.EvalHook", []),
        ("import detectron2.data.transforms as T\nT.Resize", []),
        ("from detectron2.layers import _secret", ["detectron2.layers._secret"]),
        ("from detectron2.engine import hooks\nhooks.flat_numbers", ["detectron2.engine.hooks.flat_numbers"]),
        ("import detectron2.utils.random_state", ["detectron2.utils.random_state"]),
    ],
    ids=["listed", "listed of a module", "private", "not listed of a module", "not listed module"],
)
def test_the_check_notices_other_names(text: str, expected: list[str]) -> None:
    assert [name for _, name in used_names(ast.parse(text)) if not is_public(name)] == expected
