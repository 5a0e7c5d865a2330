"""What deciding on dropped elements costs: the hash of a counter beside a random generator for each pass.

    python benchmarks/dropout.py [--rounds N]

Inputs of R50-FPN's heads in T = 10 passes, in turn in one run. Times are of the processor, one thread.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_learning.network.seeded_dropout import SeededDropout, active_dropout, pass_streams  # noqa: E402

T = 10
INPUTS = {
    "first layer of the box head, 64 proposals": (64, 12544),
    "second layer, 64 proposals": (64, 1024),
    "mask head, 12 objects": (12, 256, 14, 14),
}
Call = Callable[[], torch.Tensor]


def by_hash(x: torch.Tensor, p: float) -> Call:
    layer, count = SeededDropout(p).eval(), len(x) // T
    streams = pass_streams(torch.arange(T).repeat_interleave(count))
    objects = torch.arange(count).repeat(T)

    def call() -> torch.Tensor:
        with active_dropout([layer], "0 image.jpg", streams, objects):
            assert layer.drop_mask is not None
            return layer.drop_mask(x)

    return call


def by_generators(x: torch.Tensor, p: float) -> Call:
    """As up to version 0.1.0: 8 or 16 bits for each element from a Mersenne Twister for each pass."""
    bits, dtype = (8, torch.int8) if (p * 2**8).is_integer() else (16, torch.int16)

    def call() -> torch.Tensor:
        numbers = torch.empty(x.numel(), dtype=dtype)
        for index, own in enumerate(numbers.chunk(T)):
            words = torch.empty(math.ceil(len(own) * bits / 64), dtype=torch.int64)
            words.random_(-(2**63), None, generator=torch.Generator().manual_seed(index))
            own.copy_(words.view(dtype)[: len(own)])
        return (numbers < round(p * 2**bits) - 2 ** (bits - 1)).view(x.shape)

    return call


def in_turn(x: torch.Tensor, p: float, rounds: int) -> npt.NDArray[np.float64]:
    """(rounds, 2) milliseconds: by the hash, by generators; the first round, a warm-up, left out."""
    calls = by_hash(x, p), by_generators(x, p)
    return np.array([[milliseconds(call) for call in calls] for _ in range(rounds + 1)][1:])


def milliseconds(call: Call) -> float:
    started = time.process_time()
    call()
    return 1000 * (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"## What is dropped, T = {T}, one thread, median of {rounds} rounds\n")
    print("| input | p | hash, ms | a generator a pass, ms | ratio |\n|---|---|---|---|---|")
    for p in (0.5, 0.25, 0.1):
        times = {name: in_turn(torch.empty(T * count, *shape), p, rounds) for name, (count, *shape) in INPUTS.items()}
        times["together"] = sum(times.values(), np.zeros((rounds, 2)))
        for name, rows in times.items():
            ours, theirs = np.median(rows, axis=0)
            print(f"| {name} | {p} | {ours:.2f} | {theirs:.2f} | {np.median(rows[:, 0] / rows[:, 1]):.2f} |")
    print()


if __name__ == "__main__":
    main()
