"""An exported network beside the network itself: do they detect the same, and how long does each take?

    python benchmarks/onnx_export.py [--images FOLDER ...] [--weights FILE] [--networks NAME ...]

Ten images of the folders (without one, of the demo data set), brought to ten sizes, go through each network: with
onnxruntime, and with PyTorch, both with the same number of threads and in turn. R-18 is the demo's network with trained
weights (those of `make demo`); the others have learned something by heart (memorised_network.py).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.pictures import read_picture  # noqa: E402

TRAINED = "R-18 FPN"
NETWORKS = {
    TRAINED: str(ROOT / "demo" / "network.yaml"),
    "R-50 FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
    "X-101 FPN": "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml",
    "R-50 C4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml",
    "R-50 DC5": "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x.yaml",
}
# Height, width. Two of them have sides that fall on a half when they are brought to the network's size.
SIZES = [(200, 300), (300, 200), (480, 640), (500, 1000), (768, 1024), (1000, 667), (1080, 1920), (1500, 750),
         (1500, 2000), (2000, 1500)]  # fmt: skip
WEIGHTS = ROOT / "demo" / "run" / "weights" / "demo" / "uncertainty" / "best_model_002.pth"
LARGE = 1000
STEPS = 40  # of learning by heart
DETECTIONS = 15  # of such a network, in the image that it has learned


@dataclass
class Difference:
    """Of the detections of one image; the largest of boxes in pixels and of scores, the smallest IoU of masks.

    `pixels` of all masks differ; there the probability is at most `doubt` from the threshold. `large` is as `masks`, of
    those of LARGE pixels: a pixel on the outline of a smaller one is more than a thousandth of it.
    """

    detections: int = 0
    unmatched: int = 0
    boxes: float = 0.0
    scores: float = 0.0
    masks: float = 1.0
    pixels: int = 0
    doubt: float = 0.0
    large: float = 1.0

    def and_of(self, other: Difference) -> Difference:
        return Difference(
            self.detections + other.detections,
            self.unmatched + other.unmatched,
            max(self.boxes, other.boxes),
            max(self.scores, other.scores),
            min(self.masks, other.masks),
            self.pixels + other.pixels,
            max(self.doubt, other.doubt),
            min(self.large, other.large),
        )


def difference(expected: Any, found: dict[str, np.ndarray], threshold: float) -> Difference:
    """Detections of PyTorch (Instances) beside those of onnxruntime, each with that of the nearest box and class."""
    from demo.onnx_predict import pasted_probabilities

    boxes, classes = expected.pred_boxes.tensor.numpy(), expected.pred_classes.numpy()
    result = Difference(len(boxes), abs(len(boxes) - len(found["boxes"])))
    for index in range(min(len(boxes), len(found["boxes"]))):
        apart = np.abs(found["boxes"] - boxes[index]).max(axis=1) + 1e6 * (found["classes"] != classes[index])
        near = int(apart.argmin())
        mask, whole = expected.pred_masks[index].numpy(), expected.image_size
        probabilities = pasted_probabilities(found["masks"][near], found["boxes"][near], whole[0], whole[1])
        own = probabilities >= threshold
        union, differing = (mask | own).sum(), mask != own
        iou = float((mask & own).sum() / union) if union else 1.0
        score = abs(float(found["scores"][near] - expected.scores[index]))
        doubt = float(np.abs(probabilities[differing] - threshold).max(initial=0.0))
        large = iou if union >= LARGE else 1.0
        result = result.and_of(Difference(0, 0, float(apart[near]), score, iou, int(differing.sum()), doubt, large))
    return result


def photographs(folders: Sequence[Path]) -> list[np.ndarray]:
    """Ten of them, spread over the folders, each (H, W, 3) uint8 in blue, green, red, of the sizes above."""
    files = [sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
             for folder in folders]  # fmt: skip
    count = -(-len(SIZES) // len(folders))
    chosen = [own[place * len(own) // count] for own in files for place in range(count)]
    images = [read_picture(path) for path in chosen]
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            for image, (height, width) in zip(images, SIZES, strict=False)]  # fmt: skip


def build(name: str, weights: Path, image: np.ndarray) -> tuple[Any, Any]:
    """Network and config."""
    import torch
    from memorised_network import config, memorised_network

    from active_learning.network.model_input import network_input
    from active_learning.network.prediction import detect, load_network

    cfg = config(NETWORKS[name])
    cfg.MODEL.DEVICE = "cpu"
    if name == TRAINED:
        return load_network(cfg, weights), cfg
    model = memorised_network(cfg, network_input(image, cfg), STEPS)
    # Anchors as they are overlap by round numbers, such as the threshold: whether above or below, rounding decides.
    torch.nn.init.normal_(model.proposal_generator.rpn_head.anchor_deltas.weight, std=0.02)
    predictor = model.roi_heads.box_predictor
    torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.02)
    predictor.test_score_thresh = 0.0
    scores = detect(model, network_input(image, cfg)).scores
    predictor.test_score_thresh = float(scores[: DETECTIONS + 1][-2:].mean())  # between two of them
    return model, cfg


def measure(name: str, weights: Path, images: Sequence[np.ndarray]) -> str:
    """A row of the table."""
    import onnxruntime
    import torch

    from active_learning.network.detection_crops import MASK_THRESHOLD
    from active_learning.network.model_input import network_input
    from active_learning.network.onnx_export import build_onnx
    from active_learning.network.prediction import detect

    model, cfg = build(name, weights, images[0])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(build_onnx(model, cfg, version="benchmark").SerializeToString())
        megabytes = file.stat().st_size / 1e6
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    total, times = Difference(), []
    session.run(names, {"image": images[0]}), detect(model, network_input(images[0], cfg))  # to warm up
    for image in images:
        started = time.perf_counter()
        expected = detect(model, network_input(image, cfg))
        between = time.perf_counter()
        found = dict(zip(names, session.run(names, {"image": image}), strict=True))
        times.append((between - started, time.perf_counter() - between))
        total = total.and_of(difference(expected, found, MASK_THRESHOLD))
    torch_time, onnx_time = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(own / other for other, own in times)
    cells = [len(images), total.detections, total.unmatched, f"{total.boxes:.4f}", f"{total.scores:.1e}"]
    cells += [f"{total.masks:.4f}", f"{total.large:.4f}", total.pixels, f"{total.doubt:.0e}"]
    cells += [f"{torch_time:.2f}", f"{onnx_time:.2f}", f"{ratio:.2f}", f"{megabytes:.0f}"]
    return f"| {name} | {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", default=[ROOT / "demo" / "run" / "datasets" / "test"])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="trained ones of demo/network.yaml")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--count", type=int, default=len(SIZES), help="of the images, from the first")
    given = parser.parse_args()
    images = photographs(given.images)[: given.count]
    print("## Exported to ONNX: onnxruntime beside PyTorch\n")
    print("| network | images | detections | unmatched | boxes off, pixels | scores off | least IoU of masks "
          f"| of masks of {LARGE} pixels and more | pixels that differ | their distance from 0.5 "
          "| PyTorch, s | onnxruntime, s | ratio | MB |")  # fmt: skip
    print(f"|{'---|' * 14}")
    for name in given.networks:
        print(measure(name, given.weights, images), flush=True)


if __name__ == "__main__":
    main()
