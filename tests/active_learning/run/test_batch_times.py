"""Moments in minutes, times 60; clocks may jump."""

from __future__ import annotations

import pytest

from active_learning.run.batch_times import BatchTimes


@pytest.mark.parametrize(
    ("before", "put", "waited"),
    [(0, 100, 0), (90, 100, 10), (100, 100, 0), (130, 100, 0)],
    ids=["nobody had annotated before", "ten minutes", "at once", "the clock was put back"],
)
def test_the_person_waits_from_the_last_annotation_to_the_next_images(before: int, put: int, waited: int):
    times = BatchTimes(before=before * 60.0)
    times.note_put(put * 60.0)
    assert times.person_minutes == waited
    times.note_put(put * 60.0 + 600)  # as a later start does
    assert (times.put, times.person_minutes) == (put * 60.0, waited)


@pytest.mark.parametrize(
    ("moments", "waited"),
    [([(10, 25)], 15), ([(10, 10)], 0), ([(30, 10)], 0), ([(10, 15), (100, 103)], 8)],
    ids=["a quarter", "not at all", "the clock was put back", "asked for again"],
)
def test_the_computer_waits_until_all_are_collected(moments: list[tuple[int, int]], waited: int):
    times = BatchTimes()
    assert not times.end_waiting(5.0)
    for needed, collected in moments:
        times.begin_waiting(needed * 60.0)
        times.begin_waiting(needed * 60.0 + 1)  # as the next start does
        assert times.end_waiting(collected * 60.0)
    assert times.computer_minutes == waited
    assert times.needed == 0


@pytest.mark.parametrize(
    ("saved", "handed_in"),
    [(150, 150), (20, 100), (500, 200), (0, 100)],
    ids=["by the file", "a file that is older than its image's copy", "a file from the future", "no file"],
)
def test_images_are_handed_in_between_put_and_now(saved: int, handed_in: int):
    times = BatchTimes()
    times.note_put(100.0)
    times.note_handed_in(saved, 200.0)
    assert times.handed_in == handed_in


def test_what_nobody_annotated_was_handed_in_by_nobody():
    times = BatchTimes()
    times.note_handed_in(150.0, 200.0)
    assert times.handed_in == 0
