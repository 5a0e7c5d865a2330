from __future__ import annotations

from dataclasses import replace

import pytest

from active_learning.annotations.odd_objects import LIKELY
from active_learning.label_check.comparison import Match
from active_learning.label_check.judge import in_words, judge
from active_learning.label_check.passes import ComparedImage
from tests.active_learning.label_check.conftest import CLASSES, match, missing

NAMES = ("a", "b", "c")
WRONG = {
    "missing object": missing(),
    "not an object": match(probabilities=()),
    "other class": match(label=1, probabilities=(0.97, 0.005, 0.005)),
    "poor outline": match(iou=0.3),
}


def with_one(images: list[ComparedImage], one: Match) -> list[ComparedImage]:
    return [
        *images,
        ComparedImage("val", "wrong.png", 100, 100, (match(number=7), replace(one, number=min(one.number, 1)))),
    ]


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_found_with_its_kind(right_images, kind: str):
    found = [one for one in judge(with_one(right_images(200), WRONG[kind]), CLASSES) if one.image.name == "wrong.png"]
    surest = max(found, key=lambda one: one.certainty)
    assert (surest.kind, surest.match.number) == (kind, min(WRONG[kind].number, 1))
    assert surest.certainty > LIKELY


def test_in_right_annotations_next_to_nothing_is_found(right_images):
    likely = [one for one in judge(right_images(300), CLASSES) if one.certainty > LIKELY]
    assert len(likely) <= 3


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_annotations_among_those_it_learns_from_do_no_harm(right_images, kind: str):
    """They come first, however many they are."""
    for share in (0.02, 0.05, 0.1):
        images, count = right_images(200), round(200 * share)
        for number in range(count):
            images = with_one(images, WRONG[kind])
            images[-1] = replace(images[-1], name=f"wrong{number}.png")
        found = sorted((one for one in judge(images, CLASSES) if one.kind == kind), key=lambda one: -one.certainty)
        assert all(one.image.name.startswith("wrong") for one in found[:count])
        assert share > 0.02 or found[count - 1].certainty > LIKELY


@pytest.mark.parametrize("count", [0, 1, 3])
def test_with_few_images_nothing_fails_and_nothing_is_sure(right_images, count: int):
    assert all(one.certainty < 0.9 for one in judge(right_images(count), CLASSES))
    assert judge([ComparedImage("val", "empty.png", 10, 10, ())], CLASSES) == []


@pytest.mark.parametrize("kind", ["not an object", "missing object"])
def test_a_network_that_is_often_wrong_accuses_nobody(right_images, kind: str):
    """It misses a third of the objects, or takes as many things for objects, as sure as of others."""
    images = right_images(100)
    for number in range(50):
        images.append(ComparedImage("val", f"odd{number}.png", 100, 100, (replace(WRONG[kind]),)))
    certainties = [one.certainty for one in judge(images, CLASSES) if one.kind == kind]
    assert max(certainties) < LIKELY


def test_one_class_has_no_other():
    one = Match(0, 0, (5, 5, 25, 25), 400, missing().probabilities[:1], 10, 0.9, 0.9)
    found = judge([ComparedImage("val", f"{n}.png", 100, 100, (one,)) for n in range(5)], 1)
    assert not [each for each in found if each.kind == "other class"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing object", "Expected a, as 10 of 10 passes detect an object here, mostly that; nothing is annotated."),
        (
            "other class",
            "Expected a, as 10 of 10 passes detect an object in this outline, mostly that; annotated as b.",
        ),
    ],
)
def test_a_finding_in_words(right_images, kind: str, text: str):
    found = judge(with_one(right_images(200), WRONG[kind]), CLASSES)
    (words,) = {in_words(one, NAMES, 10) for one in found if one.kind == kind and one.image.name == "wrong.png"}
    assert words == text


def test_words_of_the_others_say_what_is_usual(right_images):
    words = []
    for kind in ("not an object", "poor outline"):
        found = judge(with_one(right_images(200), WRONG[kind]), CLASSES)
        words += [in_words(one, NAMES, 10) for one in found if one.kind == kind and one.image.name == "wrong.png"]
    assert words[0].startswith(
        "Expected nothing, as none of 10 passes detects an object here, though a of such a size is detected in"
    )
    assert words[-1].startswith(
        "Expected an outline that fits what 10 of 10 passes detect, as other outlines of a do with IoU 0.9"
    )
    assert words[-1].endswith("this one has IoU 0.30.")
