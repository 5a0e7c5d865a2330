from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from active_learning.network import network_config
from active_learning.network.network_config import training_config
from active_learning.network.weights_files import save_weights
from active_learning.settings import Settings, load_settings
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tests.active_learning.network.conftest import dataset, image_folder, one_thread  # noqa: F401
from tests.faults.project import annotation_of, make_project
from tests.simulated_cuda.ledger import Ledger
from tests.simulated_cuda.networks import CLASSES, lively, write_networks
from tests.simulated_cuda.torch_cuda import simulated_cuda


@pytest.fixture
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """This process has one GPU, a simulated one (parameter: its compute capability); what it counts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    network_config._device.cache_clear()
    with simulated_cuda(getattr(request, "param", (9, 0))) as ledger:
        yield ledger
    network_config._device.cache_clear()


@pytest.fixture(scope="session")
def network_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def make_settings(network_files: dict[str, Path]) -> Callable[..., Any]:
    """Settings of a kind of network; keyword arguments replace keys."""

    def make(kind: str, **keys: Any) -> Settings:
        values = {"classes": CLASSES, "network_config": str(network_files[kind]), "pretrained_weights": "", "seed": 1}
        training = {"train_iterations_base": 4, "eval_period": 2, "warmup_iterations": 1, "train_batch_size": 2}
        return Settings(**{**values, **training, "confidence_threshold": 0.2, "num_workers": 0, **keys})

    return make


@pytest.fixture
def make_cfg(cuda: Ledger, make_settings: Callable[..., Any]) -> Callable[..., CfgNode]:
    def make(kind: str = "FPN", **keys: Any) -> CfgNode:
        settings = make_settings(kind, **keys)
        return network_config.network_config(settings, settings.experiments()[0])

    return make


@pytest.fixture
def make_training_cfg(
    make_cfg: Callable[..., CfgNode],
    make_settings: Callable[..., Any],
    tmp_path: Path,
    dataset: str,  # noqa: F811
) -> Callable[..., CfgNode]:
    """The config of a training on the six images of `dataset`, in `tmp_path`."""

    def make(kind: str = "FPN", **keys: Any) -> CfgNode:
        data = {"image_count": 6, "class_images": {}, "train_dataset": dataset, "val_dataset": dataset, "weights": ""}
        return training_config(make_cfg(kind, **keys), make_settings(kind, **keys), output_dir=tmp_path, **data)

    return make


@dataclass(frozen=True)
class Project:
    """A project as a user has it: annotated images, settings, a network file, and weights of an untrained network."""

    folder: Path
    weights: Path

    @property
    def settings(self) -> str:
        return str(self.folder / "maskAL.yaml")


@pytest.fixture
def project(cuda: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., Any]) -> Project:
    few = {"train_iterations_base": 2, "eval_period": 2, "warmup_iterations": 1, "loops": 1}
    make_project(tmp_path, cuda_visible_devices="0", precision="auto", auto_annotate=True, **few)
    for image in sorted((tmp_path / "data").rglob("*.png")):
        image.with_suffix(".json").write_bytes(annotation_of(image.name))
    monkeypatch.chdir(tmp_path)
    settings = load_settings(tmp_path / "maskAL.yaml")
    model = make_model(network_config.network_config(settings, settings.experiments()[0]))
    save_weights(model, tmp_path / "untrained.pth")
    return Project(tmp_path, tmp_path / "untrained.pth")


@pytest.fixture
def make_model() -> Callable[[CfgNode], nn.Module]:
    """An untrained network that detects something."""

    def make(cfg: CfgNode) -> nn.Module:
        torch.manual_seed(1)
        return lively(build_model(cfg)).eval()

    return make
