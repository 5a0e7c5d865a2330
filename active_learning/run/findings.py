"""What a check finds: what is wrong, how grave it is, and how it is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from active_learning.errors import MaskALError, SettingsError
from active_learning.run.project import Project

WARNINGS_SHOWN = 20


class Kind(Enum):
    MISTAKE = "of the settings"
    FAULT = "of the data, or of files of the run"
    WARNING = "of what a run can do without"
    NOTE = "good to know"


@dataclass(frozen=True)
class Finding:
    text: str
    kind: Kind = Kind.FAULT


@dataclass(frozen=True)
class Check:
    """`find` gives what is wrong.

    Attributes:
        at_start: a run makes it before it asks for anything; what it does not make there it finds while it collects
            annotations, image by image, and asks for them again.
        deep: `--check` makes it with `--deep` only, as it takes PyTorch or long.
    """

    find: Callable[[Project], Iterator[Finding]]
    at_start: bool = True
    deep: bool = False


def refuse(findings: Sequence[Finding]) -> None:
    """Raises SettingsError, or MaskALError, with one message, unless all are warnings or notes; warnings come last."""
    wrong = dict.fromkeys(texts(findings, Kind.MISTAKE, Kind.FAULT))
    if wrong:
        text = "\n".join([*wrong, *shown_warnings(texts(findings, Kind.WARNING))])
        raise SettingsError(text) if texts(findings, Kind.MISTAKE) else MaskALError(text)


def shown_warnings(warnings: Sequence[str]) -> list[str]:
    """The first ones."""
    more = len(warnings) - WARNINGS_SHOWN
    lines = [f"warning: {warning}" for warning in warnings[:WARNINGS_SHOWN]]
    return [*lines, f"{more} more warnings"] if more > 0 else lines


def texts(findings: Sequence[Finding], *kinds: Kind) -> list[str]:
    return [finding.text for finding in findings if finding.kind in kinds]
