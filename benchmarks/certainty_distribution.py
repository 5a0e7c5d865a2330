"""Does the fast sampling follow the published distribution of the certainty, and choose as if nothing was left out?

    python benchmarks/certainty_distribution.py --weights demo/run/weights/demo/uncertainty/best_model_000.pth \
        --images demo/run/datasets/train [--more-images FOLDER]

Weights and images are those of `make demo`, or of another run whose settings file --config names. Two tables: over all
images what leaving proposals out changes; and for fixed images the Kolmogorov-Smirnov tests between many repetitions of
T = 10 passes, fast, with PyTorch's own dropout, and as published.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

T = 10
PASSES_AT_ONCE = 100  # the published way keeps all masks at full resolution
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A run's settings file and weights of it."""

    settings: Path
    weights: Path

    def load(self) -> tuple[Any, Any]:
        """The network and its config, in float32 on the CPU."""
        import torch

        from active_learning.network.network_config import network_config
        from active_learning.network.prediction import load_network
        from active_learning.settings import load_settings

        torch.set_num_threads(1)
        settings = load_settings(self.settings, ["cuda_visible_devices", "cpu", "precision", "fp32"])
        cfg = network_config(settings, settings.experiments()[0])
        return load_network(cfg, self.weights), cfg


def repeated(sampler: Any, image: Path, repetitions: int) -> Values:
    """The certainty of an image, over and over: many passes at once are cut, as passes are independent."""
    from active_learning.network.prediction import read_input
    from active_learning.sampling import certainty_of

    passes = sampler.forward_passes(image.name, read_input(image, sampler.cfg)).passes
    size = len(passes) // repetitions
    cut = [passes[start : start + size] for start in range(0, size * repetitions, size)]
    return np.array([certainty_of(part, iou_threshold=0.5, mode="mean").value for part in cut])


def fast(trained: Trained, image: Path, repetitions: int) -> Values:
    from active_learning.network.mc_dropout import MonteCarloDropout

    model, cfg = trained.load()
    return repeated(MonteCarloDropout(model, cfg, passes=T * repetitions, seed=0), image, repetitions)


def with_own_dropout_of_torch(sampler: Any) -> Any:
    """The same sampler, whose layers drop what PyTorch's generator says. It must compute every proposal."""
    assert sampler.margin is None
    for layer in sampler.layers:
        layer.train()
    sampler.layers = []
    return sampler


def as_torch_drops(trained: Trained, image: Path, repetitions: int) -> Values:
    import torch

    from active_learning.network.mc_dropout import MonteCarloDropout

    model, cfg = trained.load()
    torch.manual_seed(2)
    sampler = MonteCarloDropout(model, cfg, passes=T * repetitions, seed=0, margin=None)
    return repeated(with_own_dropout_of_torch(sampler), image, repetitions)


def as_published(trained: Trained, image: Path, repetitions: int) -> Values:
    import torch

    from active_learning.network.prediction import read_input
    from benchmarks.published_sampling import certainty_as_published, passes_as_published

    model, cfg = trained.load()
    torch.manual_seed(1)
    values: list[float] = []
    while len(values) < repetitions:
        passes = passes_as_published(model, read_input(image, cfg), PASSES_AT_ONCE)
        cut = (passes[start : start + T] for start in range(0, PASSES_AT_ONCE, T))
        values += [certainty_as_published(part, 0.5, "mean") for part in cut]
    return np.array(values[:repetitions])


def all_ways(trained: Trained, image: Path, repetitions: int) -> list[Values]:
    """Without the repetitions in which nothing was detected."""
    ways = (fast, as_torch_drops, as_published)
    values = (way(trained, image, repetitions) for way in ways)
    return [one[~np.isnan(one)] for one in values]


def kolmogorov_smirnov(a: Values, b: Values) -> float:
    """p of the two-sample test, by the asymptotic series (Press et al., Numerical Recipes, section 14.3.3)."""
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    both = np.sort(np.concatenate([a, b]))
    sides = [np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b)]
    n = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x = (n + 0.12 + 0.11 / n) * np.abs(sides[0] - sides[1]).max()
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return 1.0 if x < 0.2 else min(max(series, 0.0), 1.0)


def certainties(trained: Trained, images: Sequence[Path], margin: float | None) -> Values:
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import read_input
    from active_learning.sampling import certainty_of

    model, cfg = trained.load()
    sampler = MonteCarloDropout(model, cfg, passes=T, seed=0, margin=margin)
    found = (sampler.forward_passes(image.name, read_input(image, cfg)) for image in images)
    return np.array([certainty_of(one.passes, iou_threshold=0.5, mode="mean").value for one in found])


def correlation_of_seen(a: Values, b: Values) -> float:
    """Spearman's, without images in which nothing was seen."""
    from active_learning.utils.uncertainty_forward_passes import rank_correlation

    seen = ~(np.isnan(a) | np.isnan(b))
    return rank_correlation(a[seen], b[seen])


def print_distribution(pool: ProcessPoolExecutor, trained: Trained, images: Sequence[Path], repetitions: int) -> None:
    count = len(images)
    results = list(pool.map(all_ways, [trained] * count, images, [repetitions] * count))
    print(f"## Certainty over {repetitions} repetitions of T = {T}: Kolmogorov-Smirnov, fast against the two others\n")
    print("| image | mean, fast | mean, PyTorch's dropout | p | mean, published | p |\n|---|---|---|---|---|---|")
    passed = np.zeros(2, dtype=int)
    for image, (ours, *others) in zip(images, results, strict=True):
        p = [kolmogorov_smirnov(ours, values) for values in others]
        passed += np.array(p) > 0.01
        cells = (f"{values.mean():.4f} | {own:.3f}" for values, own in zip(others, p, strict=True))
        print(f"| {image.name} | {ours.mean():.4f} | {' | '.join(cells)} |")
    print(f"\np > 0.01 for {passed[0]} and {passed[1]} of {count} images (goal: {math.ceil(0.95 * count)})\n")


def print_left_out(pool: ProcessPoolExecutor, trained: Trained, images: Sequence[Path]) -> None:
    margins = [None, 4.0, 3.0, 2.0, 0.0]
    every, *others = pool.map(certainties, [trained] * len(margins), [images] * len(margins), margins)
    chosen = max(len(images) // 4, 1)
    print(f"## Proposals left out, {len(images)} images, T = {T}, against all proposals in all passes\n")
    print(f"| margin | rank correlation | the same among the {chosen} least certain | values equal to 1e-4 |")
    print("|---|---|---|---|")
    for margin, values in zip(margins[1:], others, strict=True):
        same = len(set(values.argsort()[:chosen]) & set(every.argsort()[:chosen]))
        equal = int(np.isclose(values, every, atol=1e-4, equal_nan=True).sum())
        print(f"| {margin} | {correlation_of_seen(values, every):.4f} | {same} | {equal} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("demo/demo.yaml"), help="settings file of the run")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--more-images", type=Path, help="for the table of what is left out")
    parser.add_argument("--fixed", type=int, default=20, help="images of the distribution table; 0: without it")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    trained = Trained(arguments.config, arguments.weights)
    images = sorted(path for path in arguments.images.rglob("*") if path.suffix in (".jpg", ".png"))
    more = sorted(arguments.more_images.rglob("*.jpg")) if arguments.more_images else []
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        print_left_out(pool, trained, [*images, *more])
        if arguments.fixed:
            print()
            print_distribution(pool, trained, images[: arguments.fixed], arguments.repetitions)


if __name__ == "__main__":
    main()
