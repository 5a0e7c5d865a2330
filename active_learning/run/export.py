"""What export_onnx.py is asked for: a run's newest network, or one that the command line names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.network_config import network_config, pretrained_weights
from active_learning.network.network_file import published_classes
from active_learning.run.weights import weights_of_run
from active_learning.settings import Settings, load_settings
from active_learning.settings.paths import folder_to_make_mistakes, is_zoo_config
from active_learning.settings.weights_file import weights_fault
from active_learning.system.written_files import files_of_others


@dataclass(frozen=True)
class Export:
    """`weights` is a file or an address; `out` the .onnx file, whose twin ends in .yaml."""

    settings: Settings
    weights: str
    out: Path
    pasted_masks: bool

    def write(self, version: str) -> str:
        """Returns what was done, in words. Raises MaskALError where the network cannot be loaded or exported."""
        if "://" not in self.weights and (fault := weights_fault(Path(self.weights))):
            raise MaskALError(f"{self.weights}: {fault}")
        from active_learning.network.onnx_export import check_exportable, export_network

        cfg, classes = network_config(self.settings, self.settings.experiments()[0]), self.settings.classes
        check_exportable(cfg, self.settings.network_config)
        export_network(cfg, self.weights, classes, self.out, version=version, pasted_masks=self.pasted_masks)
        return f"Exported {self.weights} to {self.out}; what is to be known of it: {_twin(self.out)}"


def read_request(given: argparse.Namespace) -> Export:
    """Raises SettingsError for mistakes in settings or command line, MaskALError where there are no weights."""
    if find_spec("onnx") is None:
        raise MaskALError("export_onnx.py needs onnx; install it with: pip install onnx")
    if mistakes := tuple(_mistakes(given)):
        raise SettingsError("The network cannot be exported; nothing was changed", mistakes)
    network, classes = given.network_config, given.classes
    if given.config is None and is_zoo_config(given.weights):
        network = network or given.weights
        classes = classes or published_classes(network)  # none where they are not known: the settings ask for them
    values = {"network_config": network, "classes": classes, "cuda_visible_devices": "cpu"}
    as_yaml = partial(json.dumps, ensure_ascii=False)  # else two \u for one character, which YAML takes for two
    overrides = [word for key, value in values.items() if value for word in (key, as_yaml(value))]
    settings = load_settings(given.config, [*overrides, *given.overrides])
    return Export(settings, _weights(settings, given.weights), given.out, given.pasted_masks)


def _twin(out: Path) -> Path:
    return out.with_suffix(".yaml")


def _mistakes(given: argparse.Namespace) -> Iterator[str]:
    if given.out.suffix != ".onnx":
        yield f"--out: {given.out}: the name must end in .onnx, such as model.onnx"
        return
    for path in files_of_others(given.out.parent, (given.out.name, _twin(given.out).name)):
        yield f"--out: {path} is there, and not as MaskAL wrote it; move it away, or give another name"
    yield from (message for _, message in folder_to_make_mistakes("--out", given.out.parent))
    if given.config is not None:
        return
    if not given.weights:
        yield "--config: is missing, and so is --weights; give the settings file of a run, or the weights of a network"
    elif not (given.classes or is_zoo_config(given.weights)):
        yield "--classes: is missing; list those that the network was trained with, in order"


def _weights(settings: Settings, given: str | None) -> str:
    """A file, or an address of published weights."""
    if not given:
        return str(weights_of_run(settings, settings.experiments()[0]))
    if not is_zoo_config(given):
        return given
    return pretrained_weights(settings.model_copy(update={"pretrained_weights": given}))
