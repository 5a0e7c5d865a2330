"""What counting weak detections costs: sampling at threshold 0.05 beside 0.5, with a trained network, in one run.

    python benchmarks/weak_detections.py --config SETTINGS --weights BEST_MODEL.pth [--images N]

Images are the first N of `valdir`. Times are of the processor, one thread, the first image left out (warm-up).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from active_learning.dataset.image_folder import find_images  # noqa: E402
from active_learning.sampling.strategies import WEAK_DETECTIONS  # noqa: E402
from active_learning.settings import Settings, load_settings  # noqa: E402

USUAL = 0.5


def measure(settings: Settings, weights: Path, images: int) -> str:
    """A markdown table: seconds an image and detections in all passes, at both thresholds."""
    import torch

    from active_learning.network.image_batches import UnreadableImage, read_images
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.network_config import network_config
    from active_learning.network.prediction import load_network
    from active_learning.sampling.certainty import certainty_of

    torch.set_num_threads(1)
    experiment = settings.experiments()[0]
    base, samplers = network_config(settings, experiment), {}
    for threshold in (USUAL, WEAK_DETECTIONS):
        cfg = base.clone()
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
        network = load_network(cfg, weights)
        samplers[threshold] = MonteCarloDropout(network, cfg, passes=experiment.mcd_iterations, seed=0)
    times: dict[float, list[float]] = {threshold: [] for threshold in samplers}
    counts = dict.fromkeys(samplers, 0)
    for image in read_images(settings.valdir, find_images(settings.valdir)[:images], base):
        if isinstance(image, UnreadableImage):
            continue
        for threshold, sampler in samplers.items():
            started = time.process_time()
            passes = sampler.forward_passes(image.name, image.content).passes
            certainty_of(passes, iou_threshold=settings.iou_thres, mode="mean")
            times[threshold].append(time.process_time() - started)
            counts[threshold] += sum(map(len, passes))
    means = {threshold: float(np.mean(values[1:])) for threshold, values in times.items()}
    rows = [
        f"| {threshold} | {mean:.4f} | {mean / means[USUAL]:.2f} | {counts[threshold]} |"
        for threshold, mean in means.items()
    ]
    title = f"| threshold | s an image, T = {experiment.mcd_iterations} | against {USUAL} | detections |"
    return "\n".join([title, "|---|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=40)
    given = parser.parse_args()
    print(measure(load_settings(given.config), given.weights, given.images))


if __name__ == "__main__":
    main()
