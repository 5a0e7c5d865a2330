"""Damage to PNG masks that keeps the checksums right, so that it reaches the decoder; and pictures that blow up."""

from __future__ import annotations

import base64
import binascii
import random
import struct
import zlib

from byte_mutations import mutate_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = (0, 1, 2, 3, 4, 6, 8, 16, 255)
LENGTHS = (0, 1, 2, 7, 100, 4096, 16384, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 1)


def mutate_png(png: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return mutate_bytes(png, rng)
    if rng.random() < 0.1:
        return rng.choice(BOMBS)
    chunks = _chunks(png)
    if not chunks:
        return png
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in rng.choice(_CHANGES)(chunks, rng))


def mutate_base64(text: str, rng: random.Random) -> str:
    """A PNG in base64, bare or compressed by zlib; other texts become any bytes."""
    try:
        content = base64.b64decode(text)
    except (binascii.Error, ValueError):
        return base64.b64encode(rng.randbytes(40)).decode()
    if content.startswith(SIGNATURE):
        return base64.b64encode(mutate_png(content, rng)).decode()
    try:
        png = zlib.decompress(content)
    except zlib.error:
        return base64.b64encode(mutate_bytes(content, rng)).decode()
    if rng.random() < 0.3:
        return base64.b64encode(rng.choice((mutate_bytes(content, rng), ZLIB_BOMB))).decode()
    return base64.b64encode(zlib.compress(mutate_png(png, rng))).decode()


Chunks = list[tuple[bytes, bytes]]


def _chunks(png: bytes) -> Chunks:
    chunks, position = [], len(SIGNATURE)
    while position + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        chunks.append((kind, png[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _header(chunks: Chunks, rng: random.Random) -> Chunks:
    """Another width, height, depth, colour type, compression, filter or interlacing."""
    kind, body = chunks[0]
    changed, place = bytearray(body.ljust(13, b"\x00")), rng.randrange(7)
    if place < 2:
        changed[4 * place : 4 * place + 4] = struct.pack(">I", rng.choice(LENGTHS))
    else:
        changed[6 + place] = rng.choice(HEADER_BYTES)
    return [(kind, bytes(changed)), *chunks[1:]]


def _body(chunks: Chunks, rng: random.Random) -> Chunks:
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    return [*chunks[:index], (kind, mutate_bytes(body, rng)), *chunks[index + 1 :]]


def _pixels(chunks: Chunks, rng: random.Random) -> Chunks:
    """Other pixels, or too few or too many of them, in a stream that is whole."""
    raw = b"".join(body for kind, body in chunks if kind == b"IDAT")
    try:
        rows = zlib.decompress(raw)
    except zlib.error:
        rows = raw
    others = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return [*others, (b"IDAT", zlib.compress(mutate_bytes(rows, rng))), (b"IEND", b"")]


def _order(chunks: Chunks, rng: random.Random) -> Chunks:
    """A chunk left out, twice, elsewhere, or of another kind."""
    index, place = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    rest, chunk = chunks[:index] + chunks[index + 1 :], chunks[index]
    kind = rng.choice((b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"zTXt", b"eXIf", b"IEND", b"IHDR"))
    return rng.choice((rest, [*chunks, chunk], rest[:place] + [chunk] + rest[place:], [*rest, (kind, chunk[1])]))


_CHANGES = (_header, _header, _body, _pixels, _order)


def _bomb(width: int, height: int, depth: int, colour: int) -> bytes:
    """A picture of zeros; its bytes are a thousandth of its pixels'."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = b"\x00" * (1 + (width * channels * depth + 7) // 8)
    stream = zlib.compressobj(9)
    body = b"".join(stream.compress(row) for _ in range(height)) + stream.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


BOMBS = (_bomb(3000, 3000, 1, 0), _bomb(1500, 1500, 16, 6), _bomb(40000, 200, 8, 0), _bomb(20000, 20000, 1, 0))
ZLIB_BOMB = zlib.compress(bytes(2**26), 9)
