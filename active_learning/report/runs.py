"""What the runs of one experiment have written: `<results>/<experiment_name>/<run>/`, a folder a strategy and seed.

The folders are found on disk, whatever the settings are: so strategies that were run one by one are reported together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.errors import MaskALError
from active_learning.run.output_files import STATE, OutputFiles
from active_learning.run.state import LoopScores, RunState
from active_learning.system.log import logger


@dataclass(frozen=True)
class RunResult:
    """What the run of one experiment has written: one strategy with one seed.

    Attributes:
        label: the experiment's name without its seed (Experiment.label).
        phase: what comes next, `finished` at the end.
        budget: what pool_size counts, images or objects.
    """

    folder: Path
    label: str
    strategy: str
    seed: int
    classes: tuple[str, ...]
    phase: str
    scores: tuple[LoopScores, ...]
    budget: str

    @property
    def files(self) -> OutputFiles:
        """Of the run; the report asks for none of its weights."""
        return OutputFiles(self.folder, self.folder, self.strategy)

    @property
    def is_random(self) -> bool:
        """Whether others are compared with it."""
        return self.strategy == "random"


def read_runs(*experiments: Path) -> list[RunResult]:
    """The runs in the folders of experiments, a strategy's in order of their seeds; `uncertainty` first, `random` last.

    A run whose state cannot be read is named in the log and left out; so is one that another has the strategy and the
    seed of, as where `seed: 0` became `seed: [0, 1]`.
    """
    runs = []
    for path in sorted(path for folder in experiments for path in folder.glob(f"*/{STATE}")):
        try:
            runs.append(_read(path))
        except MaskALError as error:
            logger.warning("%s (left out of the report)", error)
    return sorted(_of_own_seeds(runs), key=lambda run: (run.is_random, run.label != "uncertainty", run.label, run.seed))


def _of_own_seeds(runs: Iterable[RunResult]) -> list[RunResult]:
    """One of each strategy and seed: the one with most loops, of these the finished one."""
    kept: dict[tuple[str, int], RunResult] = {}
    for run in sorted(runs, key=lambda one: (-len(one.scores), one.phase != "finished")):
        first = kept.setdefault((run.label, run.seed), run)
        if first is not run:
            text = "%s: left out of the report: %s is of the same strategy and seed %d"
            logger.warning(text, run.folder, first.folder.name, run.seed)
    return list(kept.values())


def _read(path: Path) -> RunResult:
    state = RunState.load(path)
    experiment = state.experiment_in(path.parent.name)
    return RunResult(
        path.parent,
        experiment["label"],
        experiment["strategy"],
        experiment["seed"],
        tuple(state.classes),
        state.phase,
        tuple(state.history),
        str(state.settings.get("budget", "images")),
    )


def by_label(runs: Iterable[RunResult]) -> dict[str, list[RunResult]]:
    """The runs of each strategy, in the order of the runs."""
    found: dict[str, list[RunResult]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found


def class_names(runs: Sequence[RunResult]) -> list[str]:
    """Those of all runs, in their order; runs of one experiment usually have the same."""
    return list(dict.fromkeys(name for run in runs for name in run.classes))
