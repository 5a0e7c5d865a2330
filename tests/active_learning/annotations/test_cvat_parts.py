from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from active_learning.annotations.cvat_parts import first_of_each_object


def element(number: str, has: str = "", of: str = "") -> str:
    return f"<object><id>{number}</id><parts><hasparts>{has}</hasparts><ispartof>{of}</ispartof></parts></object>"


@pytest.mark.parametrize(
    ("elements", "firsts"),
    [
        pytest.param([element("0"), element("1")], [0, 1], id="no links"),
        pytest.param([element("0", has="1,2"), element("1", of="0"), element("2", of="0")], [0, 0, 0], id="both ways"),
        pytest.param([element("0"), element("1", has="0")], [0, 0], id="a later one has the first"),
        pytest.param([element("0", of="2"), element("1"), element("2", of="1")], [0, 0, 0], id="over a further one"),
        pytest.param([element("0", of="1"), element("1", of="0"), element("2")], [0, 0, 2], id="in a ring"),
    ],
)
def test_links_join_in_any_direction_and_the_first_element_stands_for_all(elements: list[str], firsts: list[int]):
    assert first_of_each_object([fromstring(text) for text in elements]) == (firsts, [])


def test_links_to_nothing_and_ids_twice_are_faults():
    elements = [element("0", has="7"), element("1"), element("1", of="0")]
    firsts, faults = first_of_each_object([fromstring(text) for text in elements])
    assert firsts == [0, 1, 0]
    assert faults == [(2, "object[1] has this id already"), (0, "there is no object '7' to join")]
