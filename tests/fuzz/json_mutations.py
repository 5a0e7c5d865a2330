"""Damage to the content of a json file: it stays json, but for a few texts that no writer gives."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

from png_mutations import mutate_base64

# Json texts that the json module does not write.
RAW = (
    "1e999", "-1e999", "1e308", "NaN", "Infinity", "9" * 400, "-" + "9" * 4000, "9" * 6000, "0.1e-400", "-0", "1e5",
    "[" * 50 + "]" * 50, "[" * 900 + "]" * 900, "[" * 5000 + "]" * 5000, '{"a":' * 300 + "1" + "}" * 300,
    '"\\ud800"', '"\\udfff\\ud800x"', '"\\u0000"', '{"a":1,"a":[]}', "[[],[]]", "[[1,2],[3]]", "[[[1,2]]]", "{}", "[]",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e-300, 1e7, 99999999.5, "",
    " ", "0", "1", "a", "../outside.png", "/etc/passwd", "C:\\x", "mask", "any", "bitmap", "polygon", "circle", "\n",
    "x" * 100_000, "\u202e", "e\u0301", [], {}, [0, 0], [[0, 0]], [None], {"x": 1, "y": 1}, ["a" * 50_000, 1],
)  # fmt: skip
NUMBERS = (0, -1, 0.5, 1e-9, -1e6, 1e6, 1e7, 2**31, 2**53, 4096, 16384, 30000)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        nodes = list(_nodes(document))
        if not nodes:
            break
        parent, key = rng.choice(nodes)
        if rng.random() < 0.3:  # fields near the top are few, but most of the code is about them
            parent, key = rng.choice(nodes[: 1 + len(nodes) // 10])
        rng.choice(_CHANGES)(parent, key, rng, document)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    text = re.sub(r'"@raw(\d+)@"', lambda found: RAW[int(found[1])], text)
    if rng.random() < 0.1:
        text = _repeat_key(text, rng)
    return text.encode("utf-8", "surrogatepass")


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value, those near the top first."""
    pending = [value]
    while pending:
        following = []
        for container in pending:
            items = list(container.items() if isinstance(container, dict) else enumerate(container))
            yield from ((container, key) for key, _ in items)
            following += [inner for _, inner in items if isinstance(inner, (dict, list))]
        pending = following


def _replace(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    parent[key] = copy.deepcopy(rng.choice(VALUES))


def _raw(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    parent[key] = f"@raw{rng.randrange(len(RAW))}@"


def _delete(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    del parent[key]


def _shift(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    """Near misses: numbers a little or far off, texts with more in them, masks damaged inside."""
    value = parent[key]
    if isinstance(value, (int, float)):
        parent[key] = rng.choice((value + rng.choice(NUMBERS), value * rng.choice(NUMBERS), -value, float(value)))
    elif isinstance(value, str) and _BASE64.fullmatch(value):
        parent[key] = mutate_base64(value, rng)
    elif isinstance(value, str):
        parent[key] = rng.choice((value.upper(), value + "\ud83d", value * 2, value[:-1], value + "\x00", [value]))
    else:
        _grow(parent, key, rng, document)


def _grow(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    value = parent[key]
    if isinstance(value, list) and value:
        parent[key] = value * rng.choice((2, 2, 40)) if rng.random() < 0.7 else value[: rng.randrange(len(value))]
    elif isinstance(value, dict) and value:
        first = next(iter(value))
        value[f"{first}{rng.randrange(3)}"] = value[first]
    else:
        parent[key] = [value, value, value]


def _transplant(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    """A value, or a name, from somewhere else in the file."""
    other, name = rng.choice(list(_nodes(document)))
    value = copy.deepcopy(other[name])
    if isinstance(parent, dict) and isinstance(name, str) and rng.random() < 0.5:
        parent[name] = value
    else:
        parent[key] = value


def _mask(parent: Any, key: Any, rng: random.Random, document: Any) -> None:
    places = [(one, name) for one, name in _nodes(document) if _is_base64(one[name])]
    if places:
        one, name = rng.choice(places)
        one[name] = mutate_base64(one[name], rng)
    else:
        _replace(parent, key, rng, document)


def _is_base64(value: Any) -> bool:
    return isinstance(value, str) and _BASE64.fullmatch(value) is not None


_CHANGES = (_replace, _replace, _raw, _delete, _shift, _shift, _grow, _transplant, _mask)


def _repeat_key(text: str, rng: random.Random) -> str:
    """A key that stands twice in an object, with another value."""
    names = list(re.finditer(r'"(\w+)": ', text))
    if not names:
        return text
    name = rng.choice(names)
    value = rng.choice([*RAW, "1", '"a"', "null"])
    return f'{text[: name.start()]}"{rng.choice(names)[1]}": {value}, {text[name.start() :]}'
