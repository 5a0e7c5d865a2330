"""The default tree, YAML files and overrides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from detectron2.config import CfgNode, get_cfg, global_cfg, set_global_cfg


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_get_cfg_gives_independent_copies() -> None:
    first = get_cfg()
    first.MODEL.RPN.IN_FEATURES.append("p9")
    first.SOLVER.BASE_LR = 5.0
    assert get_cfg().MODEL.RPN.IN_FEATURES == ["res4"]
    assert get_cfg().SOLVER.BASE_LR == 0.001


def test_base_files_are_inherited_in_turn(tmp_path: Path) -> None:
    write(tmp_path, "root.yaml", "SOLVER: {BASE_LR: 0.5, STEPS: [10, 20]}\nVERSION: 2\n")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", "middle.yaml", "_BASE_: ../root.yaml\nSOLVER: {BASE_LR: 0.25}\nOUTPUT_DIR: é\n")
    leaf = write(tmp_path, "leaf.yaml", "_BASE_: sub/middle.yaml\nMODEL: {MASK_ON: true}\n")
    cfg = get_cfg()
    cfg.merge_from_file(leaf)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.OUTPUT_DIR, cfg.MODEL.MASK_ON) == (0.25, (10, 20), "é", True)


@pytest.mark.parametrize(("written", "read"), [("off", "off"), ('"off"', "off"), ("auto", "auto")])
def test_a_switch_may_be_written_without_quotes(tmp_path: Path, written: str, read: str) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(write(tmp_path, "a.yaml", f"MODEL: {{CPU_KERNELS: {written}}}"))
    assert read == cfg.MODEL.CPU_KERNELS


@pytest.mark.parametrize("written", ["fast", "on", "3"])
def test_a_switch_has_two_choices(tmp_path: Path, written: str) -> None:
    file = write(tmp_path, "a.yaml", f"MODEL: {{CPU_KERNELS: {written}}}")
    with pytest.raises(ValueError, match=r"a\.yaml: MODEL.CPU_KERNELS is .*; it can be auto or off"):
        get_cfg().merge_from_file(file)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        pytest.param("VERSION: 1\nMODEL: {}\n", ValueError, ["VERSION 1", "file.yaml"], id="version-1"),
        pytest.param("MODEL: {WEIGHT: a.pkl}\n", ValueError, ["VERSION 1"], id="version-1-unsaid"),
        pytest.param("SOLVER: {BASE_LRR: 0.1}\n", KeyError, ["file.yaml", "SOLVER.BASE_LR?"], id="unknown-key"),
        pytest.param("SOLVER: {BASE_LR: fast}\n", ValueError, ["file.yaml", "SOLVER.BASE_LR"], id="wrong-type"),
        pytest.param("- 1\n- 2\n", ValueError, ["file.yaml", "mapping"], id="list"),
        pytest.param("", ValueError, ["file.yaml"], id="empty"),
        pytest.param("SOLVER: [\n", ValueError, ["file.yaml", "YAML"], id="broken"),
        pytest.param("SEED: !!python/object/apply:os.getpid []\n", ValueError, ["file.yaml"], id="code"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, error: type[Exception], words: list[str]) -> None:
    cfg = get_cfg()
    with pytest.raises(error) as caught:
        cfg.merge_from_file(write(tmp_path, "file.yaml", text))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        get_cfg().merge_from_file("nowhere.yaml")


def test_merge_from_list_reads_literals() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SOLVER.STEPS", "(1, 2)", "MODEL.MASK_ON", True, "OUTPUT_DIR", "here", "SOLVER.BASE_LR", "0.1"]
    )
    assert (cfg.SOLVER.STEPS, cfg.MODEL.MASK_ON, cfg.OUTPUT_DIR, cfg.SOLVER.BASE_LR) == ((1, 2), True, "here", 0.1)


@pytest.mark.parametrize(
    ("pairs", "error", "words"),
    [
        pytest.param(["SOLVER.GAMA", 1.0], KeyError, "SOLVER.GAMMA", id="unknown"),
        pytest.param(["SOLVER.NEW.KEY", 1.0], KeyError, "SOLVER.NEW.KEY", id="unknown-section"),
        pytest.param(["SEED", "x"], ValueError, "SEED", id="type"),
        pytest.param(["SEED"], ValueError, "pairs", id="odd"),
    ],
)
def test_merge_from_list_mistakes(pairs: list[object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        get_cfg().merge_from_list(pairs)


def test_freeze_and_clone() -> None:
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SOLVER.BASE_LR = 1.0
    copy = cfg.clone()
    copy.defrost()
    copy.SOLVER.BASE_LR = 1.0
    assert cfg.SOLVER.BASE_LR == 0.001


def test_dump_is_read_back_equal(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.SOLVER.STEPS = (7, 8)
    again = get_cfg()
    again.merge_from_file(write(tmp_path, "dump.yaml", cfg.dump()))
    assert json.dumps(again) == json.dumps(cfg)
    assert yaml.safe_load(cfg.dump())["SOLVER"]["STEPS"] == [7, 8]


@pytest.mark.parametrize(
    ("choice", "dumped"), [("auto", None), ("off", "off")], ids=["default, unknown to upstream", "chosen"]
)
def test_dump_has_a_key_that_upstream_does_not_know_only_where_it_is_chosen(choice: str, dumped: str | None) -> None:
    cfg = get_cfg()
    cfg.MODEL.CPU_KERNELS = choice
    cfg.freeze()
    read = yaml.safe_load(cfg.dump())
    assert read["MODEL"].pop("CPU_KERNELS", None) == dumped
    others = json.loads(json.dumps(cfg))
    assert others["MODEL"].pop("CPU_KERNELS") == choice
    assert read == others
    assert cfg.is_frozen()
    assert choice == cfg.MODEL.CPU_KERNELS


def test_any_node_can_be_dumped() -> None:
    assert CfgNode({"MODEL": 1}).dump() == "MODEL: 1\n"
    assert CfgNode({"MODEL": {"A": 1}}).dump(default_flow_style=True) == "{MODEL: {A: 1}}\n"


def test_new_keys_of_extensions() -> None:
    cfg = get_cfg()
    cfg.MODEL.DROPOUT = CfgNode({"PROBABILITY": 0.25})
    cfg.merge_from_list(["MODEL.DROPOUT.PROBABILITY", 0.5])
    assert cfg.MODEL.DROPOUT.PROBABILITY == 0.5


def test_global_cfg_takes_the_content() -> None:
    cfg = get_cfg()
    cfg.GLOBAL.HACK = 3.0
    set_global_cfg(cfg)
    assert global_cfg.GLOBAL.HACK == 3.0
    set_global_cfg(CfgNode())
    assert "GLOBAL" not in global_cfg


def test_importing_the_config_does_not_import_torch(project_root: Path) -> None:
    code = "import sys, detectron2.config, detectron2.model_zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=project_root, check=False).returncode == 0
