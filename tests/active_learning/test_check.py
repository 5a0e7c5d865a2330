from __future__ import annotations

import pytest

from active_learning.check import describe_run
from active_learning.errors import MaskALError
from active_learning.settings import Settings


def test_the_plan_has_each_loop_with_its_train_size_and_iterations(settings: Settings):
    (settings.traindir / "05.json").unlink()
    plan = describe_run(settings)
    cells = [line.split() for line in plan.splitlines()]
    assert [str(settings.traindir), "14", "13", "1"] in [row[1:] for row in cells if row[:1] == ["train"]]
    assert [row for row in cells if len(row) == 3 and row[0] in "012"] == [
        ["0", "4", "2500"],
        ["1", "7", "2500"],
        ["2", "10", "2500"],
    ]
    assert "strategy uncertainty" in plan


def test_the_plan_ends_where_the_pool_is_empty(settings: Settings):
    plan = describe_run(Settings(**{**settings.model_dump(), "loops": 9}))
    assert "14" in plan.split()
    assert len([line for line in plan.splitlines() if line.strip().endswith("2500")]) == 5


def test_all_faults_come_in_one_message(settings: Settings):
    (settings.traindir / "01.json").write_text("{", encoding="utf-8")
    (settings.valdir / "00.png").write_bytes(b"no image")
    for path in settings.testdir.iterdir():
        path.unlink()
    with pytest.raises(MaskALError) as caught:
        describe_run(settings)
    for words in ("01.json", "00.png", "holds no image; put the images of testdir there"):
        assert words in str(caught.value)
