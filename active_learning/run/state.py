"""What survives an interruption: one small json file, written after every phase.

A run is a row of loops (0 is the initial training), a loop a row of phases. The state names the phase that comes next,
so that a run started again goes on there.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from active_learning.errors import MaskALError
from active_learning.settings import Settings
from active_learning.system.files import write_atomically

VERSION = 1
PHASES = ("annotate", "train", "evaluate", "choose", "finished")


@dataclass
class LoopScores:
    """What one loop reached on the test images; mask AP in percent, nan where the test images hold no object."""

    train_size: int
    mask_ap: float
    per_class: dict[str, float]
    standard_mask_ap: float
    standard_per_class: dict[str, float]
    minutes: float
    objects: dict[str, int] = field(default_factory=dict)  # of each class in the training set


@dataclass
class RunState:
    """Where a run stands.

    `chosen`: certainty of the images that this loop added (nan where none was computed); `train_size`: images that the
    last training had; `settings`, `experiment`: those in use, as `recorded` gives them.
    """

    classes: list[str]
    loop: int = 0
    phase: str = "annotate"
    train_images: list[str] = field(default_factory=list)
    chosen: dict[str, float] = field(default_factory=dict)
    best_ap: float = 0.0
    train_minutes: float = 0.0
    train_size: int = 0
    history: list[LoopScores] = field(default_factory=list)
    why_finished: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    experiment: dict[str, Any] = field(default_factory=dict)
    train_objects: dict[str, int] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        document = {"version": VERSION, **_nan_to_none(asdict(self))}
        write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    def experiment_in(self, folder: str) -> dict[str, Any]:
        """The recorded experiment; of a run that was begun before they were recorded, that of its settings which has
        the name of its folder."""
        if self.experiment:
            return self.experiment
        try:
            named = [one.recorded() for one in Settings(**self.settings).experiments() if one.name == folder]
        except ValueError:  # settings of another version
            named = []
        return named[0] if named else {"label": folder, "strategy": folder, "seed": 0}

    @classmethod
    def load(cls, path: Path) -> RunState:
        """Raises MaskALError, naming the file and the remedy, where it cannot be used."""
        remedy = "start over with --fresh (this run is then moved aside, not deleted)"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("version") != VERSION:
                raise MaskALError(f"{path}: written by another version of MaskAL; {remedy}")
            history = [_scores(row) for row in document.pop("history")]
            state = cls(**{**document, "chosen": _none_to_nan(document["chosen"])}, history=history)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MaskALError(f"{path}: cannot be read as the state of a run ({error}); {remedy}") from error
        if state.phase not in PHASES:
            raise MaskALError(f"{path}: phase {state.phase!r} is not one of {', '.join(PHASES)}; {remedy}")
        return state


def _scores(row: dict[str, Any]) -> LoopScores:
    return LoopScores(**{key: _none_to_nan(value) for key, value in row.items()})


def _nan_to_none(value: Any) -> Any:
    """Json has no NaN."""
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _none_to_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _none_to_nan(item) for key, item in value.items()}
    return math.nan if value is None else value
