"""The report's section on annotations that look wrong: what the newest label check found, with its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.pictures import FindingPicture, read_pictures
from active_learning.label_check.results import read_results
from active_learning.report.addresses import picture_address
from active_learning.report.runs import RunResult
from active_learning.system.wording import counted


@dataclass(frozen=True)
class LabelCheckSection:
    """`rows`: a kind of finding, how many are likely, and how many of these sure; pictures hold their content."""

    run: str
    sentence: str
    rows: list[tuple[str, int, int]]
    pictures: list[FindingPicture]


def label_check_section(runs: Sequence[RunResult]) -> LabelCheckSection | None:
    """Of the run that checked last, as all runs of an experiment share their images; None where it found nothing.

    Raises:
        MaskALError: a file of it is damaged.
    """
    checked = [run for run in runs if run.files.label_results.is_file()]
    if not checked:
        return None
    newest = max(checked, key=lambda run: run.files.label_results.stat().st_mtime_ns)
    results = read_results(newest.files)
    if not (likely := results.likely):
        return None
    sure = sum(one.is_sure for one in likely)
    verb = "looks" if len(likely) == 1 else "look"
    looks = f"{counted(len(likely), 'annotation')} of {newest.folder.name} {verb} wrong, {sure} of them surely"
    folder = newest.files.label_check
    pictures = [replace(one, picture=picture_address(folder / one.picture)) for one in read_pictures(folder)]
    return LabelCheckSection(newest.folder.name, f"{looks}{results.beside}.", _rows(likely), pictures)


def _rows(likely: Sequence[LabelFinding]) -> list[tuple[str, int, int]]:
    every, sure = Counter(one.finding for one in likely), Counter(one.finding for one in likely if one.is_sure)
    return [(kind, count, sure[kind]) for kind, count in every.most_common()]
