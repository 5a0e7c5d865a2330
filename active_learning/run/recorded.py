"""What a run has written and reads again: every value is checked, as files are edited, cut short and mixed up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, Field, Strict, TypeAdapter, ValidatorFunctionWrapHandler, WrapValidator

from active_learning.dataset.image_names import check_image_name
from active_learning.errors import MaskALError, first_line
from active_learning.settings.keys import reason_of, short, wrong

T = TypeVar("T")
LONGEST_PATH = 4096  # bytes, on Linux; on other systems fewer
REASONS = {
    "missing": "is missing",
    "unexpected_keyword_argument": "is unknown to this version of MaskAL",
    "extra_forbidden": "is unknown to this version of MaskAL",
    "dict_type": "must be a mapping of names to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dataclass_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
}


def _or_nan(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Json has no NaN; null stands for it."""
    return math.nan if value is None else handler(value)


def _image_name(name: str) -> str:
    try:
        length = len(check_image_name(name).encode("utf-8"))
    except MaskALError as error:
        raise wrong("is no name of an image: it must be a path relative to the image folder") from error
    except UnicodeEncodeError as error:
        raise wrong("is no name of an image: it holds half a character") from error
    if length > LONGEST_PATH or any(line_end in name for line_end in "\r\n"):
        raise wrong("is no name of an image")
    return name


def _file_name(name: str) -> str:
    if not name or Path(name).name != name or name == "..":
        raise wrong("must be the name of a file beside it")
    return name


ROUNDING = 1e-6  # by which a product or a mean of shares may miss 0 and 1

Count = Annotated[int, Strict(), Field(ge=0, le=2**31)]
CountFromOne = Annotated[Count, Field(ge=1)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0, le=1e12)]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=-ROUNDING, le=1 + ROUNDING)]
ShareOrNan = Annotated[Share, WrapValidator(_or_nan)]
Percent = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0, le=100 + ROUNDING)]
PercentOrNan = Annotated[Percent, WrapValidator(_or_nan)]
ImageName = Annotated[str, Strict(), AfterValidator(_image_name)]
FileName = Annotated[str, Strict(), AfterValidator(_file_name)]
RecordedText = Annotated[str, Strict(), Field(max_length=10_000)]


def read_json(path: Path, what: str, remedy: str) -> Any:
    """The content of a json file of a run; `what` it should be.

    Raises:
        MaskALError: names the file, the reason and the remedy.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # as an editor on Windows may have saved it
    except (OSError, ValueError, RecursionError) as error:
        raise MaskALError(f"{path}: cannot be read as {what} ({first_line(error)}); {remedy}") from error


def check_values(kind: TypeAdapter[T], document: Any, place: str, remedy: str) -> T:
    """The document as `kind`, of which each value has its type and range.

    Args:
        place: the file, and where in it the document stands.

    Raises:
        MaskALError: names the place, the first wrong value in it, and the remedy.
    """
    try:
        return kind.validate_python(document)
    except pydantic.ValidationError as error:
        raise MaskALError(f"{place}: {first_mistake(error)}; {remedy}") from error


def first_mistake(error: pydantic.ValidationError) -> str:
    """Where the first wrong value stands, the value, and what is wrong with it."""
    details, where = error.errors(include_url=False)[0], ""
    steps = [step for step in details["loc"] if step != "[key]"]
    if len(steps) < len(details["loc"]):  # a name in a mapping is wrong; it stands there as the value, too
        steps = steps[:-1]
    for step in steps:
        where += f"[{step}]" if isinstance(step, int) else f"{'.' if where else ''}{step}"
    reason = REASONS.get(details["type"]) or reason_of(details)
    value = "" if details["type"] == "missing" else f"{short(details['input'])} "
    return f"{where}: {value}{reason}" if where else f"{value}{reason}"


def check_keys(found: Mapping[str, Any], needed: set[str], place: str, remedy: str) -> None:
    """Raises MaskALError, which names the place and the first of the needed keys that is not there."""
    if absent := sorted(needed - set(found)):
        raise MaskALError(f"{place}: {absent[0]}: is missing; {remedy}")
