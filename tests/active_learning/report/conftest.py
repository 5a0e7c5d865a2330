"""Folders of runs as the loop writes them, without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from active_learning.run.output_files import OutputFiles, write_pool_scores, write_train_files
from active_learning.run.state import LoopScores, RunState


def write_run(
    folder: Path,
    scores: Sequence[float],
    *,
    classes: Sequence[str] = ("a", "b"),
    first: int = 10,
    step: int = 10,
    certainty: float | None = None,
    phase: str = "finished",
    budget: str = "images",
) -> Path:
    """A run with these mAP values, one a loop; `certainty` of each pool image, None for a strategy that scores none.

    Each image holds one object of the first class; the chosen ones one of the last class too.
    """
    files = OutputFiles(folder, folder, folder.name.split("_")[0])
    files.results.mkdir(parents=True, exist_ok=True)
    files.weights.mkdir(parents=True, exist_ok=True)
    sizes = [first + step * loop for loop in range(len(scores))]
    names = [f"{index:03d}, ü.png" for index in range(sizes[-1] if sizes else first)]
    for loop, size in enumerate(sizes):
        write_train_files(files.train_files(loop), names[:size], {})
        if certainty is not None and loop + 1 < len(sizes):
            write_pool_scores(files.pool_scores(loop), dict.fromkeys([*names[size:], "left.png"], certainty))
    history = [
        LoopScores(
            train_size=size,
            mask_ap=score,
            per_class=dict.fromkeys(classes, score),
            standard_mask_ap=score + 1,
            standard_per_class=dict.fromkeys(classes, score + 1),
            minutes=0.5,
            objects={classes[0]: size, classes[-1]: size - first + (size if len(classes) == 1 else 0)},
        )
        for size, score in zip(sizes, scores, strict=True)
    ]
    label, _, seed = folder.name.partition("_seed")
    experiment = {"label": label, "strategy": label.split("_")[0], "seed": int(seed or 0)}
    state = RunState(list(classes), phase=phase, train_images=names, history=history, experiment=experiment)
    state.settings = {"budget": budget}
    state.save(files.state)
    return folder


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run
