"""How uncertain the class of an object is: predictive entropy, margin and mutual information.

n members of an observation, K foreground classes. That there is no object counts as one more class, with the
probability that the K leave over; so all three have a meaning where there is one class only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClassUncertainty:
    """Of one object; entropy and mutual information in nats, 0..log(K + 1), margin 0..1."""

    entropy: float
    margin: float
    mutual_information: float


def class_uncertainty(probabilities: npt.NDArray[np.float64]) -> ClassUncertainty:
    """From the foreground probabilities (n, K) of an object's members.

    Entropy is that of the members' mean (Shannon 1948), margin the distance between its two largest probabilities
    (Scheffer et al. 2001), mutual information that between class and dropout mask: the entropy of the mean less the
    mean of the entropies (Houlsby et al. 2011; Gal et al. 2017).
    """
    members = _with_background(probabilities)
    mean = members.mean(axis=0)
    entropy = _entropy(mean)
    second, first = np.partition(mean, -2)[-2:]
    expected = float(np.mean([_entropy(member) for member in members]))
    return ClassUncertainty(entropy, float(first - second), max(entropy - expected, 0.0))


def _with_background(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, K) -> (n, K + 1), each row of sum 1."""
    background = np.clip(1 - probabilities.sum(axis=1, keepdims=True), 0, None)
    rows = np.concatenate([probabilities, background], axis=1)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _entropy(p: npt.NDArray[np.float64]) -> float:
    positive = p[p > 0]
    return max(-math.fsum(positive * np.log(positive)), 0.0)
