"""What is computed once: candidate boxes of each picture, and a frozen network's features of them.

R: candidates of all pictures, one picture after another. C: features of a candidate. P: pictures. K: classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from active_learning.system.files import draft_of
from active_learning.system.progress import progress
from benchmarks.strategy_lab.backbone import LEVELS, STRIDES, load_backbone, network_input, random_backbone
from benchmarks.strategy_lab.pictures import Picture, Source
from detectron2.layers import ROIAlign
from detectron2.modeling import Backbone
from detectron2.structures import Boxes, pairwise_iou

VERSION = 1  # raise it when the features change, so that kept ones are not taken for new
POOLED = 7  # bins along a side of a candidate
COPIES = 2  # of each object's box, shifted and scaled by up to JITTER of its sides
JITTER = 0.15
BACKGROUND_BOXES = 6  # of each picture, of the sizes of objects
OBJECT_IOU = 0.5  # with an object, from which a candidate is of its class
BACKGROUND_IOU = 0.3
ATTEMPTS = 40  # to place a box


@dataclass(frozen=True, eq=False)
class Features:
    """Candidates of all pictures, those of the pool first.

    Attributes:
        names: (P,) of the pictures; the first `pool_size` are the pool, the others the test.
        classes: (K,) their names.
        features: (R, C) of mean 0 and deviation 1 over the pool's candidates.
        image_features: (P, D) averaged over the picture.
        picture: (R,) index of the candidate's picture.
        label: (R,) its class; K for background.
        object: (R,) which object of all it is of; -1 for background.
        copy: (R,) whether it is a jittered copy, for training only.
        boxes: (R, 4) in pixels.
        sizes: (P, 2) height and width in pixels.
    """

    names: npt.NDArray[np.str_]
    classes: npt.NDArray[np.str_]
    pool_size: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    image_features: npt.NDArray[np.float32]
    picture: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    object: npt.NDArray[np.int64]
    copy: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.int64]

    @property
    def pool(self) -> range:
        """Indices of the pool's pictures."""
        return range(int(self.pool_size))

    @property
    def background(self) -> int:
        return len(self.classes)

    def rows(self, pictures: Iterable[int]) -> npt.NDArray[np.int64]:
        """All candidates of these pictures."""
        return np.flatnonzero(np.isin(self.picture, np.fromiter(pictures, dtype=np.int64)))

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """(P, K) objects of each class."""
        counts = np.zeros((len(self.names), len(self.classes)), dtype=np.int64)
        objects = (self.object >= 0) & ~self.copy
        np.add.at(counts, (self.picture[objects], self.label[objects]), 1)
        return counts

    @property
    def rarest(self) -> npt.NDArray[np.int64]:
        """(K,) all classes, the rarest of the pool first."""
        return np.argsort(self.counts[self.pool].sum(axis=0), kind="stable")


def kept_features(source: Source, weights: Path | None, folder: Path) -> Path:
    """The file of the features of these pictures and weights, computed where it is not there."""
    content = weights.read_bytes() if weights else b""
    key = hashlib.sha256(f"{VERSION} {asdict(source)} {hashlib.sha256(content).hexdigest()}".encode()).hexdigest()[:16]
    path = folder / f"features_{key}.npz"
    if not path.is_file():
        with draft_of(path) as draft, draft.open("wb") as stream:
            found = compute(source, weights)
            np.savez(stream, **{field.name: getattr(found, field.name) for field in fields(Features)})  # type: ignore[arg-type]
    return path


def load(path: Path) -> Features:
    with np.load(path) as held:
        return Features(**{field.name: held[field.name] for field in fields(Features)})


def compute(source: Source, weights: Path | None) -> Features:
    pictures = list(source.pictures())
    network = load_backbone(weights) if weights else random_backbone(pictures)
    sides = np.concatenate([_sides(picture.boxes) for picture in pictures])
    rng = np.random.default_rng(0)
    parts: list[dict[str, Any]] = []
    for number, picture in enumerate(progress(pictures, what="features", unit="picture")):
        parts.append(_features_of(number, picture, _candidates(picture, sides, rng), network))
    return _joined(source, pictures, parts)


def _joined(source: Source, pictures: Sequence[Picture], parts: Sequence[dict[str, Any]]) -> Features:
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ends = np.cumsum([len(picture.labels) for picture in pictures])
    firsts = np.concatenate([[0], ends[:-1]])
    background = joined["object"] < 0
    joined["object"] = np.where(background, -1, joined["object"] + firsts[joined["picture"]])
    joined["label"][background] = len(source.classes)
    return Features(
        names=np.array([picture.name for picture in pictures]),
        classes=np.array(source.classes),
        pool_size=np.array(len(source.pool)),
        sizes=np.array([picture.pixels.shape[:2] for picture in pictures]),
        **{**joined, "features": _standardised(joined["features"], joined["picture"] < len(source.pool))},
    )


def _standardised(values: npt.NDArray[np.float32], of: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    return np.asarray((values - values[of].mean(axis=0)) / (values[of].std(axis=0) + 1e-6), dtype=np.float32)


def _sides(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return boxes[:, 2:] - boxes[:, :2]


def _candidates(
    picture: Picture, sides: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(R, 4) boxes, and which are copies: each object's, jittered ones of it, then background of the objects' sizes."""
    boxes, height, width = picture.boxes, *picture.pixels.shape[:2]
    originals = np.repeat(boxes, COPIES, axis=0)
    own = np.tile(_sides(originals), 2)
    copies = originals + rng.uniform(-JITTER / 2, JITTER / 2, originals.shape) * own
    background = []
    for side in rng.choice(sides, size=ATTEMPTS):
        corner = rng.uniform(0, np.maximum([width, height] - side, 1))
        background.append(np.concatenate([corner, corner + side]))
    placed = np.array(background, dtype=np.float32)
    placed = placed[_iou(placed, boxes).max(axis=1, initial=0) < BACKGROUND_IOU][:BACKGROUND_BOXES]
    found = np.concatenate([boxes, copies, placed]).astype(np.float32)
    found = found.clip(0, np.array([width, height, width, height], dtype=np.float32))
    return found, np.repeat([False, True, False], [len(boxes), len(copies), len(placed)])


def _iou(boxes: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return pairwise_iou(Boxes(torch.from_numpy(boxes)), Boxes(torch.from_numpy(others))).numpy()


@torch.no_grad()
def _features_of(
    number: int, picture: Picture, candidates: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]], network: Backbone
) -> dict[str, Any]:
    boxes, copy = candidates
    maps = network(network_input(picture.pixels))
    iou = _iou(boxes, picture.boxes)
    is_object = iou.max(axis=1, initial=0) >= OBJECT_IOU
    nearest = iou.argmax(axis=1) if len(picture.boxes) else np.zeros(len(boxes), dtype=np.int64)
    labels = np.full(len(boxes), -1)
    labels[is_object] = picture.labels[nearest[is_object]]
    return {
        "features": np.concatenate(
            [_pooled(maps[level], boxes, stride) for level, stride in zip(LEVELS, STRIDES, strict=True)], axis=1
        ),
        "image_features": maps[LEVELS[-1]].mean(dim=(2, 3)).numpy(),
        "picture": np.full(len(boxes), number),
        "label": labels,
        "object": np.where(is_object, nearest, -1),
        "copy": copy,
        "boxes": boxes,
    }


def _pooled(features: torch.Tensor, boxes: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """(R, C): the mean over the bins of each box."""
    align = ROIAlign((POOLED, POOLED), 1 / stride, sampling_ratio=2)
    rois = torch.cat([torch.zeros(len(boxes), 1), torch.from_numpy(boxes)], dim=1)
    return align(features, rois).mean(dim=(2, 3)).numpy()
