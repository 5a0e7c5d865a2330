"""The same run in two processes as in one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def results(project) -> dict[str, bytes]:
    """What a run has written, but for its log and its times."""
    folder = project.file("results")
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in (".txt", ".csv", ".jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def twins(tiny_project, tmp_path: Path):
    """The same project twice."""
    copy = tmp_path / "twin" / tiny_project.folder.name
    shutil.copytree(tiny_project.folder, copy)
    return tiny_project, replace(tiny_project, folder=copy, config=copy / tiny_project.config.name)


def test_a_run_of_two_processes_is_that_of_one(twins):
    written = []
    for processes, project in enumerate(twins, start=1):
        project.settings(
            train_iterations_base=6,
            train_iterations_step_size=0,
            warmup_iterations=3,
            eval_period=6,
            num_workers=1,
            loops=1,
            confidence_threshold=0.02,  # a network so little trained is sure of nothing, and finds all images alike
            images_without_detections="choose",
            min_distance=1e-9,
        )
        code, output = project.run(processes=processes)
        assert code == 0, output
        written.append(results(project))
    kinds = [Path(name).stem.rstrip("0123456789") for name in written[0]]
    expected = {"trainfiles_iteration": 2, "pool_certainty": 1, "pool_records": 1, "training_records": 1}
    assert {kind: kinds.count(kind) for kind in expected} == expected
    assert b"nan" not in written[0]["exp1/uncertainty/pool_certainty000.csv"]
    assert written[0].keys() == written[1].keys()
    for name in written[0]:
        assert written[0][name] == written[1][name], name


def test_no_wait_under_torchrun_asks_once(tiny_project):
    for path in tiny_project.train.rglob("*.json"):
        path.unlink()
    code, output = tiny_project.run("--no-wait", processes=2)
    assert code != 0
    assert output.count("Annotations are awaited") == 1
    assert "exitcode  : 3" in output
    assert len(list((tiny_project.train / "annotate").rglob("*.png"))) == 6
