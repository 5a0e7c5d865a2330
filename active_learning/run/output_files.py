"""Names and formats of the files that a run writes.

    <resultsroot>/<experiment_name>/<experiment>/    <strategy>.csv, trainfiles_iteration###.txt, run_state.json, ...
    <weightsroot>/<experiment_name>/<experiment>/    best_model_###.pth, model_final.pth, training###/

Loop 0 is the training on the initial images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from active_learning.errors import MaskALError
from active_learning.run.recorded import ROUNDING, ImageName, check_values
from active_learning.run.state import LoopScores
from active_learning.settings import Experiment, Settings
from active_learning.system.files import csv_text, write_atomically
from active_learning.system.log import logger
from active_learning.system.names import normalised
from active_learning.system.written_files import write_own

_NAME: TypeAdapter[str] = TypeAdapter(ImageName)
TILES = "tiles"
STATE = "run_state.json"
REPORT, COMPARISON = "report.html", "comparison.csv"  # beside the folders of an experiment_name
_NETWORK = re.compile(r", network (\d{1,9})$")


@dataclass(frozen=True)
class OutputFiles:
    """Where one experiment writes; see `output_files`."""

    results: Path
    weights: Path
    strategy: str

    def first_result(self) -> Path | None:
        """One that a run would write over."""
        scores = (self.scores.name, self.standard_scores.name, "pool_certainty*.csv")
        lists = ("trainfiles_iteration*.txt", "*_records*.jsonl*", "why_chosen*", "label_check*", self.data_seen.name)
        return _first(self.results, (*scores, *lists))

    def first_weights(self) -> Path | None:
        """The same."""
        return _first(self.weights, ("best_model_*.pth", self.final_model.name, "training[0-9]*"))

    def best_model(self, loop: int) -> Path:
        return self.weights / f"best_model_{loop:03d}.pth"

    @property
    def final_model(self) -> Path:
        return self.weights / "model_final.pth"

    @property
    def scores(self) -> Path:
        """Mask AP on the test images at the settings' confidence_threshold, a row a loop."""
        return self.results / f"{self.strategy}.csv"

    @property
    def standard_scores(self) -> Path:
        """The same at score threshold 0.05, as COCO results are usually given."""
        return self.results / f"{self.strategy}_standard.csv"

    def training_log(self, loop: int) -> Path:
        """Folder of metrics.json and the TensorBoard events of one training."""
        return self.weights / f"training{loop:03d}"

    @property
    def training_tiles(self) -> Path:
        """Folder of the tiles of the training images; it goes when the run has finished."""
        return self.weights / TILES

    def train_files(self, loop: int) -> Path:
        return self.results / f"trainfiles_iteration{loop:03d}.txt"

    def pool_scores(self, loop: int) -> Path:
        """Certainty of each pool image, seen with the weights of this loop."""
        return self.results / f"pool_certainty{loop:03d}.csv"

    def pool_records(self, loop: int) -> Path:
        """More of the same: objects with the parts of their certainty, class probabilities, features (read_records)."""
        return self.results / f"pool_records{loop:03d}.jsonl"

    def training_records(self, loop: int) -> Path:
        """The same of the training images, for strategies that compare with them."""
        return self.results / f"training_records{loop:03d}.jsonl"

    @property
    def initial_records(self) -> Path:
        """Features of all images, by which initial_choice diverse goes; of all experiments of an experiment_name."""
        return self.results.parent / "initial_records.jsonl"

    def why_chosen(self, loop: int) -> Path:
        """Folder of what a network detected in some of the images that the next loop adds (write_explanations)."""
        return self.results / f"why_chosen{loop:03d}"

    @property
    def label_findings(self) -> Path:
        """Annotations that look wrong, the surest first."""
        return self.results / "label_check.csv"

    @property
    def label_check(self) -> Path:
        """Folder of the same with outlines and pictures."""
        return self.results / "label_check"

    @property
    def label_results(self) -> Path:
        """What the next label check goes on from."""
        return self.label_check / "findings.json"

    @property
    def state(self) -> Path:
        return self.results / STATE

    @property
    def data_seen(self) -> Path:
        """The images and annotations that the run has used last, to log what has changed since."""
        return self.results / "data_seen.json"

    @property
    def log(self) -> Path:
        return self.results / "maskAL.log"


def files_by_loop(folder: Path, name: str) -> dict[int, Path]:
    """From loop to what a run has written there, `name` with `*` for its number; copies that a person made beside them
    are passed over."""
    before, after = map(re.escape, name.split("*"))
    loops = ((re.fullmatch(f"{before}([0-9]{{3,}}){after}", path.name), path) for path in folder.glob(name))
    return {int(match[1]): path for match, path in loops if match}


def _first(folder: Path, patterns: Sequence[str]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)


def output_files(settings: Settings, experiment: Experiment) -> OutputFiles:
    run = Path(settings.experiment_name) / experiment.name
    return OutputFiles(settings.resultsroot / run, settings.weightsroot / run, experiment.strategy)


def write_train_files(
    path: Path, images: Sequence[str], chosen: Mapping[str, float], network: int | None = None
) -> None:
    """One line `name, value` an image: its certainty where it was chosen in this loop, else NaN.

    Where another network than that of the loop before chose, the lines of the chosen images end in `, network <loop>`.
    """

    def value(name: str) -> str:
        certainty = chosen.get(name, math.nan)
        text = "NaN" if math.isnan(certainty) else f"{certainty:.6f}"
        return text if network is None or name not in chosen else f"{text}, network {network}"

    write_atomically(path, "".join(f"{name}, {value(name)}\n" for name in images))


def read_train_files(path: Path) -> list[str]:
    """The image names of a file of `write_train_files`, where they may hold commas, or of a list of names without.

    Raises:
        MaskALError: a line is neither `name, value` nor a name, or an image is listed twice.
    """
    return list(_read_values(path, "start from a whole copy of the file", value_needed=False))


def added_images(path: Path, before: Path) -> set[str]:
    """The images of a file of `write_train_files` that the one of the loop before, if it is there, does not list."""
    known = set(map(normalised, read_train_files(before) if before.exists() else ()))
    return {name for name in read_train_files(path) if normalised(name) not in known}


def read_network(path: Path) -> int | None:
    """The loop whose network chose what this file of `write_train_files` adds; None for that of the loop before."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((int(found[1]) for line in lines if (found := _NETWORK.search(line.rstrip("\r")))), None)


def write_pool_scores(path: Path, certainty: Mapping[str, float]) -> None:
    """One line `name, value` an image, NaN where nothing was seen."""
    with may_be_open(path, "the report lacks this loop's"):
        write_atomically(path, "".join(f"{name}, {value!r}\n" for name, value in certainty.items()))


def read_pool_scores(path: Path) -> dict[str, float]:
    """Raises MaskALError where a line is not `name, value`, with a value from 0 to 1 or NaN."""
    return _read_values(path, "delete the file", value_needed=True)


def _read_values(path: Path, remedy: str, *, value_needed: bool) -> dict[str, float]:
    """From image names to the values behind them, NaN where there is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # as an editor on Windows may have saved it
    except UnicodeDecodeError as error:
        raise MaskALError(f"{path}: byte {error.start} is not UTF-8; {remedy}") from error
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        if not (line := line.rstrip("\r")).strip():
            continue
        line = line if value_needed else _NETWORK.sub("", line)
        name, comma, value = line.rpartition(",") if value_needed or "," in line else (line, "", "nan")
        place = f"{path}: line {number}"
        try:
            certainty = float(value)
        except ValueError as error:
            raise MaskALError(f"{place}: {line!r} is not `name, value`; {remedy}") from error
        if not (math.isnan(certainty) or -ROUNDING <= certainty <= 1 + ROUNDING):
            raise MaskALError(f"{place}: {value.strip()} of {name!r} is no certainty from 0 to 1, nor NaN; {remedy}")
        name = check_values(_NAME, name, place, remedy)
        if name in found:
            raise MaskALError(f"{place}: {name!r} is listed twice; {remedy}")
        found[name] = certainty
    return found


def write_scores(files: OutputFiles, history: Sequence[LoopScores], classes: Sequence[str]) -> None:
    """Both csv files, at the settings' threshold and at that of COCO results: `train_size,mAP,mAP-<class>...,objects`.

    Mask AP in percent with one decimal; a class without test objects has nan. Objects are those of the training images,
    or nan where an earlier version did not count them.
    """

    def line(row: LoopScores, mask_ap: float, per_class: Mapping[str, float]) -> list[object]:
        values = (f"{value:.1f}" for value in (mask_ap, *(per_class[name] for name in classes)))
        return [row.train_size, *values, sum(row.objects.values()) if row.objects else "nan"]

    headers = ["train_size", "mAP", *(f"mAP-{name}" for name in classes), "objects"]
    scores = (line(row, row.mask_ap, row.per_class) for row in history)
    later = "the next loop writes it anew"
    with may_be_open(files.scores, later):
        write_own(files.scores, csv_text([headers, *scores]))
    standard = (line(row, row.standard_mask_ap, row.standard_per_class) for row in history)
    with may_be_open(files.standard_scores, later):
        write_own(files.standard_scores, csv_text([headers, *standard]))


@contextmanager
def may_be_open(path: Path, consequence: str, errors: type[OSError] = PermissionError) -> Iterator[None]:
    """Inside it a csv for people is written, which another program may hold open: a warning, and no end of a run."""
    try:
        yield
    except errors as error:
        logger.warning("%s: cannot be written: %s; %s", path, error.strerror or error, consequence)
