"""Each settings key by itself: type, default, range, and the words for a value that is wrong.

MISC_SETTINGS.md says what each key does; maskAL.yaml lists them all with their defaults.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict
from pydantic_core import ErrorDetails, PydanticCustomError

from active_learning.annotations.formats import FORMATS
from active_learning.sampling.strategies import STRATEGIES
from active_learning.system.names import folded_label, names_alike
from active_learning.system.wording import did_you_mean

T = TypeVar("T")

# Upper bounds. Each lies beyond what a run needs, and where one at the bound still ends, be it with a message.
MOST_ITERATIONS = 10_000_000  # months of training
MOST_IMAGES = 10_000_000  # more than a folder can list in reasonable time
MOST_LOOPS = 10_000
MOST_IN_A_LIST = 100  # experiments, steps of a schedule, seeds: each is a run or a training of its own
MOST_CLASSES = 2_000  # a mask of each for every detection: some GB; LVIS has 1203
MOST_PASSES = 1_000  # detections of all passes over an image are held together
LARGEST_SIDE = 8_192  # pixels; feature maps of larger images take more memory than machines have
SMALLEST_TILE = 64  # pixels; an image of smaller ones is ten thousands of tiles
LARGEST_BATCH = 1_024  # of images that are held, and passed through the network, together
MOST_WORKERS = 128  # processes of some hundred MB
LONGEST_TEXT = 1_000  # bytes; file systems take paths of 1024 and more
LONGEST_NAME = 120  # bytes of a folder; file systems take 143 and more, and names of ours have endings
LONGEST_LABEL = 200  # characters
MOST_MISTAKES = 10  # of one key, that are reported

ZOO_NETWORK = "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml"


def wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("maskal", message)  # type: ignore[arg-type, unused-ignore]


def _as_tuple(value: Any) -> Any:
    """A single value is a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _list_only(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise wrong(f"must be a list, such as [{str(value)[:40]}]")
    return tuple(value)


def _usable_text(text: str) -> str:
    """That a file system or a command line takes."""
    if re.search(r"[\x00-\x1f]", text):
        raise wrong(r"holds a control character (a \ in double quotes does that); write / instead of \ ")
    if (length := _bytes(text)) > LONGEST_TEXT:
        raise wrong(f"has {length} bytes, must have at most {LONGEST_TEXT}")
    return text


def _bytes(text: str) -> int:
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise wrong(
            "holds half a character (a \\ud... escape), which no file has; write the character itself"
        ) from None


def _path(value: Any) -> Any:
    if not isinstance(value, (str, Path)):
        raise wrong("must be a path (a text; put it in quotes)")
    if not str(value).strip():
        raise wrong("must not be empty")
    for name in Path(_usable_text(str(value))).parts:
        if _bytes(name) > 255:
            raise wrong("has a folder or file name of more than 255 bytes, which no disk takes")
    return _in_home(Path(value))


def _in_home(path: Path) -> Path:
    """The path with the home folder in the place of `~`."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise wrong("starts with the home folder of a user whom this machine does not know") from None


def _optional_path(value: Any) -> Any:
    return None if value is None or value == "" else _path(value)


def _seed(value: Any) -> int | tuple[int, ...]:
    """One seed or a list of them: a list of one is kept as such, its folders end in `_seed<n>`."""
    seeds: tuple[int, ...] = _as_tuple(value)
    if not seeds or any(type(seed) is not int or not 0 <= seed < 2**32 for seed in seeds):
        raise wrong("must be a whole number from 0 to 4294967295, or a list of such numbers")
    if len(seeds) > MOST_IN_A_LIST:
        raise wrong(f"holds {len(seeds)} numbers, must hold at most {MOST_IN_A_LIST}")
    if len(set(seeds)) < len(seeds):
        raise wrong("holds a number twice")
    return seeds if isinstance(value, (list, tuple)) else seeds[0]


def _devices(value: Any) -> Any:
    """GPU ids: `0`, `'0,1'`, identifiers that start with GPU- or MIG-, or `cpu`."""
    text = re.sub(r"\s", "", str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    if text is None or not re.fullmatch(r"(?i:cpu)|(\d+|(GPU|MIG)-[\w/-]+)(,(\d+|(GPU|MIG)-[\w/-]+))*", text):
        raise wrong("must be GPU ids such as '0' or '0,1', or 'cpu'")
    if len(text) > LONGEST_TEXT:
        raise wrong(f"has {len(text)} characters, must have at most {LONGEST_TEXT}")
    ids = text.lower() if text.lower() == "cpu" else text
    if len(set(ids.split(","))) < len(ids.split(",")):
        raise wrong("names a GPU twice")
    return ids


def _class_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if not name or name != name.strip() or not name.isprintable():
            raise wrong(f"has the name {name!r} at [{index}]; a name must not be empty, nor start or end with a blank")
        if len(name) > LONGEST_LABEL:
            raise wrong(f"has a name of {len(name)} characters at [{index}], must have at most {LONGEST_LABEL}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise wrong(f"has {', '.join(map(repr, twice))} more than once")
    if alike := names_alike(names, folded_label):
        raise wrong(f"has {' and '.join(map(ascii, alike[0]))}, which are one name in two forms; delete one of them")
    return names


def _rising(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= earlier for earlier, later in zip(ratios, ratios[1:], strict=False)):
        raise wrong("must rise from left to right, such as [0.5, 0.8]")
    return ratios


def _folder_name(name: str) -> str:
    parts = name.split("/")
    if not all(parts) or ".." in parts or "." in parts or re.search(r'[\x00-\x1f<>:"|?*\\]', name):
        raise wrong("must be a folder name such as exp1 or exp1/run1")
    if (longest := max(map(_bytes, parts))) > LONGEST_NAME:
        raise wrong(f"has a name of {longest} bytes, must have at most {LONGEST_NAME}")
    for part in parts:
        if part != part.rstrip(". ") or re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", part, re.IGNORECASE):
            raise wrong(f"has the part {part!r}, which Windows takes for another name")
    return _usable_text(name)


def _config_name(name: str) -> str:
    return str(_in_home(Path(name))) if name.startswith("~") else name


def _minus_one_or_positive(value: int) -> int:
    if value != -1 and value < 1:
        raise wrong("must be -1 or at least 1")
    return value


def _label_check(value: Any) -> Any:
    if not (isinstance(value, bool) or value == "review"):
        raise wrong("must be True, False or review")
    return value


Text = Annotated[str, Strict(), AfterValidator(_usable_text)]
Name = Annotated[str, Strict(), Field(min_length=1), AfterValidator(_usable_text)]
Label = Annotated[str, Strict()]
Bool = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]
Iterations = Annotated[Int, Field(ge=1, le=MOST_ITERATIONS)]
IterationsOrNone = Annotated[Int, Field(ge=0, le=MOST_ITERATIONS)]
Images = Annotated[Int, Field(ge=1, le=MOST_IMAGES)]
Side = Annotated[Int, Field(ge=32, le=LARGEST_SIDE)]
TileSide = Annotated[Int, Field(ge=SMALLEST_TILE, le=LARGEST_SIDE)]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
FilePath = Annotated[Path, PlainValidator(_path)]
OptionalPath = Annotated[Path | None, PlainValidator(_optional_path)]
Many = Annotated[tuple[T, ...], BeforeValidator(_list_only)]
OneOrMany = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), Field(min_length=1, max_length=MOST_IN_A_LIST)]
# Choices from the tables, whose names mypy cannot read.
Strategy: TypeAlias = Literal[tuple(STRATEGIES)]  # type: ignore[valid-type]
ToolName: TypeAlias = Literal[tuple(FORMATS)]  # type: ignore[valid-type]
Mode = Literal["mean", "min", "max"]
Policy = Literal["steps_with_decay", "steps_with_lrs", "step", "cosine_decay", "exp_decay"]


class SettingsKeys(pydantic.BaseModel):
    """One attribute a key, each checked by itself. Keys that may be lists are tuples."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    weightsroot: FilePath = Path("./weights")
    resultsroot: FilePath = Path("./results")
    dataroot: FilePath = Path("./datasets")
    traindir: FilePath = Path("./datasets/train")
    valdir: FilePath = Path("./datasets/val")
    testdir: FilePath = Path("./datasets/test")
    use_initial_train_dir: Bool = False
    initial_train_dir: FilePath = Path("./datasets/initial_train")
    duplicate_initial_model_and_data: Bool = False
    initial_train_file: OptionalPath = None

    network_config: Annotated[Name, AfterValidator(_config_name)] = ZOO_NETWORK
    pretrained_weights: Text = ZOO_NETWORK
    image_min_size: Side | None = None
    image_max_size: Side | None = None
    tile_size: TileSide | None = None
    tile_overlap: Annotated[Float, Field(ge=0, le=0.5)] = 0.2  # a share of tile_size
    max_image_megapixels: Annotated[Int, Field(ge=1, le=1000)] = 250

    cuda_visible_devices: Annotated[str, PlainValidator(_devices)] = "0"
    precision: Literal["auto", "fp32", "amp"] = "auto"
    classes: Annotated[Many[Label], Field(min_length=1, max_length=MOST_CLASSES), AfterValidator(_class_names)]
    unknown_labels: Literal["error", "skip"] = "error"
    transfer_learning_on_previous_models: Bool = True
    learning_rate: Annotated[Float, Field(gt=0, le=10)] = 0.01  # more diverges at once
    warmup_iterations: IterationsOrNone = 500
    weight_decay: Fraction = 0.0001  # more takes away all of a weight in a step of learning rate 1
    learning_policy: Policy = "steps_with_decay"
    step_ratios: Annotated[
        Many[Annotated[Float, Field(gt=0, lt=1)]], Field(max_length=MOST_IN_A_LIST), AfterValidator(_rising)
    ] = (0.5, 0.8)
    gamma: Annotated[Float, Field(gt=0, le=1)] = 0.1
    train_epochs: Annotated[Float, Field(gt=0, le=100_000)] | None = None  # see also training_iterations
    train_iterations_base: Iterations = 2500
    train_iterations_step_size: IterationsOrNone = 2500
    step_image_number: Images = 500
    eval_period: Iterations = 500
    checkpoint_period: Annotated[Int, Field(le=MOST_ITERATIONS), AfterValidator(_minus_one_or_positive)] = -1
    train_batch_size: Annotated[Int, Field(ge=1, le=LARGEST_BATCH)] = 1
    num_workers: Annotated[Int, Field(ge=0, le=MOST_WORKERS)] = 2
    train_sampler: Literal["TrainingSampler", "RepeatFactorTrainingSampler"] = "TrainingSampler"
    minority_classes: Annotated[Many[Label], Field(max_length=MOST_CLASSES), AfterValidator(_class_names)] = ()
    repeat_factor_smallest_class: Annotated[Float, Field(ge=1, le=100)] = 1.0  # the order lists images so often

    confidence_threshold: Fraction = 0.5
    nms_threshold: Fraction = 0.3
    iou_thres: Fraction = 0.5
    sampling_threshold: Fraction | None = None

    experiment_name: Annotated[Text, AfterValidator(_folder_name)] = "exp1"
    strategy: OneOrMany[Strategy] = ("uncertainty",)
    mode: OneOrMany[Mode] = ("mean",)
    budget: Literal["images", "objects"] = "images"
    initial_datasize: Images = 100
    initial_choice: Literal["random", "diverse"] = "random"
    pool_size: OneOrMany[Images] = (200,)
    loops: OneOrMany[Annotated[Int, Field(ge=0, le=MOST_LOOPS)]] = (5,)
    equal_pool_size: Bool = True
    dropout_probability: OneOrMany[Annotated[Float, Field(ge=0, le=0.9)]] = (0.25,)
    mcd_iterations: OneOrMany[Annotated[Int, Field(ge=1, le=MOST_PASSES)]] = (10,)
    images_without_detections: Literal["skip", "choose"] = "skip"
    min_distance: Annotated[Float, Field(ge=0, le=1000)] = 0.0  # nothing is as unlike
    seed: Annotated[int | tuple[int, ...], PlainValidator(_seed)] = 0
    target_map: Annotated[Float, Field(ge=1, le=100)] | None = None
    patience: Annotated[Int, Field(ge=1, le=MOST_LOOPS)] | None = None

    auto_annotate: Bool = False
    export_format: ToolName = "labelme"
    supervisely_meta_json: OptionalPath = None
    max_polygon_error: Annotated[Float, Field(ge=0, le=1000)] = 1.0  # nothing of an outline is left
    annotator: Text = ""
    label_check: Annotated[bool | str, PlainValidator(_label_check)] = True
    work_ahead: Bool = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _weights_follow_network(cls, values: Any) -> Any:
        """Without pretrained_weights of its own, a network starts from the weights of its own config."""
        if not isinstance(values, dict) or not isinstance(values.get("network_config"), str):
            return values
        return {"pretrained_weights": values["network_config"], **values}


REASONS = {
    "missing": "is missing; it lists the names of your classes, such as classes: [healthy, damaged]",
    "bool_type": "must be True or False (without quotes)",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text; put it in quotes",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "too_long": "holds {actual_length} entries, must hold at most {max_length}",
    "string_too_short": "must not be empty",
    "literal_error": "must be one of {expected}",
}


def key_mistakes(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what is wrong with it) for every value that is wrong by itself and every key that there is not."""
    try:
        SettingsKeys.model_validate(dict(values))
    except pydantic.ValidationError as error:
        explained = [_explain(details, values) for details in error.errors(include_url=False)]
        by_key = {key: [one for one in explained if one[0] == key][:MOST_MISTAKES] for key, _ in explained}
        # What a key that is not there takes from another one is that one's mistake.
        return [one for key, found in by_key.items() if key in values or key == "classes" for one in found]
    return []


def recorded_mistakes(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings that a run has recorded; it may have had others' bounds, and other keys."""
    try:
        SettingsKeys.model_validate({"classes": ["any"], **values})
    except pydantic.ValidationError as error:
        other_version = ("extra_forbidden", "less_than_equal", "too_long")
        return [
            _explain(details, values)[1]
            for details in error.errors(include_url=False)
            if details["type"] not in other_version and details["loc"][0] in values
        ]
    return []


def usable_class_names(classes: Any) -> list[str]:
    """Those of a faulty list of classes that other keys may name all the same."""
    names = [name.strip() for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    names = [name for name in {folded_label(name): name for name in names}.values() if name and name.isprintable()]
    return [name for name in names if len(name) <= LONGEST_LABEL][:MOST_CLASSES]


def _explain(details: ErrorDetails, values: Mapping[str, Any]) -> tuple[str, str]:
    key, *index = details["loc"] or ("",)
    key = str(key)
    if details["type"] == "extra_forbidden":
        return key, f"{key}: there is no such key{did_you_mean(key, SettingsKeys.model_fields)}"
    if details["type"] == "missing":
        return key, f"{key}: {REASONS['missing']}"
    place = f"{key}[{index[0]}]" if index and isinstance(values[key], (list, tuple)) else key
    return key, f"{place}: {short(details['input'])} {reason_of(details)}"


def reason_of(details: ErrorDetails) -> str:
    """What is wrong with a value, in words that follow it."""
    value, kind = details["input"], details["type"]
    if value is None:
        return "must have a value; give one or delete the line"
    limits = {
        name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in details.get("ctx", {}).items()
    }
    reason = REASONS[kind].format_map(limits) if kind in REASONS else details["msg"]
    if kind in ("int_type", "float_type") and isinstance(value, str) and _is_number(value):
        as_written = re.fullmatch(r"[-+]?0\d+", value) or len(value) > 400  # what is no number without quotes either
        return f"{reason}, without leading zeros and of few digits" if as_written else f"{reason}; take away the quotes"
    if kind == "float_type" and isinstance(value, str) and _is_number(value.replace(",", ".")):
        return f"{reason}; write a point, not a comma"
    if kind == "literal_error" and isinstance(value, str):
        return reason + did_you_mean(value, re.findall(r"'([^']+)'", details["ctx"]["expected"]))
    return reason


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()  # Python reads other digits, too


def short(value: Any) -> str:
    """A value as a message shows it, within 80 characters."""
    if value is None:
        return "(empty)"
    # Lists of lists of lists may be short in a file and endless in words.
    text = reprlib.repr(value) if isinstance(value, (list, tuple, dict)) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
