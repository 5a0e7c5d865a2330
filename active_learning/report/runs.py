"""What the runs of one experiment have written: `<results>/<experiment_name>/<run>/`, a folder a strategy and seed.

The folders are found on disk, whatever the settings are: so strategies that were run one by one are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.errors import MaskALError
from active_learning.run.output_files import OutputFiles
from active_learning.run.state import LoopScores, RunState
from active_learning.system.log import logger


@dataclass(frozen=True)
class Run:
    """One strategy with one seed.

    Attributes:
        label: the folder's name without its seed.
        seed: None where the folder names none.
        phase: what comes next, `finished` at the end.
    """

    folder: Path
    label: str
    seed: int | None
    classes: tuple[str, ...]
    phase: str
    scores: tuple[LoopScores, ...]

    @property
    def files(self) -> OutputFiles:
        """Of the run; the report asks for none of its weights."""
        return OutputFiles(self.folder, self.folder, self.label)

    @property
    def is_random(self) -> bool:
        """Whether others are compared with it."""
        return self.label == "random" or self.label.startswith("random_")


def read_runs(*experiments: Path) -> list[Run]:
    """The runs in the folders of experiments, a strategy's in order of their seeds; `uncertainty` first, `random` last.

    A run whose state cannot be read is named in the log and left out.
    """
    runs = []
    for path in sorted(path for folder in experiments for path in folder.glob("*/run_state.json")):
        try:
            runs.append(_read(path))
        except MaskALError as error:
            logger.warning("%s (left out of the report)", error)
    return sorted(runs, key=lambda run: (run.is_random, run.label != "uncertainty", run.label, run.seed or 0))


def _read(path: Path) -> Run:
    state = RunState.load(path)
    name = path.parent.name
    match = re.fullmatch(r"(.+)_seed(\d+)", name)
    label, seed = (match[1], int(match[2])) if match else (name, None)
    return Run(path.parent, label, seed, tuple(state.classes), state.phase, tuple(state.history))


def by_label(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each strategy, in the order of the runs."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found


def class_names(runs: Sequence[Run]) -> list[str]:
    """Those of all runs, in their order; runs of one experiment usually have the same."""
    return list(dict.fromkeys(name for run in runs for name in run.classes))
