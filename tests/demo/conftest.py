"""A tiny network with random weights, for the tests of prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

SMALL = """
_BASE_: "{base}"
MODEL:
  DEVICE: cpu
  BACKBONE: {{FREEZE_AT: 0}}
  MASK_ON: True
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN}}
  FPN: {{OUT_CHANNELS: 8}}
  RPN: {{PRE_NMS_TOPK_TEST: 50, POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS: {{NUM_CLASSES: 2}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ROI_MASK_HEAD: {{NUM_CONV: 1, CONV_DIM: 8}}
INPUT: {{MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}}
TEST: {{DETECTIONS_PER_IMAGE: 5}}
"""


@dataclass(frozen=True)
class SmallNetwork:
    """Files of a network of two classes."""

    config: Path
    weights: Path

    def arguments(self, *more: str, weights: Path | None = None, classes: str = "healthy damaged") -> list[str]:
        return [
            *("--config-file", str(self.config), "--classes", *classes.split(), *more),
            *("--opts", "MODEL.WEIGHTS", str(weights or self.weights)),
        ]


@pytest.fixture(scope="session")
def small_network(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallNetwork:
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    files = SmallNetwork(folder / "network.yaml", folder / "best_model_000.pth")
    base = (project_root / "configs/Base-RCNN-FPN.yaml").as_posix()
    files.config.write_text(SMALL.format(base=base), encoding="utf-8")
    cfg = get_cfg()
    cfg.merge_from_file(str(files.config))
    torch.save({"model": build_model(cfg).state_dict()}, files.weights)
    return files
