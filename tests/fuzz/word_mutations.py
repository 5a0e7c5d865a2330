"""Damage to a word of a text of lines: label files of YOLO, yaml files."""

from __future__ import annotations

import random
import re

WORDS = (
    b"nan", b"inf", b"-inf", b"1e308", b"1e-400", b"-0", b"0.5", b"0,5", b"1.0000001", b"2", b"-1", b"-1.0000001", b"3",
    b"0x1", b"1_0", "\u0663".encode(), b"9" * 400, b"9" * 5000, b"0.0", b"1.5", b"#", b"", b"\n", b"\r", b"\t", b"&a",
    b"*a", b"- ", b": ", b"? ", b"<<", b"!!python/none", b"{0: a}", b"[a, a]", b"names:", b"nc: 7", b"kpt_shape: [3]",
    b"---",
)  # fmt: skip


def mutate_words(content: bytes, rng: random.Random) -> bytes:
    """One to four words or lines, replaced, doubled or dropped."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parts = re.split(rb"(\n)" if rng.random() < 0.3 else rb"([ \n]+)", content)
        at = rng.randrange(len(parts))
        parts[at] = rng.choice((rng.choice(WORDS), parts[at] * 2, parts[at] * 300, b"", rng.choice(parts)))
        content = b"".join(parts)
    return content
