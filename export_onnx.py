"""Write a trained network as a file that runs without this repository.

    python export_onnx.py --config maskAL.yaml --out model.onnx [KEY VALUE ...]
    python export_onnx.py --weights FILE --network_config CONFIG --classes a b c --out model.onnx

Beside model.onnx stands model.yaml: classes, sizes, thresholds, the order of colours. Exit codes: 0 done, 1 failure,
2 wrong settings or usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from active_learning import __version__
from active_learning.system.devices import show_devices
from active_learning.system.exit_code import exit_code_of
from active_learning.system.log import print_result


def run(arguments: argparse.Namespace) -> None:
    from active_learning.run.export import read_request

    show_devices("cpu")
    print_result(read_request(arguments).write(__version__))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="export_onnx.py",
        description="Write a trained network as ONNX, for robots and other programs: it runs in onnxruntime, OpenVINO "
        "and TensorRT, without MaskAL and PyTorch. ONNX.md has its input and outputs.",
    )
    add = parser.add_argument
    add("--version", action="version", version=f"MaskAL {__version__}")
    add("--config", type=Path, metavar="FILE", help="the settings file of the run; its newest network is exported")
    add("--out", type=Path, required=True, metavar="FILE", help="such as model.onnx; model.yaml is written beside it")
    add("--weights", metavar="FILE",
        help="other trained weights (.pth, .pkl), or a config's name for its published COCO weights")  # fmt: skip
    add("--network_config", metavar="CONFIG",
        help="the network of the weights: a name below configs/ or a file; default: as in the settings")  # fmt: skip
    add("--classes", nargs="+", default=[], metavar="NAME",
        help="the classes of the training, in order; default: as in the settings, or the published ones")  # fmt: skip
    add("--pasted_masks", action="store_true", help="a further output: masks in the size of the image")
    add("overrides", nargs="*", metavar="KEY VALUE", help="settings that replace those of the file; before --classes")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code_of(run, parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
