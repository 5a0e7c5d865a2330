"""How near to the machine's peak are inference and a training step? Multiplications counted, peaks measured.

    python benchmarks/floor.py [--engine FOLDER] [--pairs N]

The floor is the time that the convolutions and matrix products would take at the best rate of one large matrix
product in the same run. Peak and engine are measured in turn, as other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from inference import engine_inference
from pairs import Call, device, seconds
from training import engine_step

SIDE = 2048
COPIED = 2**28


def operations(call: Call) -> int:
    """Of convolutions and matrix products, a multiplication with its addition being two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def matrix_product(kind: str) -> Call:
    import torch

    matrix = torch.rand(SIDE, SIDE, device=kind)
    return lambda: matrix @ matrix


def memory_copy(kind: str) -> Call:
    import torch

    source = torch.ones(COPIED // 4, device=kind)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--engine", type=Path, default=here, metavar="FOLDER", help="holds the detectron2 to measure")
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.engine))
    kind = device()
    product, copied = matrix_product(kind), memory_copy(kind)
    print("## Share of the machine's peak, fp32\n")
    print("| | 10^9 operations | floor, s | time, s | share of the peak |\n|---|---|---|---|---|")
    rates, bandwidths = [], []
    for name, call in {"inference": engine_inference(kind), "training step": engine_step(kind)}.items():
        counted = operations(call)  # and warms up
        rows = [(seconds(product), seconds(call), seconds(product), seconds(copied)) for _ in range(arguments.pairs)]
        best = [2 * SIDE**3 / min(before, after) for before, _, after, _ in rows]
        shares = [counted / rate / spent for rate, (_, spent, *_) in zip(best, rows, strict=True)]
        spent = statistics.median(row[1] for row in rows)
        share = statistics.median(shares)
        print(f"| {name} | {counted / 1e9:.0f} | {share * spent:.3g} | {spent:.3g} | {share:.2f} |")
        rates += best
        bandwidths += [2 * COPIED / row[3] for row in rows]
    peak, bandwidth = statistics.median(rates) / 1e9, statistics.median(bandwidths) / 1e9
    print(f"\nPeak: {peak:.3g} x 10^9 operations/s in a product of {SIDE} x {SIDE}; copying {bandwidth:.3g} GB/s.\n")


if __name__ == "__main__":
    main()
