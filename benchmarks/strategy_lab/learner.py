"""The box head alone: a classifier of candidates with dropout, and what T forward passes of it find in the pool.

R: candidates. C: features. K: classes; background is class K. T: forward passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from active_learning.sampling.certainty import MODES, ImageCertainty, Observation, semantic_certainty
from active_learning.sampling.observations import ForwardPasses
from active_learning.sampling.pool_record import PoolRecord, record_of
from benchmarks.strategy_lab.features import Features

Probabilities = npt.NDArray[np.float64]
"""(R, K + 1)"""


@dataclass(frozen=True)
class Training:
    """Sizes of the classifier and of its training; `dropout` is MaskAL's default."""

    hidden: int = 128
    dropout: float = 0.25
    steps: int = 400
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    passes: int = 10


def train(features: Features, pictures: Iterable[int], training: Training, seed: int) -> nn.Module:
    """A classifier of all candidates of these pictures, trained anew; the rate falls to 0 along a cosine."""
    rows = features.rows(pictures)
    x, labels = torch.from_numpy(features.features[rows]), torch.from_numpy(features.label[rows])
    torch.manual_seed(seed)
    model = _classifier(x.shape[1], features.background + 1, training)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    for _ in range(training.steps):
        batch = torch.randint(len(rows), (training.batch,))
        loss = F.cross_entropy(model(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _classifier(inputs: int, outputs: int, training: Training) -> nn.Sequential:
    """As the box head of a feature pyramid with dropout (active_learning/network/dropout_heads.py), narrower."""
    hidden, dropout = training.hidden, training.dropout
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


@torch.no_grad()
def predict(model: nn.Module, features: Features, rows: npt.NDArray[np.int64]) -> Probabilities:
    """Without dropout."""
    return np.asarray(model.eval()(torch.from_numpy(features.features[rows])).double().softmax(dim=1).numpy())


@torch.no_grad()
def forward_passes(
    model: nn.Module, features: Features, rows: npt.NDArray[np.int64], passes: int, seed: int
) -> npt.NDArray[np.float64]:
    """(T, R, K + 1) probabilities with dropout."""
    torch.manual_seed(seed)
    x = torch.from_numpy(features.features[rows])
    model.train()
    found = torch.stack([model(x).double().softmax(dim=1) for _ in range(passes)])
    model.eval()
    return np.asarray(found.numpy())


def pool_records(
    features: Features, pictures: Iterable[int], probabilities: npt.NDArray[np.float64], threshold: float, mode: str
) -> dict[str, PoolRecord]:
    """What a strategy is given: a record of each picture.

    A candidate is an observation of the passes (T, R, K + 1) in which its best class is above the threshold. Its box
    and mask are the same in all of them, so that their parts of the certainty are 1. The rows of `probabilities` are
    `originals` of the pictures.
    """
    rows = originals(features, pictures)
    foreground = probabilities[:, :, :-1]
    above = foreground.max(axis=2) > threshold
    observations: dict[int, list[Observation]] = {picture: [] for picture in pictures}
    for index in np.flatnonzero(above.any(axis=0)):
        observation = _observation(foreground[:, index], above[:, index], features.boxes[rows[index]])
        observations[int(features.picture[rows[index]])].append(observation)
    return {str(features.names[one]): _record(features, one, found, mode) for one, found in observations.items()}


def originals(features: Features, pictures: Iterable[int]) -> npt.NDArray[np.int64]:
    """The candidates of these pictures without jittered copies."""
    rows = features.rows(pictures)
    return rows[~features.copy[rows]]


def _observation(
    foreground: npt.NDArray[np.float64], above: npt.NDArray[np.bool_], box: npt.NDArray[np.float32]
) -> Observation:
    members = foreground[above]
    semantic, occurrence = semantic_certainty(members), len(members) / len(above)
    return Observation(
        size=len(members),
        semantic=semantic,
        mask=1.0,
        box=1.0,
        occurrence=occurrence,
        certainty=semantic * occurrence,
        mean_box=box.astype(np.float64),
        probabilities=members,
        passes=tuple(np.flatnonzero(above).tolist()),
    )


def _record(features: Features, picture: int, observations: list[Observation], mode: str) -> PoolRecord:
    value = MODES[mode]([one.certainty for one in observations]) if observations else math.nan
    height, width = features.sizes[picture].tolist()
    seen = ForwardPasses((), features.image_features[picture], height, width)
    return record_of(str(features.names[picture]), seen, ImageCertainty(value, tuple(observations)))


def true_records(features: Features, pictures: Iterable[int]) -> dict[str, PoolRecord]:
    """Records of a network that is sure of each object's true class, for bounds that know the ground truth."""
    rows = originals(features, pictures)
    truth = np.eye(features.background + 1)[features.label[rows]]
    return pool_records(features, pictures, truth[None], 0.5, "mean")
