"""Damage to the bytes of any file."""

from __future__ import annotations

import random

TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"{", b"}", b"[", b"]", b'"', b",", b":", b"<",
    b">", b"/>", b"&amp;", b"&x;", b"]]>", b"<!--", b"<![CDATA[", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"null",
    b"true", b"1e308", b"-1e309", b"9" * 400, b"9" * 5000, b"-1", b"0", b"[" * 2000, b'{"a":' * 2000, b"<a>" * 2000,
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp1252")


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four damages, most of them small."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(_DAMAGES)(content, rng)
    return content


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(start + rng.choice((1, 2, 8, 64, 1024)), len(content))


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"\x00"
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _delete(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 3, 100)) + content[end:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + rng.choice(TOKENS) + content[rng.choice((start, end)) :]


def _move(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    rest, place = content[:start] + content[end:], rng.randrange(len(content) + 1)
    return rest[:place] + content[start:end] + rest[place:]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _recode(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


_DAMAGES = (_flip, _flip, _overwrite, _delete, _repeat, _insert, _insert, _move, _truncate, _recode)
