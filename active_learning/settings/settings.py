"""The settings of a run, read from a YAML file and KEY VALUE pairs; one error names every mistake.

keys.py has each key's type, default and range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import model_validator

from active_learning.annotations.formats import FORMATS
from active_learning.errors import SettingsError
from active_learning.settings import paths as settings_paths
from active_learning.settings.file import RawSettings, add_overrides, read_settings_file
from active_learning.settings.keys import MOST_LOOPS, SettingsKeys, key_mistakes, usable_class_names, wrong
from active_learning.system.names import normalised
from active_learning.system.wording import counted, did_you_mean

T = TypeVar("T")
MOST_EXPERIMENTS = 1_000
LONGEST_EXPERIMENT = 200  # characters of the folder's name, which has room for the seed


@dataclass(frozen=True)
class Experiment:
    """One row of loops. `name` is its folder below `<root>/<experiment_name>/`; `pool_sizes` has one entry a loop."""

    name: str
    strategy: str
    mode: str
    dropout_probability: float
    mcd_iterations: int
    pool_sizes: tuple[int, ...]
    seed: int

    @property
    def label(self) -> str:
        """The name without the seed: what experiments that differ in nothing else have in common."""
        return self.name.removesuffix(f"_seed{self.seed}")

    def recorded(self) -> dict[str, Any]:
        """As json holds it."""
        return {**asdict(self), "pool_sizes": list(self.pool_sizes), "label": self.label}


class Settings(SettingsKeys):
    """All keys, agreeing with each other."""

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if found := list(_contradictions(self)):
            raise wrong("; ".join(message for _, message in found))
        return self

    @property
    def most_pixels(self) -> int:
        """Images of more pixels are refused."""
        return self.max_image_megapixels * 10**6

    def experiments(self) -> list[Experiment]:
        """Each entry of the lists with each seed, seeds outermost."""
        named = _named_experiments(self)
        if isinstance(self.seed, int):
            return [replace(experiment, seed=self.seed) for experiment in named]
        return [
            replace(experiment, name=f"{experiment.name}_seed{seed}", seed=seed)
            for seed in self.seed
            for experiment in named
        ]


def _fill_up(values: Sequence[T], length: int) -> list[T]:
    return [*values, *[values[0]] * (length - len(values))]


def _schedules(keys: SettingsKeys) -> list[tuple[int, ...]]:
    """The pool size of each loop, for each experiment that the lists pool_size and loops ask for."""
    if not keys.equal_pool_size:
        steps = zip(keys.pool_size, keys.loops, strict=False)
        return [tuple(size for size, loops in steps for _ in range(loops))]
    count = max(len(keys.pool_size), len(keys.loops))
    sizes, loops = _fill_up(keys.pool_size, count), _fill_up(keys.loops, count)
    return [(size,) * number for size, number in zip(sizes, loops, strict=True)]


def _named_experiments(keys: SettingsKeys) -> list[Experiment]:
    """Without regard to seeds. A strategy that occurs twice has its other settings in its name."""
    columns: list[Sequence[Any]] = [keys.strategy, keys.mode, keys.dropout_probability, keys.mcd_iterations]
    columns += [_schedules(keys), keys.pool_size if keys.equal_pool_size else ["-".join(map(str, keys.pool_size))]]
    count = max(map(len, columns))
    rows = list(zip(*(_fill_up(column, count) for column in columns), strict=True))
    uses = Counter(strategy for strategy, *_ in rows)
    return [
        Experiment(
            name=f"{strategy}_{mode}_{dropout:.2f}_{passes}_{size}" if uses[strategy] > 1 else strategy,
            strategy=strategy,
            mode=mode,
            dropout_probability=dropout,
            mcd_iterations=passes,
            pool_sizes=pool_sizes,
            seed=0,
        )
        for strategy, mode, dropout, passes, pool_sizes, size in rows
    ]


def _contradictions(keys: SettingsKeys) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that do not fit together, and why; reported only where all of them are right by themselves."""
    yield from _class_contradictions(keys)
    yield from _start_contradictions(keys)
    yield from _size_contradictions(keys)
    yield from _experiment_contradictions(keys)


def _holds_one_twice(values: Sequence[object]) -> bool:
    """As the names of folders have them."""
    shown = [f"{value:.2f}" if isinstance(value, float) else value for value in values]
    return len(set(shown)) < len(shown)


def _experiment_contradictions(keys: SettingsKeys) -> Iterator[tuple[tuple[str, ...], str]]:
    lists = ("strategy", "mode", "dropout_probability", "mcd_iterations", "pool_size", "loops")
    experiments = _named_experiments(keys)
    for name, count in Counter(experiment.name for experiment in experiments).items():
        if count > 1:
            key = next((key for key in lists if _holds_one_twice(getattr(keys, key))), "loops")  # not in the name
            yield lists, f"{key}: the lists ask for {count} experiments in the same folder {name}; delete one"
    longest = max((experiment.name for experiment in experiments), key=len)
    if len(longest) > LONGEST_EXPERIMENT:
        reason = f"the folder {longest[:60]}... of an experiment would have a name of {len(longest)} characters"
        yield (
            lists,
            f"pool_size: {reason}, the disk takes {LONGEST_EXPERIMENT}; give fewer sizes, or each strategy once",
        )
    for experiment in (one for one in experiments if one.strategy == "bald"):
        if experiment.mcd_iterations < 2 or experiment.dropout_probability == 0:
            key = "mcd_iterations" if experiment.mcd_iterations < 2 else "dropout_probability"
            reason = "bald measures how far forward passes disagree, and these cannot"
            remedy = "raise it, or choose another strategy"
            yield (key, "strategy"), f"{key}: {getattr(experiment, key)}: {reason}; {remedy}"
    if (loops := max(len(experiment.pool_sizes) for experiment in experiments)) > MOST_LOOPS:
        yield lists, f"loops: the schedule has {loops} loops, must have at most {MOST_LOOPS}"
    if (number := len(experiments) * (1 if isinstance(keys.seed, int) else len(keys.seed))) > MOST_EXPERIMENTS:
        reason = f"the lists ask for {number} experiments, one run can have at most {MOST_EXPERIMENTS}"
        yield (*lists, "seed"), f"strategy: {reason}; give fewer seeds or strategies"


def _class_contradictions(keys: SettingsKeys) -> Iterator[tuple[tuple[str, ...], str]]:
    known = {normalised(name) for name in keys.classes}
    for name in keys.minority_classes:
        if normalised(name) not in known:
            near = did_you_mean(name, keys.classes)
            yield ("minority_classes", "classes"), f"minority_classes: {name!r} is not in classes{near}"
    if keys.train_sampler == "RepeatFactorTrainingSampler" and not keys.minority_classes:
        reason = "train_sampler: RepeatFactorTrainingSampler needs minority_classes; list them"
        yield ("train_sampler", "minority_classes"), reason


def _start_contradictions(keys: SettingsKeys) -> Iterator[tuple[tuple[str, ...], str]]:
    if keys.duplicate_initial_model_and_data and keys.initial_train_file is None:
        yield (
            ("initial_train_file", "duplicate_initial_model_and_data"),
            "initial_train_file: is empty; duplicate_initial_model_and_data needs the earlier run's "
            "trainfiles_iteration000.txt",
        )
    if keys.duplicate_initial_model_and_data and keys.use_initial_train_dir:
        yield (
            ("use_initial_train_dir", "duplicate_initial_model_and_data"),
            "use_initial_train_dir: both it and duplicate_initial_model_and_data are True; a run has one start: set "
            "one of them to False",
        )
    for key in ("use_initial_train_dir", "duplicate_initial_model_and_data"):
        if keys.initial_choice == "diverse" and getattr(keys, key):
            yield (
                ("initial_choice", key),
                f"initial_choice: diverse chooses the initial images, and {key} True brings them along; set it to "
                f"random, or {key} to False",
            )
    if FORMATS[keys.export_format].needs_meta and keys.supervisely_meta_json is None:
        yield (
            ("supervisely_meta_json", "export_format"),
            "supervisely_meta_json: is empty; export_format supervisely needs the meta.json of the Supervisely project",
        )


def _size_contradictions(keys: SettingsKeys) -> Iterator[tuple[tuple[str, ...], str]]:
    smallest, largest = keys.image_min_size, keys.image_max_size
    if smallest is not None and largest is not None and smallest > largest:
        reason = f"image_min_size: {smallest} is above image_max_size {largest}; swap them"
        yield ("image_min_size", "image_max_size"), reason
    if not keys.equal_pool_size and len(keys.pool_size) != len(keys.loops):
        yield (
            ("pool_size", "loops", "equal_pool_size"),
            f"pool_size: holds {len(keys.pool_size)} sizes, but loops holds {len(keys.loops)} numbers; with "
            "equal_pool_size False they are one schedule: give as many of the one as of the other",
        )


def load_settings(
    path: Path | str | None,
    overrides: Sequence[str] = (),
    *,
    check_paths: bool = False,
    done_with: Callable[[Settings], Collection[str]] = lambda _: (),
) -> Settings:
    """Reads the file, lets KEY VALUE KEY VALUE... replace its values, and checks all of it.

    Args:
        path: None where there is no file, and the overrides are all.
        overrides: values are read as YAML: `loops 3`, `strategy "[uncertainty, random]"`.
        check_paths: also checks that the folders and files named exist.
        done_with: gives the keys whose folders and files are not needed any more; asked where one is not there.

    Raises:
        SettingsError: every mistake in one message.
        TypeError: the overrides are no list of texts.
    """
    listed = isinstance(overrides, Sequence) and not isinstance(overrides, str)
    if not listed or not all(isinstance(word, str) for word in overrides):
        raise TypeError(f"overrides must be a list of texts, such as ['loops', '3'], not {overrides!r}")
    raw = RawSettings() if path is None else read_settings_file(Path(path))
    add_overrides(raw, overrides, list(SettingsKeys.model_fields))
    if raw.readable:
        found = list(settings_mistakes(raw.values, check_paths=check_paths))
        if found and not list(settings_mistakes(raw.values, check_paths=False)):  # of paths alone
            needless = done_with(Settings.model_validate(raw.values))
            found = [one for one in found if one[0] not in needless]
        for key, message in found:
            raw.report(key, message)
    if raw.mistakes:
        place = "Command line" if path is None else Path(path)
        heading = f"{place}: {counted(len(raw.mistakes), 'mistake')} in the settings; nothing was changed"
        raise SettingsError(heading, tuple(str(mistake) for mistake in sorted(raw.mistakes)))
    return Settings.model_validate(raw.values)


def settings_mistakes(values: Mapping[str, Any], *, check_paths: bool) -> Iterator[tuple[str, str]]:
    """Key and message of each. Keys that are right by themselves are checked further, whatever is wrong with others."""
    found = key_mistakes(values)
    yield from found
    faulty = {key for key, _ in found}
    right = {key: value for key, value in values.items() if key not in faulty}
    if "classes" in faulty and (names := usable_class_names(values.get("classes"))):
        faulty.remove("classes")
        right["classes"] = names
    keys = SettingsKeys.model_validate({"classes": ["any"], **right})
    yield from ((involved[0], message) for involved, message in _contradictions(keys) if faulty.isdisjoint(involved))
    if check_paths:
        yield from ((key, message) for key, message in settings_paths.path_mistakes(keys) if key not in faulty)
