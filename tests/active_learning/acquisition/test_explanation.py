"""Explanations of looks made by hand: which part was low, where the looks disagree, and what a file gives back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from active_learning.acquisition.explanation import Album, Explanation, Pixels, explain, read_explanations
from active_learning.errors import MaskALError
from active_learning.report import page
from active_learning.sampling import certainty_of
from active_learning.sampling.forward_passes import Look
from active_learning.sampling.observations import Detection, Mask

CLASSES = ["healthy", "Blüte <b>"]
RULE = {"iou_threshold": 0.5, "mode": "mean"}


def square(x: int, y: int, width: int, height: int) -> Mask:
    return Mask(x, y, np.ones((height, width), dtype=bool), width * height)


def detection(x: int, y: int, width: int, height: int, probabilities: tuple[float, ...] = (0.98, 0.01)) -> Detection:
    return Detection(
        square(x, y, width, height), np.array([x, y, x + width, y + height], dtype=np.float64), np.array(probabilities)
    )


def told(*passes: tuple[Detection, ...]) -> tuple[Explanation, Pixels]:
    look = Look(passes, np.zeros(3, dtype=np.float32), 40, 60)
    return explain("a/b ü.png", look, certainty_of(look, **RULE), CLASSES, **RULE)


@pytest.mark.parametrize(
    ("passes", "part"),
    [
        ([(detection(5, 5, 20, 20),), (), (), ()], "occurrence"),
        ([(detection(5, 5, 20, 20, (0.5, 0.49)),)] * 4, "semantic"),
        ([(detection(5, 5, 20, 20),), (detection(5, 5, 20, 14),)] * 2, "box"),
        ([(detection(5, 5, 20, 20),), (replace(detection(5, 5, 20, 20), mask=square(5, 5, 20, 12)),)] * 2, "mask"),
    ],
    ids=["seen once", "two classes", "two sizes", "two outlines in one box"],
)
def test_the_lowest_part_is_named(passes: list, part: str):
    explanation, _ = told(*passes)
    assert explanation.lowest_part == part
    assert explanation.objects[0].lowest_part == part


def test_votes_and_boxes_of_the_looks():
    explanation, _ = told(
        (detection(5, 5, 20, 20),), (detection(5, 6, 20, 20, (0.1, 0.8)),), (detection(6, 5, 20, 20),), ()
    )
    (one,) = explanation.objects
    assert one.votes == {"healthy": 2, "Blüte <b>": 1}
    assert one.boxes == ((5, 5, 25, 25), (5, 6, 25, 26), (6, 5, 26, 25))
    assert one.passes == (0, 1, 2)
    assert one.occurrence == 0.75
    assert one.certainty == pytest.approx(explanation.certainty)


def test_the_least_certain_object_comes_first():
    explanation, _ = told((detection(5, 5, 10, 10), detection(30, 5, 20, 20)), (detection(5, 5, 10, 10),))
    assert [one.occurrence for one in explanation.objects] == [0.5, 1.0]


def test_the_map_is_hot_where_half_of_the_looks_agree():
    _, heat = told((detection(4, 4, 20, 20),), (detection(4, 4, 20, 15),))
    assert heat.shape == (40, 60, 4)
    assert heat[12, 12, 3] == 0  # in all looks
    assert heat[21, 12, 3] == 180  # in one of two
    assert heat[35, 50, 3] == 0  # in none
    assert (heat[4, 4:24] == 255).all()  # the outline of the mean mask


def album(folder, *explained: tuple[Explanation, Pixels]) -> None:
    pictures = Album(folder)
    for explanation, heat in explained:
        pictures.add(explanation, np.full((40, 60, 3), (200, 100, 20), dtype=np.uint8), heat)
    pictures.close()


def test_an_album_gives_back_what_was_told(tmp_path):
    explanation, heat = told((detection(5, 5, 20, 20),), ())
    album(tmp_path / "ä" / "why_chosen000", (explanation, heat))
    (read,) = read_explanations(tmp_path / "ä" / "why_chosen000")
    assert (read.objects, read.image, read.certainty) == (explanation.objects, "a/b ü.png", explanation.certainty)
    assert read.picture and read.spread


def test_an_album_that_is_not_complete_is_passed_over(tmp_path):
    assert read_explanations(tmp_path) == []


def test_a_damaged_album_is_named(tmp_path):
    (tmp_path / "why.json").write_text('[{"image": "a"}]', encoding="utf-8")
    with pytest.raises(MaskALError, match=r"why\.json"):
        read_explanations(tmp_path)


def test_the_page_shows_the_newest_choice(tmp_path, make_run):
    run = make_run(tmp_path / "uncertainty", [1.0, 2.0, 3.0], certainty=0.4)
    for loop in range(2):
        album(
            run / f"why_chosen{loop:03d}", told((detection(5, 5, 20, 20),), (), (detection(5, 5, 20, 20, (0.1, 0.8)),))
        )
    text = page.write_report(tmp_path).read_text(encoding="utf-8")
    assert "uncertainty, loop 1" in text and "uncertainty, loop 0" not in text
    assert "Blüte &lt;b&gt;&nbsp;1" in text and "Blüte <b>" not in text
    assert text.count('<rect x="5.0" y="5.0" width="20.0" height="20.0"/>') == 2
    assert "objects are seen in some of the looks only" in text
    assert text.count("data:image/jpeg;base64,") == 1 and text.count("data:image/png;base64,") == 1
