"""What a run keeps of its label check, beside the csv (findings.py): also what the network detected in the validation
and test images, from which the next check learns how often it is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter

from active_learning.errors import MaskALError
from active_learning.label_check.comparison import Match
from active_learning.label_check.findings import COLUMNS, LabelFinding, Split, csv_row
from active_learning.label_check.passes import ComparedImage
from active_learning.run.output_files import OutputFiles, may_be_open
from active_learning.run.recorded import (
    Count,
    CountFromOne,
    ImageName,
    RecordedText,
    Share,
    check_values,
    read_json,
)
from active_learning.system.files import csv_text, write_atomically
from active_learning.system.written_files import write_own

REMEDY = "delete the file: the annotations are then checked anew"
DECIMALS = 4  # of probabilities
Number = Annotated[int, Field(strict=True, ge=-1, le=2**31)]


@dataclass(frozen=True)
class Offer:
    """An annotation that was offered for correction in a loop; `digest` of it."""

    split: Split
    image: ImageName
    digest: RecordedText
    loop: Count


@dataclass(frozen=True)
class CheckResults:
    """What the label check knows.

    Attributes:
        measured: the loop whose network saw the validation and test images last, -1 for none.
        batch: the last loop whose new images were checked, -1 for none.
        findings: the surest first.
    """

    measured: Number = -1
    batch: Number = -1
    findings: tuple[LabelFinding, ...] = ()
    offered: tuple[Offer, ...] = ()

    @property
    def likely(self) -> list[LabelFinding]:
        """Those that look wrong, but for annotations that a person was shown and has left as they were."""
        left = self._left()
        return [one for one in self.findings if one.is_likely and (one.split, one.image, one.digest) not in left]

    @property
    def beside(self) -> str:
        """How many would look wrong, but were offered for correction and left as they were, in words; "" for none."""
        left = sum(one.is_likely for one in self.findings) - len(self.likely)
        words = "was offered and left as it was" if left == 1 else "were offered and left as they were"
        return f", beside {left} that {words}" if left else ""

    def _left(self) -> set[tuple[str, str, str]]:
        """The annotations that lay in the annotate folder with the images of a loop that are collected since."""
        collected = max(self.measured, self.batch)
        return {(one.split, one.image, one.digest) for one in self.offered if one.loop <= collected}


@dataclass(frozen=True)
class _Match:
    """As `Match`; `probabilities` by the indices of classes that have any."""

    number: Number
    label: Number
    box: tuple[Count, Count, Count, Count]
    area: CountFromOne
    probabilities: dict[Count, Share]
    passes: Count
    agreement: Share
    iou: Share
    touched: Share
    shared: Share


@dataclass(frozen=True)
class _Image:
    split: Split
    name: ImageName
    height: CountFromOne
    width: CountFromOne
    matches: tuple[_Match, ...]
    digest: RecordedText


_RESULTS = TypeAdapter(CheckResults)
_IMAGES = TypeAdapter(list[_Image])


def read_results(files: OutputFiles) -> CheckResults:
    """Raises MaskALError where the file is damaged."""
    path = files.label_results
    if not path.exists():
        return CheckResults()
    return check_values(_RESULTS, read_json(path, "findings of the label check", REMEDY), f"{path}", REMEDY)


def write_results(files: OutputFiles, results: CheckResults) -> None:
    """With the csv for people; what is found is kept though that cannot be written.

    What is kept comes last: a check that is ended before is made again.
    """
    with may_be_open(files.label_findings, "the next check writes it anew", errors=OSError):
        write_own(files.label_findings, csv_text([COLUMNS, *map(csv_row, results.findings)]))
    text = json.dumps(asdict(results), ensure_ascii=False, indent=0)
    write_atomically(files.label_results, text + "\n")


def _matches_file(files: OutputFiles, loop: int) -> Path:
    return files.label_check / f"detected{loop:03d}.json"


def write_detected(files: OutputFiles, loop: int, images: Sequence[ComparedImage]) -> None:
    """What the network of a loop detected in the validation and test images, in place of that of the last but one."""
    documents = [{**vars(image), "matches": [_document(match) for match in image.matches]} for image in images]
    path = _matches_file(files, loop)
    write_atomically(path, json.dumps(documents, ensure_ascii=False) + "\n")
    if loop > 1:
        _matches_file(files, loop - 2).unlink(missing_ok=True)


def _document(match: Match) -> dict[str, Any]:
    rounded = match.probabilities.round(DECIMALS)
    likely = {int(index): float(rounded[index]) for index in np.flatnonzero(rounded)}
    numbers = {name: round(getattr(match, name), DECIMALS) for name in ("agreement", "iou", "touched", "shared")}
    same = {name: getattr(match, name) for name in ("number", "label", "box", "area", "passes")}
    return {**same, **numbers, "probabilities": likely}


def read_detected(files: OutputFiles, loop: int, classes: int) -> list[ComparedImage] | None:
    """None where there is no such file; raises MaskALError where it is damaged."""
    path = _matches_file(files, loop)
    if not path.exists():
        return None
    document = read_json(path, "what a network detected", REMEDY)
    images = check_values(_IMAGES, _with_numbers(document), f"{path}", REMEDY)
    if any(max(match.label, *match.probabilities, -1) >= classes for one in images for match in one.matches):
        raise MaskALError(f"{path}: matches: is of more than the {classes} classes of the run; {REMEDY}")
    return [ComparedImage(**{**vars(one), "matches": tuple(_match(m, classes) for m in one.matches)}) for one in images]


def _with_numbers(document: Any) -> Any:
    """Json has texts for keys."""
    for image in document if isinstance(document, list) else ():
        for match in image.get("matches", ()) if isinstance(image, dict) else ():
            if isinstance(match, dict) and isinstance(match.get("probabilities"), dict):
                found = match["probabilities"].items()
                match["probabilities"] = {int(key) if key.isdecimal() else key: value for key, value in found}
    return document


def _match(one: _Match, classes: int) -> Match:
    probabilities = np.zeros(classes)
    for index, value in one.probabilities.items():
        probabilities[index] = value
    return Match(**{**vars(one), "probabilities": probabilities})
