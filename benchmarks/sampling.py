"""Time and memory of T = 10 sampling, R50-FPN, a 1920 x 1080 file at 800 px, about 10 objects; all in one run.

    python benchmarks/sampling.py [--rounds N]

Sampling stands beside plain inference of the same network by this engine and by torchvision, and beside the sampling as
published, in plain code, on a network laid out as upstream's. Then: one process against two, few images against many.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.memorised_network import config, drawn_image, memorised_network  # noqa: E402
from benchmarks.pairs import device, peak_memory, seconds  # noqa: E402

T = 10
LARGE = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
SMALL = "demo/network.yaml"
# Upstream Detectron2 was measured with 3.6 s where torchvision took 3.45.
UPSTREAM_BY_TORCHVISION = 3.6 / 3.45
Call = Callable[[], Any]


def sampling(model: Any, cfg: Any, given: Any, *, passes: int = T, half: bool = False) -> Call:
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.sampling import certainty_of

    cfg = cfg.clone()
    cfg.SOLVER.AMP.ENABLED = half
    sampler = MonteCarloDropout(model, cfg, passes=passes, seed=0)
    return lambda: certainty_of(sampler.forward_passes("drawn", given).passes, iou_threshold=0.5, mode="mean")


def published(model: Any, given: Any) -> Call:
    from benchmarks.published_sampling import certainty_as_published, on_upstream, passes_as_published

    model = on_upstream(model)
    return lambda: certainty_as_published(passes_as_published(model, given, T), 0.5, "mean")


def plain(model: Any, given: Any) -> Call:
    import torch

    return torch.inference_mode()(lambda: model([given]))


def torchvision_plain(height: int, width: int) -> Call:
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=height, max_size=width)
    model, image = model.eval().to(device()), torch.rand(3, height, width, device=device())
    return torch.inference_mode()(lambda: model([image]))


def peer(name: str, weights: Path) -> Call:
    """What is measured under this name, with the network whose weights were saved."""
    import torch

    from detectron2.modeling import build_model

    if name == "torchvision":
        return torchvision_plain(750, 1333)
    cfg, given = config(LARGE), drawn_image(750, 1333, 1080, 1920)
    model: Any = build_model(cfg).eval()
    saved = torch.load(weights)
    model.load_state_dict(saved["model"])
    model.pixel_std.copy_(saved["pixel_std"])
    if name == "plain":
        return plain(model, given)
    if name == "published":
        return published(model, given)
    return sampling(model, cfg, given, passes=100 if name == "sampling T=100" else T, half=name == HALF)


HALF = "sampling, 16 bits"
TIMED = ("sampling", HALF, "plain", "torchvision", "published")
WEIGHED = ("plain", "sampling", "sampling T=100", HALF)


def measured(names: tuple[str, ...]) -> list[str]:
    """Without 16 bits, where the hardware only imitates them."""
    from active_learning.network.network_config import mixed_precision

    return [name for name in names if name != HALF or mixed_precision("auto", device())]


def prepare(weights: Path) -> None:
    import torch

    model = memorised_network(config(LARGE), drawn_image(750, 1333, 1080, 1920))
    torch.save({"model": model.state_dict(), "pixel_std": model.pixel_std}, weights)


def print_times(weights: Path, rounds: int) -> None:
    calls = {name: peer(name, weights) for name in measured(TIMED)}
    for name, call in calls.items():
        if name != "published":
            seconds(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    median = {name: statistics.median(values) for name, values in times.items()}
    median["upstream, reckoned from torchvision"] = median["torchvision"] * UPSTREAM_BY_TORCHVISION
    seen = [observation.size for observation in calls["sampling"]().observations]
    print(f"## Sampling, T = {T}, {device()}: median of {rounds} rounds; {sum(seen)} detections in {T} passes\n")
    ours = [name for name in ("sampling", HALF) if name in calls]
    print(f"| | s | {' | '.join(f'{name}, against it' for name in ours)} |\n|---|---|{'---|' * len(ours)}")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {' | '.join(ratio(median[own], value) for own in ours)} |")
    print()


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if ours >= theirs / 2 else f"1 / {theirs / ours:.1f}"


def print_memory(weights: Path) -> None:
    peaks = {name: float(run("--memory-of", name, "--weights", str(weights))) for name in measured(WEIGHED)}
    print("## Memory of sampling\n\n| | peak memory, GiB | against plain |\n|---|---|---|")
    for name, value in peaks.items():
        print(f"| {name} | {value:.2f} | {value / peaks['plain']:.2f} |")
    print()


def seconds_an_image(images: int) -> float:
    """A small network over so many images, in this process."""
    import torch

    torch.set_num_threads(1)
    cfg, given = config(SMALL), drawn_image(240, 320, 240, 320)
    call = sampling(memorised_network(cfg, given), cfg, given)
    seconds(call)
    started = time.perf_counter()
    for _ in range(images):
        call()
    return (time.perf_counter() - started) / images


def print_scaling() -> None:
    few, many = (float(run("--seconds-an-image", str(count))) for count in (20, 400))
    pair = [start("--seconds-an-image", "200") for _ in range(2)]
    together = statistics.mean(float(process.communicate()[0].splitlines()[-1]) for process in pair)
    alone = float(run("--seconds-an-image", "200"))
    print("| small network, one thread a process | s an image | against the line above |\n|---|---|---|")
    print(f"| 20 images | {few:.4f} | |\n| 400 images | {many:.4f} | {many / few:.2f} |")
    print(f"| 200 images, one process | {alone:.4f} | |")
    print(f"| 2 x 200 images, two processes at once, each | {together:.4f} | {together / alone:.2f} |\n")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def run(*arguments: str) -> str:
    process = start(*arguments)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return output.splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)  # alone: makes them
    parser.add_argument("--seconds-an-image", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(peak_memory(lambda _: peer(arguments.memory_of, arguments.weights)))
    elif arguments.weights:
        prepare(arguments.weights)
    elif arguments.seconds_an_image:
        print(seconds_an_image(arguments.seconds_an_image))
    else:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pth"
            start("--weights", str(weights)).communicate()
            print_memory(weights)  # first: a new process inherits the peak of its parent
            print_times(weights, arguments.rounds)
        print_scaling()


if __name__ == "__main__":
    main()
