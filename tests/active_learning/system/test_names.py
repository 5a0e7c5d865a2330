from __future__ import annotations

import pytest

from active_learning.system.names import folded_label, names_alike, shown


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        pytest.param(["a", "b"], [], id="none"),
        pytest.param(["a", "a"], [], id="the same name is no other form"),
        pytest.param(["Head", "head", "HEAD"], [["Head", "head", "HEAD"]], id="capitals"),
        pytest.param(["\u00e4", "a\u0308", "A\u0308"], [["\u00e4", "a\u0308", "A\u0308"]], id="accents"),
        pytest.param(["Stra\u00dfe", "STRASSE"], [["Stra\u00dfe", "STRASSE"]], id="sharp s"),
        pytest.param(["a b", "a  b", " a b", "a\u00a0b"], [["a b", "a  b", " a b", "a\u00a0b"]], id="blanks"),
        pytest.param(["m\u00b2", "m2"], [], id="digits that are none"),
        pytest.param(["ab", "a b"], [], id="a blank more"),
    ],
)  # fmt: skip
def test_names_that_are_one_text_in_two_forms(names: list[str], alike: list[list[str]]) -> None:
    assert names_alike(names, folded_label) == alike


def test_names_are_shown_so_that_they_tear_no_line() -> None:
    assert [shown(name) for name in ("ä b.png", " a", "a\nb", "\udce9")] == ["ä b.png", "' a'", r"'a\nb'", r"'\udce9'"]
