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

SCRIPT = Path(__file__).with_name("two_processes.py")
# One process's loss is the mean of two processes' where their numbers of samples are equal, and where nothing is drawn:
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
    """Number of processes -> what two_processes.py found; the two runs share the time."""
    from .conftest import NETWORK

    folder = tmp_path_factory.mktemp("processes")
    (folder / "base.yaml").write_text(NETWORK, encoding="utf-8")
    config = folder / "equal.yaml"
    config.write_text(f"_BASE_: base.yaml\n{EQUAL_SHARES}", encoding="utf-8")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    runs = {}
    for number in (1, 2):
        line = [sys.executable, SCRIPT, str(number), config, square_images, folder / str(number)]
        runs[number] = subprocess.Popen([str(word) for word in line], env=environment)
    assert [run.wait(timeout=300) for run in runs.values()] == [0, 0]
    return {n: json.loads((folder / str(n) / "facts.json").read_text(encoding="utf-8")) for n in runs}


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


def test_sync_bn_on_the_cpu_says_what_to_change(facts):
    assert facts[1]["sync_bn"] == ""
    assert "1 SyncBN layers ('1', ...)" in facts[2]["sync_bn"]
    assert "FrozenBN, GN or BN" in facts[2]["sync_bn"]
