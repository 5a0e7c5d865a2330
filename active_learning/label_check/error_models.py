"""Who is wrong, the person or the network? Two sources of error, told apart by expectation maximisation.

Where a network contradicts an annotation, either the network is wrong, which is the rarer the surer it is, or the
person, which has nothing to do with how sure the network is. Both rates are fitted to all images that the network was
not trained on, the wrong annotations among them, so that a few per cent of these do no harm: mixture models with a
constant rate of contamination (Dempster, Laird and Rubin 1977; of labels: Bootkrajang and Kaban 2012). Priors stand in
for data: with few images the rates stay near what is usual.

n: annotations or observations. d: features. K: classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
USUAL_RATE = 0.05  # of wrong annotations, of each kind; ten well-known test sets have 3 % (Northcutt et al. 2021)
AS_MANY = 300.0  # annotations that the usual rate counts as
ROUNDS = 60
POWERS = np.exp(np.linspace(-1.6, 0.7, 24))
SPREAD_OF_POWER = 0.5  # of the logarithm of the power, before anything is known
RATES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)  # of wrong labels
CONFUSED = 0.03  # the weight of the confusions of a class against the probabilities of the object
ENOUGH = 5.0  # objects of a class that say more of its confusions than all objects do
TAILS = 5.0  # degrees of freedom of the t distribution
EDGE = 1e-4  # probabilities are kept so far from 0 and 1


def logit(probability: Values) -> Values:
    clipped = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(x: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


@dataclass(frozen=True)
class Prior:
    """Of the weights (d,) of a regression: normal, with these means and precisions."""

    means: Values
    precisions: Values


def _rate(blame: Values, count: float) -> float:
    """The share of wrong annotations from the blame of each, with the usual rate as prior."""
    return (float(blame.sum()) + USUAL_RATE * AS_MANY) / (count + AS_MANY)


def persons_blame(contradicted: npt.NDArray[np.bool_], features: Values, prior: Prior) -> tuple[Values, Values]:
    """(n,) the probability that a contradiction is the person's error, 0 where there is none, and (n,) the network's
    rate of error.

    The network's error is a logistic regression on the features (n, d), the person's a constant rate.
    """
    weights, rate = prior.means.copy(), USUAL_RATE
    for _ in range(ROUNDS):
        networks = _sigmoid(features @ weights)
        blame = np.where(contradicted, rate / (rate + (1 - rate) * networks), 0.0)
        rate = _rate(blame, len(blame))
        weights = _newton(weights, features, contradicted.astype(np.float64), 1 - blame, prior)
    return blame, networks


def _newton(weights: Values, features: Values, target: Values, counts: Values, prior: Prior) -> Values:
    """A step towards the most probable weights of a logistic regression of counted samples."""
    expected = _sigmoid(features @ weights)
    gradient = features.T @ (counts * (target - expected)) - prior.precisions * (weights - prior.means)
    curvature = (features * (counts * expected * (1 - expected))[:, None]).T @ features + np.diag(prior.precisions)
    step = np.linalg.solve(curvature, gradient)
    return np.asarray(weights + np.clip(step, -2, 2))


def swapped_labels(probabilities: Values, labels: npt.NDArray[np.int64]) -> tuple[Values, npt.NDArray[np.int64]]:
    """(n,) the probability that a label is wrong, and the class that is likeliest instead of it.

    Probabilities of classes (n, K) are sharpened or flattened by a power (temperature scaling; Guo et al. 2017) and
    mixed with how often the class that is likeliest to the network bears each label; labels (n,) are wrong at a
    constant rate, all other classes alike. Power and rate are the likeliest on a grid.
    """
    count, classes = probabilities.shape
    best = (-np.inf, np.zeros(count), probabilities)
    logs = np.log((probabilities + EDGE) / (probabilities + EDGE).sum(axis=1, keepdims=True))
    for power in POWERS:
        expected = _with_confusions(np.exp(power * logs), labels)
        own = expected[np.arange(count), labels]
        for rate in RATES:
            wrong = rate / (classes - 1) * (1 - own)
            fit = np.log((1 - rate) * own + wrong).sum() + AS_MANY * (
                USUAL_RATE * np.log(rate) + (1 - USUAL_RATE) * np.log(1 - rate)
            )
            fit -= np.log(power) ** 2 / (2 * SPREAD_OF_POWER**2)
            if fit > best[0]:
                best = (fit, wrong / (wrong + (1 - rate) * own), expected)
    return best[1], best[2].argmax(axis=1)


def _with_confusions(expected: Values, labels: npt.NDArray[np.int64]) -> Values:
    expected = expected / expected.sum(axis=1, keepdims=True)
    classes, likely = expected.shape[1], expected.argmax(axis=1)
    confusions = np.zeros((classes, classes))
    np.add.at(confusions, (likely, labels), 1)
    usual = confusions.sum(axis=0) / len(labels)
    confusions = (confusions + ENOUGH * usual) / (confusions.sum(axis=1, keepdims=True) + ENOUGH)
    return np.asarray((1 - CONFUSED) * expected + CONFUSED * confusions[likely])


def unusual_fits(ious: Values, features: Values) -> tuple[Values, Values]:
    """(n,) the probability that an IoU is so low because the outline is poor, and the IoU that is usual there.

    The logit of a good outline's IoU is a linear regression on the features (n, d) with errors of Student's t
    distribution; a poor one's IoU may be anything (uniform).
    """
    target = logit(0.98 * ious + 0.01)
    density = 0.98 * ious + 0.01
    density = density * (1 - density)
    columns = np.column_stack([np.ones(len(ious)), features])
    precisions = np.array([1e-3] + [1.0] * features.shape[1])
    middle = np.zeros(columns.shape[1])
    middle[0] = np.median(target)
    weights, spread, rate = middle.copy(), 1.0, USUAL_RATE
    constant = math.gamma((TAILS + 1) / 2) / math.gamma(TAILS / 2) / math.sqrt(TAILS * math.pi)
    for _ in range(ROUNDS):
        errors = target - columns @ weights
        good = constant * (1 + (errors / spread) ** 2 / TAILS) ** (-(TAILS + 1) / 2) / spread
        blame = np.where(errors < 0, rate * density / (rate * density + (1 - rate) * good), 0.0)
        rate = _rate(blame, len(blame))
        counts = (1 - blame) * (TAILS + 1) / (TAILS + (errors / spread) ** 2)
        curvature = (columns * counts[:, None]).T @ columns / spread**2 + np.diag(precisions)
        weights = np.linalg.solve(curvature, (columns * counts[:, None]).T @ target / spread**2 + precisions * middle)
        spread = max(math.sqrt(float((counts * (target - columns @ weights) ** 2).sum() / (1 - blame).sum())), 0.05)
    return blame, (_sigmoid(columns @ weights) - 0.01) / 0.98
