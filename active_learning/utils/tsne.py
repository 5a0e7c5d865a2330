"""A map of objects as the network sees them: t-SNE of the box head's features, coloured by their annotated class.

    python active_learning/utils/tsne.py --config maskAL.yaml [--img_dir FOLDER] [KEY VALUE ...]

Detections are matched with the annotations beside the images by the overlap of their masks (iou_thres). Classes that
lie apart are told apart; a cross is an object whose class was taken for another. Writes tsne.csv and tsne.png.
Needs scikit-learn (van der Maaten & Hinton 2008).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder, but the one that holds the package

from active_learning.annotations import read_annotation
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.labels import split_by_label
from active_learning.dataset.image_folder import pair_annotations
from active_learning.errors import MaskALError
from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import csv_text
from active_learning.system.image_files import image_size
from active_learning.utils.study import Study, of_each_image, open_study, save_csv, save_figure, study_parser

LEAST_OBJECTS = 5  # fewer make no map
COLOURS = ("#0b6e99", "#c2410c", "#15803d", "#8b2fd6", "#be185d", "#8a5a00", "#0f766e", "#4f46e5", "#7f1d1d", "#767f79")


@dataclass(frozen=True, eq=False)
class Match:
    """A detection of an annotated object; `features` (C,)."""

    image: str
    annotated: str
    predicted: str
    score: float
    iou: float
    features: npt.NDArray[np.float32]


def match(
    annotated: npt.NDArray[np.bool_], detected: npt.NDArray[np.bool_], threshold: float
) -> list[tuple[int, int, float]]:
    """(annotation, detection, IoU) of masks (m, H, W) and (n, H, W) whose IoU is above the threshold, each used once,
    the largest overlaps first."""
    if not len(annotated) or not len(detected):
        return []
    first = annotated.reshape(len(annotated), -1).astype(np.float32)
    second = detected.reshape(len(detected), -1).astype(np.float32)
    shared = first @ second.T
    union = first.sum(axis=1)[:, None] + second.sum(axis=1)[None] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    pairs: list[tuple[int, int, float]] = []
    for place in np.argsort(-iou, axis=None, kind="stable"):
        row, column = divmod(int(place), iou.shape[1])
        if iou[row, column] <= threshold:
            break
        if all(row != r and column != c for r, c, _ in pairs):
            pairs.append((row, column, float(iou[row, column])))
    return pairs


def find_objects(study: Study) -> list[Match]:
    """The annotated objects that the network finds, in the images of a study that have an annotation."""
    from active_learning.network.object_features import object_features
    from active_learning.network.prediction import detect, load_network, read_input

    cfg = study.cfg.clone()
    cfg.INPUT.TILE_SIZE = 0  # objects of large images are compared as they are in the whole image
    classes = study.settings.classes
    model = load_network(cfg, study.weights, classes)
    files = pair_annotations(study.folder, study.images)

    def matches(name: str) -> list[Match]:
        path = study.folder / name
        annotation = read_annotation(files[name], image=name, size=image_size(path), within=study.folder)
        objects = split_by_label(annotation, classes)[0].instances
        model_input = read_input(path, cfg)
        detected = detect(model, model_input)
        size = model_input["height"], model_input["width"]
        masks = np.stack([instance_mask(one, *size) for one in objects]) if objects else np.zeros((0, *size), bool)
        pairs = match(masks, detected.pred_masks.cpu().numpy(), study.settings.iou_thres)
        if not pairs:
            return []
        kept = detected[[column for _, column, _ in pairs]]
        features = object_features(model, model_input, kept.pred_boxes.tensor).flatten(1).float().cpu().numpy()
        return [
            Match(name, objects[row].label, classes[int(index)], float(score), iou, feature)
            for (row, _, iou), index, score, feature in zip(
                pairs, kept.pred_classes, kept.scores, features, strict=True
            )
        ]

    annotated = [name for name in study.images if name in files]
    return [match for found in of_each_image(annotated, matches, what="predicting") for match in found]


def embed(features: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Features (N, C) of objects -> their places on the map, (N, 2): t-SNE (van der Maaten & Hinton 2008).

    Raises:
        MaskALError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MaskALError("tsne.py needs scikit-learn; install it with: pip install scikit-learn") from error
    perplexity = min(30.0, (len(features) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features))


def objects_csv(found: Sequence[Match], places: npt.NDArray[np.float64]) -> str:
    lines = [["image", "annotated", "predicted", "score", "iou", "x", "y"]]
    for one, (x, y) in zip(found, places, strict=True):
        numbers = [f"{value:.4f}" for value in (one.score, one.iou, x, y)]
        lines.append([one.image, one.annotated, one.predicted, *numbers])
    return csv_text(lines)


def plot(found: Sequence[Match], places: npt.NDArray[np.float64], classes: Sequence[str], path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from detectron2.utils.fonts import font_families

    wrong = np.array([one.annotated != one.predicted for one in found])
    crosses: dict[str, Any] = {"s": 40, "marker": "x", "linewidths": 1.8}
    with rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(7.5, 5.6), layout="constrained")
        axes = figure.subplots()
        for number, name in enumerate(classes):
            own = np.array([one.annotated == name for one in found])
            if not own.any():
                continue
            colour = COLOURS[number % len(COLOURS)]
            right = own & ~wrong
            label = f"{name} ({own.sum()})"
            axes.scatter(places[right, 0], places[right, 1], s=34, color=colour, alpha=0.75, linewidths=0, label=label)
            axes.scatter(places[own & wrong, 0], places[own & wrong, 1], color=colour, **crosses)
        axes.scatter([], [], color="#555555", label="taken for another class", **crosses)
        axes.set_title(f"Objects as the box head sees them, {len(found)} of them", loc="left", fontsize=11)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(False)
        figure.legend(frameon=False, loc="outside right upper", prop={"family": font_families(classes)})
        save_figure(figure, path)


def run(arguments: Sequence[str] | None) -> None:
    parser = study_parser("t-SNE of the box head's features of annotated objects.", images=1000)
    study = open_study(parser.parse_intermixed_args(arguments))
    if study.settings.tile_size:
        print("tile_size: the map is of whole images, in which small objects are not found", file=sys.stderr)
    found = find_objects(study)
    if len(found) < LEAST_OBJECTS:
        raise MaskALError(
            f"{study.folder}: the network finds {len(found)} of the annotated objects, {LEAST_OBJECTS} are needed; "
            "give more annotated images, or lower confidence_threshold"
        )
    places = embed(np.stack([one.features for one in found]), study.settings.experiments()[0].seed)
    right = sum(one.annotated == one.predicted for one in found)
    print(f"{len(found)} objects found, {right} of them with their annotated class")
    save_csv(objects_csv(found, places), study.out / "tsne.csv")
    plot(found, places, study.settings.classes, study.out / "tsne.png")


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code_of(run, arguments, report_interruption=False)


if __name__ == "__main__":
    sys.exit(main())
