"""Files of pool records: a heading, then a line of json an image, so that a person can read them.

While a pool is scored, each process adds to a part of its own, `<file>.part0`, `<file>.part1`, ...; in the end the
records of all stand in one file in the order of the pool. A stopped run leaves the parts, from which it goes on.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from active_learning.errors import MaskALError
from active_learning.run.recorded import (
    ROUNDING,
    CountFromOne,
    Finite,
    ImageName,
    RecordedText,
    Share,
    ShareOrNan,
    first_mistake,
)
from active_learning.sampling.pool_record import FEATURE_TYPE, ObjectRecord, PoolRecord
from active_learning.settings.keys import short
from active_learning.system.files import write_atomically, write_errors_named

FORMAT = "maskal pool records 1"
_REMEDY = "move the file away to have the pool scored again"
LATER_CONDITIONS = ("network",)  # which records of an earlier version lack
_NO_OTHERS = ConfigDict(extra="forbid")
_NotNegative = Annotated[Finite, Field(ge=-ROUNDING)]


class _Object(TypedDict):
    """As `ObjectRecord`."""

    __pydantic_config__ = _NO_OTHERS  # type: ignore[misc]
    size: CountFromOne
    semantic: Share
    mask: Share
    box: Share
    occurrence: Share
    certainty: Share
    mean_box: tuple[Finite, Finite, Finite, Finite]
    probabilities: tuple[Share, ...]
    entropy: _NotNegative
    margin: Share
    mutual_information: _NotNegative


class _Document(TypedDict):
    """An image's line."""

    __pydantic_config__ = _NO_OTHERS  # type: ignore[misc]
    name: ImageName
    value: ShareOrNan
    height: CountFromOne
    width: CountFromOne
    objects: list[_Object]
    features: Annotated[str, Strict()]
    stamp: NotRequired[RecordedText]


_DOCUMENT = TypeAdapter(_Document)
Conditions = Mapping[str, Any]
"""What the values depend on, such as the number of passes; numbers, texts and lists of them."""


def read_records(path: Path) -> dict[str, PoolRecord]:
    """The records of a pool, by image name; also those of a run that was stopped or still goes on.

    Raises:
        MaskALError: a line cannot be read, or another version of MaskAL wrote the file.
    """
    return {record.name: record for file in _files(path) for record in _read(file)[1]}


def read_matching(path: Path, conditions: Conditions) -> tuple[dict[str, PoolRecord], bool]:
    """The records that were made under these conditions, and whether there are others."""
    contents = [_read(file) for file in _files(path)]
    kept = {record.name: record for found, records in contents for record in records if _are_same(found, conditions)}
    return kept, any(records and not _are_same(found, conditions) for found, records in contents)


def _are_same(found: Conditions | None, conditions: Conditions) -> bool:
    later = {key: conditions[key] for key in LATER_CONDITIONS if key in conditions}
    return found is not None and {**later, **found} == conditions


def part(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.part{rank}")


def remove_parts(path: Path) -> None:
    for file in _parts(path):
        file.unlink(missing_ok=True)


def remove_records(path: Path) -> None:
    """With the parts."""
    for file in list(_files(path)):
        file.unlink()


def begin_part(path: Path, conditions: Conditions) -> None:
    """Makes the part ready to be added to: with a heading, and without a half-written last line."""
    whole = _whole_lines(path)
    found, _ = _parse(path, whole)
    if not _are_same(found, conditions):
        write_atomically(path, f"{_heading(conditions)}\n")
    elif path.stat().st_size != len(whole):
        # Records are never written anew: a full disk would not take them back.
        with write_errors_named(path), path.open("r+b") as stream:
            stream.truncate(len(whole))


def write_records(path: Path, conditions: Conditions, records: Iterable[PoolRecord]) -> None:
    lines = [_heading(conditions), *map(to_line, records)]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def _heading(conditions: Conditions) -> str:
    return json.dumps({"format": FORMAT, "conditions": dict(conditions)}, ensure_ascii=False)


def _files(path: Path) -> Iterator[Path]:
    if path.exists():
        yield path
    yield from _parts(path)


def _parts(path: Path) -> list[Path]:
    """Of all processes; not copies that a person made of them."""
    return sorted(file for file in path.parent.glob(f"{path.name}.part*") if file.suffix[len(".part") :].isdecimal())


def _whole_lines(path: Path) -> bytes:
    """Without a last line that has no line end."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _read(path: Path) -> tuple[Conditions | None, list[PoolRecord]]:
    return _parse(path, _whole_lines(path))


def _parse(path: Path, content: bytes) -> tuple[Conditions | None, list[PoolRecord]]:
    """Conditions and records; None where there is not even a heading."""
    lines = content.decode("utf-8", errors="replace").split("\n")[:-1]
    if not lines:
        return None, []
    conditions = _read_heading(path, lines[0])
    records = [_read_line(path, number, line) for number, line in enumerate(lines[1:], start=2)]
    for numbers in ([len(one.features) for one in records], [len(p) for one in records for p in _probabilities(one)]):
        if len(set(numbers)) > 1:
            reason = "the images have different numbers of features, or their objects of probabilities"
            raise MaskALError(f"{path}: {reason} ({min(numbers)} and {max(numbers)}); {_REMEDY}")
    return conditions, records


def _probabilities(record: PoolRecord) -> list[tuple[float, ...]]:
    return [one.probabilities for one in record.objects]


def _read_heading(path: Path, line: str) -> Conditions:
    with suppress(ValueError, RecursionError):
        heading = json.loads(line)
        if isinstance(heading, dict) and heading.get("format") == FORMAT:
            if isinstance(heading.get("conditions"), dict):
                return dict(heading["conditions"])
            raise MaskALError(f"{path}: line 1: conditions: must be a mapping of names to values; {_REMEDY}")
        if isinstance(heading, dict) and "format" in heading:
            raise MaskALError(f"{path}: line 1: {short(heading['format'])} where {FORMAT!r} is needed; {_REMEDY}")
    raise MaskALError(f"{path}: line 1: something else where {FORMAT!r} is needed; {_REMEDY}")


def _read_line(path: Path, number: int, line: str) -> PoolRecord:
    try:
        return from_line(line)
    except ValueError as error:
        raise MaskALError(f"{path}: line {number}: cannot be read: {error}; {_REMEDY}") from error


def to_line(record: PoolRecord) -> str:
    """One line of json without its line end; features in base64."""
    document = {
        "name": record.name,
        "value": None if math.isnan(record.value) else record.value,
        "height": record.height,
        "width": record.width,
        "objects": [asdict(one) for one in record.objects],
        "features": base64.b64encode(record.features.astype(FEATURE_TYPE).tobytes()).decode("ascii"),
    }
    return json.dumps({**document, "stamp": record.stamp} if record.stamp else document, ensure_ascii=False)


def from_line(line: str) -> PoolRecord:
    """Raises ValueError, which names the value, where the line is none of `to_line`."""
    try:
        document: Any = _DOCUMENT.validate_python(json.loads(line))
    except ValidationError as error:
        raise ValueError(f"it is no record of an image: {first_mistake(error)}") from error
    except RecursionError as error:
        raise ValueError("it is no record of an image") from error
    features = _features(document["features"])
    objects = tuple(ObjectRecord(**one) for one in document["objects"])
    size, stamp = (document["height"], document["width"]), document.get("stamp", "")
    return PoolRecord(document["name"], document["value"], *size, objects, features, stamp)


def _features(text: str) -> npt.NDArray[np.float32]:
    try:
        features = np.frombuffer(base64.b64decode(text, validate=True), FEATURE_TYPE).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"features: {error}") from error
    if not np.isfinite(features).all():
        raise ValueError("features: hold a number that is not finite")
    return features
