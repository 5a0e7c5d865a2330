"""What is kept of each image of the pool: its certainty, its objects with the parts of theirs, its features.

A record is one line of json, so that a person can read it and a file of them grows as images are looked at.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from active_learning.sampling.certainty import ImageCertainty, Observation
from active_learning.sampling.class_uncertainty import class_doubt
from active_learning.sampling.forward_passes import Look

_BOX_DECIMALS = 2  # of a pixel
_PROBABILITY_DECIMALS = 6
_STORED = np.dtype("<f2")  # half precision, little-endian: what tells images apart shows in three digits


@dataclass(frozen=True)
class ObjectRecord:
    """An object of `size` members: the parts of its certainty and their product, and the doubt about its class.

    Attributes:
        mean_box: x0, y0, x1, y1 in pixels of the image file.
        probabilities: of the K classes in their order, the mean of the members', background left out.
        entropy, margin, mutual_information: see class_doubt.py.
    """

    size: int
    semantic: float
    mask: float
    box: float
    occurrence: float
    certainty: float
    mean_box: tuple[float, ...]
    probabilities: tuple[float, ...]
    entropy: float
    margin: float
    mutual_information: float


@dataclass(frozen=True, eq=False)
class PoolRecord:
    """An image. `value` is its certainty, NaN where nothing was seen; `features` (C,) describe it (Look.features)."""

    name: str
    value: float
    height: int
    width: int
    objects: tuple[ObjectRecord, ...]
    features: npt.NDArray[np.float32]


def record_of(name: str, look: Look, certainty: ImageCertainty) -> PoolRecord:
    """Values as a file would give them back, so that a continued run chooses as an uninterrupted one."""
    objects = tuple(_object_record(observation) for observation in certainty.observations)
    return PoolRecord(name, certainty.value, look.image_height, look.image_width, objects, _rounded(look.features))


def _object_record(observation: Observation) -> ObjectRecord:
    doubt = class_doubt(observation.probabilities)
    probabilities = observation.mean_probabilities.tolist()
    return ObjectRecord(
        size=observation.size,
        semantic=observation.semantic,
        mask=observation.mask,
        box=observation.box,
        occurrence=observation.occurrence,
        certainty=observation.certainty,
        mean_box=tuple(round(side, _BOX_DECIMALS) for side in observation.mean_box.tolist()),
        probabilities=tuple(round(probability, _PROBABILITY_DECIMALS) for probability in probabilities),
        entropy=doubt.entropy,
        margin=doubt.margin,
        mutual_information=doubt.mutual_information,
    )


def _rounded(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    largest = float(np.finfo(_STORED).max)
    return np.clip(features, -largest, largest).astype(_STORED).astype(np.float32)


def to_line(record: PoolRecord) -> str:
    """One line of json without its line end; features in base64."""
    document = {
        "name": record.name,
        "value": None if math.isnan(record.value) else record.value,
        "height": record.height,
        "width": record.width,
        "objects": [asdict(one) for one in record.objects],
        "features": base64.b64encode(record.features.astype(_STORED).tobytes()).decode("ascii"),
    }
    return json.dumps(document, ensure_ascii=False)


def from_line(line: str) -> PoolRecord:
    """Raises ValueError where the line is none of `to_line`."""
    try:
        document: dict[str, Any] = json.loads(line)
        objects = tuple(_read_object(one) for one in document["objects"])
        features = np.frombuffer(base64.b64decode(document["features"], validate=True), _STORED).astype(np.float32)
        value = math.nan if document["value"] is None else float(document["value"])
        return PoolRecord(str(document["name"]), value, document["height"], document["width"], objects, features)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no record of an image ({type(error).__name__}: {error})") from error


def _read_object(document: dict[str, Any]) -> ObjectRecord:
    lists = {key: tuple(document[key]) for key in ("mean_box", "probabilities")}
    return ObjectRecord(**{**document, **lists})
