"""From what network and person agree on, and do not, to suspicions: annotations that are likely wrong.

How often either is wrong is fitted (error_models.py) to all compared images, none of which the network was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from active_learning.label_check.comparison import SAME_OBJECT, Match
from active_learning.label_check.error_models import (
    Prior,
    Values,
    logit,
    persons_blame,
    swapped_labels,
    unusual_fits,
)
from active_learning.label_check.findings import Kind
from active_learning.label_check.passes import ComparedImage

FURTHEST = 3.0  # standard deviations
TOUCHED = 0.1  # an object of which so much lies in observations of others is seen, if together with them
CLEARLY_SEEN = 0.5  # the mean probability of the annotated class from which outlines are compared


@dataclass(frozen=True, eq=False)
class Suspicion:
    """What is likely wrong.

    Attributes:
        certainty: the probability that the annotation is wrong.
        expected: index of the class that the network expects, -1 for none.
        usual: of a poor outline the IoU that is usual there; of an object that was not detected how often such are.
    """

    image: ComparedImage
    match: Match
    kind: Kind
    certainty: float
    expected: int = -1
    usual: float = 0.0


@dataclass(frozen=True, eq=False)
class _Rows:
    """Matches, one a row, with what all models of them use."""

    images: list[ComparedImage]
    matches: list[Match]
    classes: int

    @classmethod
    def of(cls, images: Sequence[ComparedImage], classes: int, wanted: Callable[[Match], bool]) -> _Rows:
        pairs = [(image, match) for image in images for match in image.matches if wanted(match)]
        return cls([image for image, _ in pairs], [match for _, match in pairs], classes)

    def __len__(self) -> int:
        return len(self.matches)

    @property
    def probabilities(self) -> Values:
        """(n, K)"""
        return np.stack([match.probabilities for match in self.matches])

    @property
    def foreground(self) -> Values:
        return np.asarray(self.probabilities.sum(axis=1).clip(0, 1))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([match.label for match in self.matches])

    @property
    def sizes(self) -> Values:
        """The logarithm of each one's share of its image, standardised."""
        pairs = zip(self.images, self.matches, strict=True)
        return _standardised(np.log([match.area / (image.height * image.width) for image, match in pairs]))

    @property
    def agreement(self) -> Values:
        return _standardised(logit(np.array([match.agreement for match in self.matches])))

    def of_class(self, indices: npt.NDArray[np.int64]) -> Values:
        """(n, K) 1 for each one's class."""
        return np.asarray(np.eye(self.classes)[indices])


def _standardised(values: Values) -> Values:
    """A single one that is far off would explain its own error."""
    return np.asarray(((values - values.mean()) / (values.std() + 1e-9)).clip(-FURTHEST, FURTHEST))


def judge(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """All suspicions, whatever their certainty; an object may have several."""
    found: list[Suspicion] = []
    for model in (_missing_objects, _not_objects, _other_classes, _poor_outlines):
        found += model(images, classes)
    return found


def _missing_objects(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """The network's error: it detects what is none. The rarer, the more passes agree, and the surer they are."""
    rows = _Rows.of(images, classes, lambda match: match.passes > 0)
    if not len(rows):
        return []
    likeliest = rows.probabilities.argmax(axis=1)
    features = [np.ones(len(rows)), -logit(rows.foreground), rows.sizes, rows.agreement]
    prior = Prior(np.array([0, 1, 0, 0] + [0] * classes, float), np.array([1, 4, 4, 4] + [2] * classes, float))
    alone = np.array([match.number < 0 for match in rows.matches])
    blame, _ = persons_blame(alone, np.column_stack([*features, rows.of_class(likeliest)]), prior)
    return [
        Suspicion(rows.images[row], rows.matches[row], "missing object", float(blame[row]), int(likeliest[row]))
        for row in np.flatnonzero(alone)
    ]


def _not_objects(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """The network's error: it misses an object. The rarer, the better it finds objects of that class and size."""
    rows = _Rows.of(images, classes, lambda match: match.number >= 0)
    if not len(rows):
        return []
    shared = np.array([match.shared for match in rows.matches])
    features = [np.ones(len(rows)), rows.sizes, rows.sizes**2, shared]
    prior = Prior(np.array([-3, 0, 0, 1] + [0] * classes, float), np.array([4, 2, 2, 0.5] + [1] * classes, float))
    unseen = np.array([match.passes == 0 and match.touched < TOUCHED for match in rows.matches])
    columns = np.column_stack([*features, rows.of_class(rows.labels)])
    blame, missed = persons_blame(unseen, columns, prior)
    return [
        Suspicion(rows.images[row], rows.matches[row], "not an object", float(blame[row]), usual=1 - float(missed[row]))
        for row in np.flatnonzero(unseen)
    ]


def _other_classes(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """The network's error: it takes one class for another, such as one that looks alike."""
    rows = _Rows.of(images, classes, lambda match: match.number >= 0 and match.iou >= SAME_OBJECT)
    if not len(rows) or classes < 2:
        return []
    wrong, likely = swapped_labels(rows.probabilities, rows.labels)
    return [
        Suspicion(rows.images[row], rows.matches[row], "other class", float(wrong[row]), int(likely[row]))
        for row in np.flatnonzero(likely != rows.labels)
    ]


def _poor_outlines(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """The network's error: its outline is poor. How poor it usually is, is learned a class and size."""
    rows = _Rows.of(images, classes, lambda match: match.iou > 0 and match.probabilities[match.label] >= CLEARLY_SEEN)
    if not len(rows):
        return []
    columns = [rows.agreement, rows.sizes, _standardised(logit(rows.foreground))]
    unusual, usual = unusual_fits(
        np.array([match.iou for match in rows.matches]), np.column_stack([*columns, rows.of_class(rows.labels)])
    )
    return [
        Suspicion(rows.images[row], rows.matches[row], "poor outline", float(unusual[row]), usual=float(usual[row]))
        for row in np.flatnonzero(unusual)
    ]


def in_words(one: Suspicion, classes: Sequence[str], passes: int) -> str:
    """What was expected, and what stands there."""
    match, expected = one.match, classes[one.expected] if one.expected >= 0 else ""
    seen = f"{match.passes} of {passes} passes"
    if one.kind == "missing object":
        return f"Expected {expected}, as {seen} detect an object here, mostly that; nothing is annotated."
    label = classes[match.label]
    if one.kind == "not an object":
        usual = f"though {label} of such a size is detected in {one.usual:.0%} of cases"
        return f"Expected nothing, as none of {passes} passes detects an object here, {usual}; annotated as {label}."
    if one.kind == "other class":
        return f"Expected {expected}, as {seen} detect an object in this outline, mostly that; annotated as {label}."
    usual = f"as other outlines of {label} do with IoU {one.usual:.2f}"
    return f"Expected an outline that fits what {seen} detect, {usual}; this one has IoU {match.iou:.2f}."
