"""What looks wrong in the annotations: a finding is an object, or a place without one, and why.

They are kept in the run's results: `label_check.csv` for people, `label_check/findings.json` for the next loop and the
report (results.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from active_learning.annotations.odd_objects import LIKELY
from active_learning.run.recorded import Count, Finite, ImageName, RecordedText, Share

Kind = Literal[
    "missing object",
    "other class",
    "poor outline",
    "not an object",
    "drawn twice",
    "tiny",
    "outside the image",
    "joined",
]
Split = Annotated[str, Field(pattern=r"^(train|val|test)$")]
Box = tuple[Finite, Finite, Finite, Finite]
Outline = Annotated[tuple[Finite, ...], Field(min_length=6)]  # x0, y0, x1, y1, ... in pixels
LISTED = 0.2  # the certainty from which a finding is kept; from LIKELY on it is more likely right than wrong
SURE = 0.9
COLUMNS = ("image", "split", "object", "class", "finding", "expected", "x0", "y0", "x1", "y1", "certainty", "loop")


@dataclass(frozen=True)
class LabelFinding:
    """One object of one image, or a place where one is missing.

    Attributes:
        place: of the object in its annotation file, such as shapes[3]; "" where it is missing.
        label: its class as annotated; "" where it is missing.
        expected: what was expected, and what stands there, in a sentence.
        box: x0, y0, x1, y1 in pixels of the image.
        certainty: the probability that the annotation is wrong.
        loop: in which it was found.
        digest: of the image's annotation as it was checked.
        annotated, detected: outlines, the person's and the network's; none where there is none to show.
    """

    image: ImageName
    split: Split
    place: RecordedText
    label: RecordedText
    finding: Kind
    expected: RecordedText
    box: Box
    certainty: Share
    loop: Count
    digest: RecordedText
    annotated: tuple[Outline, ...] = ()
    detected: tuple[Outline, ...] = ()

    @property
    def is_likely(self) -> bool:
        return self.certainty >= LIKELY

    @property
    def is_sure(self) -> bool:
        return self.certainty >= SURE


def ranked(findings: Iterable[LabelFinding]) -> list[LabelFinding]:
    """The surest first, one an object: the surest of those that name it."""
    order = sorted(findings, key=lambda one: (-one.certainty, one.split, one.image, one.place, one.box))
    kept: dict[tuple[object, ...], LabelFinding] = {}
    for one in order:
        kept.setdefault((one.split, one.image, one.place or one.box), one)
    return [one for one in kept.values() if one.certainty >= LISTED]


def csv_row(one: LabelFinding) -> list[object]:
    """Of COLUMNS."""
    sides = [f"{side:.0f}" for side in one.box]
    texts = [one.image, one.split, one.place, one.label, one.finding, one.expected]
    return [*texts, *sides, f"{one.certainty:.3f}", one.loop]
