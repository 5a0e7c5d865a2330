"""Average precision of candidates as COCO has it, at one IoU: a candidate is right if it is of an object of its class.

R: candidates. K: classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RECALLS = np.linspace(0, 1, 101)  # at which precision is read


def average_precisions(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], objects: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(K,) percent; NaN for a class without objects.

    Args:
        probabilities: (R, K + 1); a candidate is detected once, as its best class (MaskAL suppresses across classes).
        labels: (R,) true classes; K for background.
        objects: (R,) the object of each candidate, -1 for none; of several of one object only the best is right.
    """
    foreground = probabilities[:, :-1]
    predicted, scores = foreground.argmax(axis=1), foreground.max(axis=1)
    found = np.full(foreground.shape[1], np.nan)
    for number in range(len(found)):
        total = len(np.unique(objects[labels == number]))
        rows = np.flatnonzero(predicted == number)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        if total:
            found[number] = 100 * _area(_right(labels[rows] == number, objects[rows]), total)
    return found


def _right(of_class: npt.NDArray[np.bool_], objects: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """In order of falling score: the first of each object."""
    candidates = np.flatnonzero(of_class)
    right = np.zeros(len(objects), dtype=bool)
    right[candidates[np.unique(objects[candidates], return_index=True)[1]]] = True
    return right


def _area(right: npt.NDArray[np.bool_], total: int) -> float:
    hits = right.cumsum()
    precision = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]  # best at this recall or more
    places = np.searchsorted(hits / total, RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())
