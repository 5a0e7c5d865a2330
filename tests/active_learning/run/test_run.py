"""What a run does when it is opened."""

from __future__ import annotations

from active_learning.run.run import Run
from active_learning.system.files import DRAFT


def test_what_a_killed_start_left_half_written_goes(settings):
    experiment = settings.experiments()[0]
    run = Run(settings, experiment)
    run.save(phase="annotate")
    files = run.files
    own = [files.results, files.results / "label_check", files.weights / "tiles" / "key", files.results.parent]
    drafts = [folder / f"a.json{DRAFT}" for folder in (*own, files.weights.parent, settings.dataroot)]
    others = [settings.dataroot / "images" / f"a.png{DRAFT}", files.results / "a.json"]
    for path in (*drafts, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Run(settings, experiment)
    assert not any(path.exists() for path in drafts)
    assert all(path.exists() for path in others)
