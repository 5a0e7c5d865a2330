"""Time and memory of plain inference beside torchvision's Mask R-CNN R50-FPN, in pairs in one run; random weights.

    python benchmarks/inference.py [--engine FOLDER] [--pairs N]

FOLDER holds another `detectron2` package, which is then measured instead of this repository's.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HEIGHT, WIDTH = 800, 1333
CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def engine_inference(device: str) -> Callable[[], object]:
    import torch

    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    config = get_cfg()
    config.merge_from_file(model_zoo.get_config_file(CONFIG))
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = device, ""
    model = build_model(config).eval()
    image = torch.randint(0, 255, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    return lambda: model([{"image": image, "height": HEIGHT, "width": WIDTH}])


def torchvision_inference(device: str) -> Callable[[], object]:
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=HEIGHT, max_size=WIDTH)
    model = model.eval().to(device)
    image = torch.rand(3, HEIGHT, WIDTH, device=device)
    return lambda: model([image])


PEERS = {"engine": engine_inference, "torchvision": torchvision_inference}


def seconds(call: Callable[[], object]) -> float:
    import torch

    started = time.perf_counter()
    with torch.inference_mode():
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_memory(peer: str) -> float:
    """GiB: on a GPU what PyTorch allocated, else the process's resident memory at its highest (Linux)."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds(PEERS[peer](device))
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_memory_alone(peer: str, engine: Path) -> float:
    """In a process of its own, as the highest memory of a process never falls."""
    command = [sys.executable, __file__, "--engine", str(engine), "--memory-of", peer]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_table(engine: Path, pairs: int) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours, peer = engine_inference(device), torchvision_inference(device)
    times = [(seconds(ours), seconds(peer)) for _ in range(pairs + 1)][1:]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in times)
    memory = [peak_memory_alone(name, engine) for name in PEERS]
    print(f"## Inference, {HEIGHT} x {WIDTH}, Mask R-CNN R50-FPN, fp32, random weights\n")
    print("| | engine | torchvision | ratio |\n|---|---|---|---|")
    print(f"| time, s (ratio: median of {pairs} pairs) | {own:.2f} | {other:.2f} | {ratio:.2f} |")
    print(f"| peak memory, GiB | {memory[0]:.2f} | {memory[1]:.2f} | {memory[0] / memory[1]:.2f} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.engine))
    if arguments.memory_of:
        print(peak_memory(arguments.memory_of))
    else:
        print_table(arguments.engine, arguments.pairs)


if __name__ == "__main__":
    main()
