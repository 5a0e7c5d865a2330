"""A fault is reported once, as soon as its file rests; the count is a line that is written over, or one a change."""

from __future__ import annotations

import sys

import pytest

from active_learning.annotating.wait_report import CountLine, Faults

A, B = {"a.png": "a.json: is empty"}, {"a.png": "a.json: line 1"}


@pytest.mark.parametrize(
    ("searches", "reported"),
    [
        pytest.param([A, {}], [], id="mended at once"),
        pytest.param([A, A], ["a.json: is empty"], id="at rest"),
        pytest.param([A, A, A, A], ["a.json: is empty"], id="once"),
        pytest.param([A, B, A, B], [], id="written at the moment"),
        pytest.param([A, A, B, B], ["a.json: is empty", "a.json: line 1"], id="another fault"),
        pytest.param([A, A, {}, A, A], ["a.json: is empty"] * 2, id="mended, and back"),
    ],
)
def test_a_fault_is_reported_once_it_rests(searches: list[dict[str, str]], reported: list[str]):
    faults = Faults()
    assert [line for faulty in searches for line in faults.news(dict(faulty))] == reported


@pytest.mark.parametrize("live", [True, False])
def test_the_count(live: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: live)
    logged: list[str] = []
    line = CountLine(2, logged.append)
    for annotated in (0, 0, 1):
        line.show(annotated)
    line.report(["a.json: is empty"])
    line.show(1)
    line.end()
    written = capsys.readouterr().out
    if live:
        assert logged == ["a.json: is empty"]
        assert written == f"\r0 / 2 annotated\r1 / 2 annotated\r{' ' * 15}\r\r1 / 2 annotated\n"
    else:
        assert logged == ["0 / 2 annotated", "1 / 2 annotated", "a.json: is empty"]
        assert not written
