"""Measures an engine beside torchvision's: times in pairs, each peak of memory in a process of its own."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Call = Callable[[], object]
Peers = Mapping[str, Callable[[str], Call]]
"""`engine` and `torchvision`: each takes a device and makes ready what is then called and timed."""


def compare(title: str, description: str, peers: Peers) -> None:
    """Prints the table of one question, or, in the process that it starts for that, the memory of one peer."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--engine", type=Path, default=here, metavar="FOLDER", help="holds the detectron2 to measure")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--memory-of", choices=peers, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.engine))
    if arguments.memory_of:
        print(peak_memory(peers[arguments.memory_of]))
    else:
        print_table(title, peers, arguments.pairs)


def print_table(title: str, peers: Peers, pairs: int) -> None:
    memory = [peak_memory_alone(name) for name in peers]  # first: a new process inherits the peak of its parent
    ours, theirs = (make_ready(device()) for make_ready in peers.values())
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs + 1)][1:]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(mine / peer for mine, peer in times)
    print(f"## {title}\n\n| | {' | '.join(peers)} | ratio |\n|---|---|---|---|")
    print(f"| time, s (ratio: median of {pairs} pairs) | {own:.3g} | {other:.3g} | {ratio:.2f} |")
    print(f"| peak memory, GiB | {memory[0]:.2f} | {memory[1]:.2f} | {memory[0] / memory[1]:.2f} |\n")


def device() -> str:
    import torch

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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_memory_alone(peer: str) -> float:
    """In a process of its own, as the highest memory of a process never falls."""
    command = [sys.executable, *sys.argv, "--memory-of", peer]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
