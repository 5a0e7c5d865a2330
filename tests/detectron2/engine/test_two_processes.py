"""Two processes that talk over gloo train, evaluate and resume as one does."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import launch

from . import two_processes
from .conftest import NETWORK, process_as_before

# One process's loss is the mean of two processes' where numbers of samples are equal and nothing is left to chance:
# all anchors and all proposals count, and only the ground-truth boxes themselves are foreground.
EQUAL_SHARES = """
MODEL:
  RESNETS: {NORM: FrozenBN}
  ANCHOR_GENERATOR: {SIZES: [[16], [24], [32], [48]]}
  RPN:
    IN_FEATURES: [p3, p4, p5, p6]
    NMS_THRESH: 1.0
    BATCH_SIZE_PER_IMAGE: 512
    POSITIVE_FRACTION: 1.0
    PRE_NMS_TOPK_TRAIN: 100
    POST_NMS_TOPK_TRAIN: 100
  ROI_HEADS: {BATCH_SIZE_PER_IMAGE: 512, POSITIVE_FRACTION: 1.0, IOU_THRESHOLDS: [0.99], SCORE_THRESH_TEST: 0.0}
DATASETS: {TRAIN: [two_processes_shapes]}
DATALOADER: {ASPECT_RATIO_GROUPING: False}
INPUT: {RANDOM_FLIP: none}
SOLVER: {IMS_PER_BATCH: 2, BASE_LR: 0.002, MAX_ITER: 20, CHECKPOINT_PERIOD: 10}
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory, square_images) -> dict[int, dict[str, Any]]:
    """Number of processes -> what two_processes.py found."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "base.yaml").write_text(NETWORK, encoding="utf-8")
    config = folder / "equal.yaml"
    config.write_text(f"_BASE_: base.yaml\n{EQUAL_SHARES}", encoding="utf-8")
    with process_as_before(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("OMP_NUM_THREADS", "1")
        for number in (1, 2):
            arguments = (str(config), str(square_images), str(folder / str(number)))
            launch(two_processes.main, number, dist_url="auto", args=arguments)
    DatasetCatalog.remove(two_processes.DATASET)
    MetadataCatalog.remove(two_processes.DATASET)
    return {n: facts_in(folder / str(n)) for n in (1, 2)}


def facts_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture
def facts_under_torchrun(tmp_path, project_root) -> dict[str, Any]:
    """What torchrun's two processes found; the script starts them as a user's does."""
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    line = [sys.executable, *starter, two_processes.__file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run(line, check=True, env=environment, timeout=300)
    return facts_in(tmp_path)


def assert_processes_train_as_one(step: list[dict[str, float]]) -> None:
    assert [one["rank"] for one in step] == [one["local_rank"] for one in step] == [0, 1]
    assert all(one["world"] == one["local_size"] == 2 for one in step)
    assert all(one["weight"] == pytest.approx(2.0) for one in step)
    assert all(one["loss"] == pytest.approx((1 + 9) / 2) for one in step)


def test_launched_processes_train_as_one(facts):
    assert_processes_train_as_one(facts[2]["step"])


@pytest.mark.parametrize("step", ["step", "step_with_options"])
def test_torchruns_processes_train_as_one(facts_under_torchrun, step):
    assert_processes_train_as_one(facts_under_torchrun[step])


def test_loss_curve_is_that_of_a_single_process(facts):
    assert len(facts[1]["losses"]) == 20
    assert facts[2]["losses"] == pytest.approx(facts[1]["losses"], abs=1e-4)
    assert facts[1]["losses"][-1] < 0.9 * facts[1]["losses"][0]


@pytest.mark.parametrize("number", [1, 2])
def test_resumed_training_goes_on_exactly(facts, number):
    assert facts[number]["resumed_losses"] == facts[number]["losses"][10:]


@pytest.mark.parametrize("sampler", ["training", "repeat"])
def test_processes_take_disjoint_parts_of_one_order(facts, sampler):
    whole, parts = facts[1]["orders"][sampler][0], facts[2]["orders"][sampler]
    assert list(itertools.chain.from_iterable(zip(*parts, strict=True))) == whole
    if sampler == "training":
        assert sorted(whole[:11]) == list(range(11))
    else:
        assert min(Counter(whole).values()) >= 1
        assert set(whole) == set(range(11))


def test_each_image_is_inferred_by_one_process(facts):
    first, second = facts[2]["orders"]["inference"]
    assert first + second == facts[1]["orders"]["inference"][0] == list(range(11))


def test_gathered_evaluation_is_that_of_a_single_process(facts):
    results = facts[2]["results"]
    assert results["together"]["bbox"].keys() >= {"AP", "AP50", "AP-disc"}
    for task in ("bbox", "segm"):
        assert 20 < results["alone"][task]["AP"] < 80
        for other in (results["together"], facts[1]["results"]["together"]):
            assert other[task] == pytest.approx(results["alone"][task], abs=1e-9, nan_ok=True)


def test_sync_bn_on_the_cpu_names_what_to_change(facts):
    assert facts[1]["sync_bn"] == ""
    assert "1 SyncBN layers ('1', ...)" in facts[2]["sync_bn"]
    assert "FrozenBN, GN or BN" in facts[2]["sync_bn"]
