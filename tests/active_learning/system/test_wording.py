"""Counts and near words in messages."""

from __future__ import annotations

import pytest

from active_learning.system.wording import counted, did_you_mean


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images")])
def test_counts(number, text):
    assert counted(number, "image") == text


@pytest.mark.parametrize(
    ("word", "hint"),
    [("Strategi", " (did you mean 'strategy'?)"), (" LOOPS ", " (did you mean 'Loops'?)"), ("xyz", "")],
)
def test_the_nearest_word_is_named_as_it_is_spelled(word, hint):
    assert did_you_mean(word, ["strategy", "Loops"]) == hint
