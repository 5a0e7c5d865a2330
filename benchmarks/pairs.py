"""Measures an engine beside its peers: times in turn in one run, each peak of memory in a process of its own."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import active_learning  # noqa: E402, F401  (before --engine adds a folder that may hold another one)

Call = Callable[[], object]
Peers = Mapping[str, Callable[[str], Call]]
"""The engine first, the one to compare with last: each takes a device and makes ready what is called and timed."""


def compare(title: str, description: str, peers: Peers, images: int, pairs: int = 5) -> bool:
    """Prints the table of one question, or, in the process that it starts for that, the memory of one peer.

    Args:
        images: that one call works on.
        pairs: where the command line does not say it.

    Returns whether it printed the table.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--engine", type=Path, default=here, metavar="FOLDER", help="holds the detectron2 to measure")
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--memory-of", choices=peers, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.engine))
    if arguments.memory_of:
        print(peak_memory(peers[arguments.memory_of]))
        return False
    print_table(title, peers, arguments.pairs, images)
    return True


def print_table(title: str, peers: Peers, pairs: int, images: int) -> None:
    memory = [peak_memory_alone(name) for name in peers]  # first: a new process inherits the peak of its parent
    calls = [make_ready(device()) for make_ready in peers.values()]
    times = [[seconds(call) for call in calls] for _ in range(pairs + 1)][1:]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(row[0] / row[-1] for row in times)
    print(f"## {title}\n\n| | {' | '.join(peers)} | ratio of first to last |\n|---|{'---|' * len(peers)}---|")
    timed = "1 pair" if pairs == 1 else f"median of {pairs} pairs"
    print(_row(f"time, s (ratio: {timed})", [f"{value:.3g}" for value in medians], ratio))
    print(_row("images/s", [f"{images / value:.3g}" for value in medians], 1 / ratio))
    print(_row("peak memory, GiB", [f"{value:.2f}" for value in memory], memory[0] / memory[-1]) + "\n")


def _row(name: str, cells: list[str], ratio: float) -> str:
    return f"| {name} | {' | '.join(cells)} | {ratio:.2f} |"


def device() -> str:
    """The device to measure on. From now on fp32 is float32 there, for all peers: GPUs would calculate in TF32."""
    import torch

    from active_learning.network.precision import use_exact_float32

    use_exact_float32()
    return "cuda" if torch.cuda.is_available() else "cpu"


def seconds(call: Call) -> float:
    import torch

    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_memory(make_ready: Callable[[str], Call]) -> float:
    """GiB: on a GPU what PyTorch allocated, else the process's resident memory at its highest (Linux)."""
    import torch

    call = make_ready(device())
    for _ in range(2):  # what the first leaves behind (gradients, momentum) is there in the second
        seconds(call)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return peak_kib() / 2**20


def peak_kib() -> int:
    """Of this process so far. On Linux not by getrusage, whose figure begins with the memory of the parent process."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_memory_alone(peer: str) -> float:
    """In a process of its own, as the highest memory of a process never falls."""
    command = [sys.executable, *sys.argv, "--memory-of", peer]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
