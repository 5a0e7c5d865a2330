"""What is kept of each image of the pool: its certainty, its objects with the parts of theirs, its features."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from active_learning.sampling.certainty import CertaintyParts, ImageCertainty, Observation
from active_learning.sampling.class_uncertainty import class_uncertainty
from active_learning.sampling.observations import ForwardPasses

BOX_DECIMALS = 2  # of a pixel
PROBABILITY_DECIMALS = 6
FEATURE_TYPE = np.dtype("<f2")  # half precision, little-endian: images differ in the first three digits


@dataclass(frozen=True)
class ObjectRecord(CertaintyParts):
    """An object with the parts of its certainty, and how uncertain its class is.

    Attributes:
        mean_box: x0, y0, x1, y1 in pixels of the image file.
        probabilities: of the K classes in their order, the mean of the members', background left out.
        entropy, margin, mutual_information: see class_uncertainty.py.
    """

    mean_box: tuple[float, ...]
    probabilities: tuple[float, ...]
    entropy: float
    margin: float
    mutual_information: float


@dataclass(frozen=True, eq=False)
class PoolRecord:
    """An image: `value` is its certainty, NaN without a detection; `features` (C,) are ForwardPasses.features.

    `stamp` tells the file that was scored from another that takes its name (`system.files.file_stamp`); empty where
    nobody asks.
    """

    name: str
    value: float
    height: int
    width: int
    objects: tuple[ObjectRecord, ...]
    features: npt.NDArray[np.float32]
    stamp: str = ""


def record_of(name: str, forward_passes: ForwardPasses, certainty: ImageCertainty, stamp: str = "") -> PoolRecord:
    """Values rounded as in a file, so that a continued run chooses as an uninterrupted one."""
    height, width = forward_passes.image_height, forward_passes.image_width
    objects = tuple(_object_record(observation) for observation in certainty.observations)
    return PoolRecord(name, certainty.value, height, width, objects, rounded(forward_passes.features), stamp)


def _object_record(observation: Observation) -> ObjectRecord:
    mean_probabilities = observation.probabilities.mean(axis=0)
    return ObjectRecord(
        **{part.name: getattr(observation, part.name) for part in fields(CertaintyParts)},
        mean_box=tuple(round(side, BOX_DECIMALS) for side in observation.mean_box.tolist()),
        probabilities=tuple(round(one, PROBABILITY_DECIMALS) for one in mean_probabilities.tolist()),
        **asdict(class_uncertainty(observation.probabilities)),
    )


def rounded(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Features (C,) as a file of records holds them, in half precision."""
    largest = float(np.finfo(FEATURE_TYPE).max)
    return np.clip(features, -largest, largest).astype(FEATURE_TYPE).astype(np.float32)
