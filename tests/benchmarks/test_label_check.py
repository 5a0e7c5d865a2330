"""The corrupting script, and how the benchmark counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotations import Annotation, Instance, Part, labelme
from active_learning.label_check.comparison import Match
from active_learning.label_check.judge import Suspicion
from active_learning.label_check.passes import ComparedImage
from benchmarks import corrupt_annotations
from benchmarks.corrupt_annotations import KINDS, Corruption, corrupt, read_folder
from benchmarks.label_check import box_iou, figures, named_by

CLASSES = ("a", "b", "c")


def box(x: float, y: float, side: float = 20) -> Part:
    return Part(np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]]))


@pytest.fixture(scope="module")
def annotations() -> dict[str, Annotation]:
    """40 images, each with an object of a, one of b and one of a label that is no class."""
    objects = (Instance("a", (box(10, 10),)), Instance("other", (box(90, 10),)), Instance("b", (box(50, 50),)))
    return {f"{number:02d}.png": Annotation(f"{number:02d}.png", 120, 160, objects) for number in range(40)}


def test_the_share_is_corrupted_in_equal_parts(annotations):
    corrupted, done = corrupt(annotations, CLASSES, 0.25, KINDS, seed=0)
    assert Counter(one.kind for one in done) == dict.fromkeys(KINDS, 4)
    assert (
        corrupt(annotations, CLASSES, 0.25, KINDS, seed=0)[1]
        == done
        != corrupt(annotations, CLASSES, 0.25, KINDS, 1)[1]
    )
    same = sum(
        one.parts == other.parts and one.label == other.label
        for name in annotations
        for one, other in zip(annotations[name].instances, corrupted[name].instances, strict=False)
    )
    assert same >= 120 - 4 * 4 - 3 * 4  # one that is deleted moves those behind it


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_listed_is_what_was_done(annotations, kind: str):
    corrupted, done = corrupt(annotations, CLASSES, 0.2, (kind,), seed=3)
    assert len(done) == 16
    for one in done:
        before, now = annotations[one.image].instances, corrupted[one.image].instances
        assert one.label in CLASSES
        if kind == "deleted":
            assert one.number == -1 and len(now) < len(before)
            continue
        found = now[one.number]
        points = found.parts[0].exterior
        assert one.box == (*points.min(axis=0), *points.max(axis=0))
        old = next((each for each in before if each.label == one.label), before[0])
        iou = box_iou(one.box, (*old.parts[0].exterior.min(axis=0), *old.parts[0].exterior.max(axis=0)))
        assert (found.label != one.label) == (kind == "swapped")
        assert {"swapped": iou == 1, "added": len(now) > len(before)}.get(kind, 0.2 < iou < 0.7)


def test_the_script_writes_a_folder_and_its_list(tmp_path: Path, annotations):
    folder, out = tmp_path / "right", tmp_path / "wrong"
    folder.mkdir()
    for name, one in annotations.items():
        (folder / name).write_bytes(b"an image")
        labelme.write(one, (folder / name).with_suffix(".json"))
    corrupt_annotations.main([str(folder), str(out), "--share", "0.1", "--kinds", "deleted", "swapped"])
    again = read_folder(out)
    lines = (out / "corruptions.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 12 and lines[0] == "image,kind,number,label,x0,y0,x1,y1"
    assert sum(len(one.instances) for one in again.values()) == 120 - 6
    with pytest.raises(SystemExit):
        corrupt_annotations.main([str(folder), str(out)])


def test_a_finding_counts_once_for_what_it_names():
    image = ComparedImage("val", "a.png", 100, 100, ())
    place = {("val", "a.png"): [(0, Corruption("a.png", "swapped", 1, "a", 0, 0, 9, 9)),
                                (1, Corruption("a.png", "deleted", -1, "a", 50, 50, 70, 70))]}  # fmt: skip

    def finding(number: int, box: tuple[int, int, int, int], kind: str, certainty: float) -> Suspicion:
        return Suspicion(image, Match(number, number, box, 100, np.zeros(2)), kind, certainty)  # type: ignore[arg-type]

    found = [
        finding(1, (0, 0, 9, 9), "other class", 0.9),
        finding(-1, (50, 50, 70, 68), "missing object", 0.8),
        finding(-1, (10, 50, 30, 68), "missing object", 0.7),
        finding(0, (0, 0, 9, 9), "other class", 0.3),
    ]
    named = [named_by(one, place) for one in found]
    assert named == [0, 1, -1, -1]
    line = figures(found, named, [one for _, one in place["val", "a.png"]])
    assert (line["precision_20"], line["most_20"], line["likely"], line["listed"]) == (0.5, 0.1, 3, 4)
    assert (line["precision_20_swapped"], line["precision_20_deleted"]) == (0.5, 0.5)
    assert (line["recall_likely_swapped"], line["recall_listed_deleted"]) == (1.0, 1.0)
