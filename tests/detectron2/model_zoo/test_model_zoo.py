"""Every config of the zoo against the contract's facts."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detectron2 import model_zoo
from detectron2.config import get_cfg


@functools.cache
def zoo_facts(shared_dir: Path) -> dict[str, Any]:
    return json.loads((shared_dir / "facts" / "model_zoo.json").read_text(encoding="utf-8"))


def expected_config(entry: dict[str, Any]) -> dict[str, Any]:
    tree = json.loads(json.dumps(get_cfg()))
    for key, value in {**entry["overrides"], "MODEL.WEIGHTS": entry["init_weights"]}.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node[section]
        assert name in node, key
        node[name] = value
    return tree


def test_every_config_equals_defaults_and_overrides(shared_dir: Path) -> None:
    for name, entry in zoo_facts(shared_dir).items():
        cfg = json.loads(json.dumps(model_zoo.get_config(name)))
        assert json.dumps(cfg) == json.dumps(expected_config(entry)), name


def test_every_checkpoint_address(shared_dir: Path) -> None:
    for name, entry in zoo_facts(shared_dir).items():
        if entry["checkpoint"] is None:
            with pytest.raises(RuntimeError, match="no checkpoint is published"):
                model_zoo.get_checkpoint_url(name)
        else:
            assert model_zoo.get_checkpoint_url(name) == entry["checkpoint"]
            weights = model_zoo.get_config(name, trained=True).MODEL.WEIGHTS
            assert weights == entry["checkpoint"]


def test_the_config_folder_holds_nothing_else(shared_dir: Path, project_root: Path) -> None:
    files = {
        file.relative_to(project_root / "configs").as_posix() for file in (project_root / "configs").rglob("*/*.yaml")
    }
    assert files == set(zoo_facts(shared_dir))


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        pytest.param(
            "mask_rcnn_R_50_FPN_3x.yaml", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", id="no-folder"
        ),
        pytest.param("Misc/cascade_mask_rcnn_R50_FPN_3x.yaml", "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml", id="typo"),
    ],
)
def test_unknown_names_get_the_nearest(asked: str, nearest: str) -> None:
    with pytest.raises(RuntimeError, match=f"{asked}.*{nearest}"):
        model_zoo.get_config_file(asked)
    with pytest.raises(RuntimeError, match=nearest.removesuffix(".yaml")):
        model_zoo.get_checkpoint_url(asked)


def test_config_files_load_by_their_path() -> None:
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"))
    assert cfg.MODEL.MASK_ON
    assert cfg.SOLVER.MAX_ITER == 270000


def test_get_builds_and_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    from detectron2 import checkpoint, modeling

    loaded = []
    monkeypatch.setattr(modeling, "build_model", lambda cfg: nn.Linear(1, 1).to(cfg.MODEL.DEVICE))
    monkeypatch.setattr(checkpoint.DetectionCheckpointer, "load", lambda self, path: loaded.append(path))
    model = model_zoo.get("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", trained=True, device="cpu")
    assert next(model.parameters()).device == torch.device("cpu")
    assert loaded == [model_zoo.get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")]


@pytest.mark.parametrize("ask", [model_zoo.get, model_zoo.get_config, model_zoo.get_config_file])
@pytest.mark.parametrize("name", ["Invalid/config.yaml", "Invalid/config.py", "Misc", "", "no\0name", "x" * 5000])
def test_unknown_names_are_runtime_errors(ask: Callable[[str], object], name: str) -> None:
    with pytest.raises(RuntimeError, match="no config"):
        ask(name)
    with pytest.raises(RuntimeError, match="no checkpoint"):
        model_zoo.get_checkpoint_url(name)


def test_checkpoints_are_found_for_python_configs_too() -> None:
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
    assert model_zoo.get_checkpoint_url(f"{name}.py") == model_zoo.get_checkpoint_url(f"{name}.yaml")
