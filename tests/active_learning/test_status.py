from __future__ import annotations

from active_learning.output_files import output_files
from active_learning.run_state import LoopScores, RunState
from active_learning.settings import Settings
from active_learning.status import describe_status


def test_each_experiment_has_its_paragraph(settings: Settings):
    both = Settings(**{**settings.model_dump(), "strategy": ["uncertainty", "random"]})
    (settings.traindir / "03.json").unlink()
    state = RunState(["a", "b"], 1, "annotate", ["01.png", "02.png", "03.png"])
    state.history.append(LoopScores(2, 41.25, {}, 43.0, {}, 1.0))
    state.save(output_files(both, both.experiments()[0]).state)
    first, second = describe_status(both).split("\n\nExperiment ")
    assert first.startswith("Experiment exp1/uncertainty: loop 1 of 2, phase annotate\n")
    assert "3 training images: 2 annotated, 1 missing" in first
    assert [line.split() for line in first.splitlines()][-1] == ["0", "2", "41.2"]
    assert second == "exp1/random: not started"


def test_a_finished_run_says_why(settings: Settings):
    state = RunState(["a", "b"], 2, "finished", ["01.png"], why_finished="loop 2 of 2 is done")
    state.save(output_files(settings, settings.experiments()[0]).state)
    assert "Finished: loop 2 of 2 is done." in describe_status(settings)
