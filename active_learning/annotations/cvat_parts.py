"""Which `object` elements of a LabelMe 3.0 file are one object: those that their element `parts` links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from active_learning.annotations.documents import brief
from active_learning.annotations.xml_files import text_of


def first_of_each_object(elements: Sequence[Element]) -> tuple[list[int], list[tuple[int, str]]]:
    """For each element the index of the first one that links join it to, over any number of steps; and the faults of
    ids and links, each with the index of its element.

    Deleted elements link too: what remains of their parts belongs together.
    """
    indices, faults = _by_id(elements)
    firsts = list(range(len(elements)))
    for index, element in enumerate(elements):
        for number in _linked_ids(element):
            if number not in indices:
                faults.append((index, f"there is no object {brief(number)} to join"))
                continue
            one, other = _first(firsts, index), _first(firsts, indices[number])
            firsts[max(one, other)] = min(one, other)
    return [_first(firsts, index) for index in range(len(elements))], faults


def _by_id(elements: Sequence[Element]) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """From id to index, of the first one where several have it, and the others as faults."""
    indices: dict[str, int] = {}
    faults = []
    for index, element in enumerate(elements):
        number = text_of(element, "id")
        if number and indices.setdefault(number, index) != index:
            faults.append((index, f"object[{indices[number]}] has this id already"))
    return indices, faults


def _linked_ids(element: Element) -> Iterator[str]:
    for tag in ("parts/hasparts", "parts/ispartof"):
        yield from filter(None, (number.strip() for number in text_of(element, tag).split(",")))


def _first(firsts: list[int], index: int) -> int:
    """The first of the elements joined so far; shortens the chain of links to it."""
    while firsts[index] != index:
        firsts[index] = firsts[firsts[index]]
        index = firsts[index]
    return index
