"""catalog:// names lead to the cache of their addresses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer, ModelCatalog
from detectron2.utils.file_io import PathManager


def test_catalogue_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    cached = tmp_path / "detectron" / "ImageNetPretrained" / "47261647" / "R-50-GN.pkl"
    cached.parent.mkdir(parents=True)
    model = nn.Linear(1, 1)
    cached.write_bytes(pickle.dumps({"model": {"weight": np.float32([[7]]), "bias": np.float32([8])}}))
    assert Path(PathManager.get_local_path("catalog://ImageNetPretrained/FAIR/R-50-GN")) == cached
    assert PathManager.isfile("catalog://ImageNetPretrained/FAIR/R-50-GN")
    DetectionCheckpointer(model).load("catalog://ImageNetPretrained/FAIR/R-50-GN")
    assert (model.weight.item(), model.bias.item()) == (7, 8)
    with pytest.raises(RuntimeError, match="nearest names: ImageNetPretrained/MSRA/R-50,"):
        ModelCatalog.get("ImageNetPretrained/MSRA/R50")
