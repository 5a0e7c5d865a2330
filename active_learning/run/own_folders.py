"""Whose the folders are that a run writes into.

The folders of results and of weights of a run bear the same mark, a hidden file. A folder without it, or with that of
another run, is not written into where a file would be written over, and `--fresh` leaves it where it is.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from active_learning.dataset.tile_files import remove_tiles
from active_learning.errors import MaskALError, SettingsError
from active_learning.run.output_files import COMPARISON, REPORT, STATE, TILES, OutputFiles, output_files
from active_learning.settings import Settings
from active_learning.settings.overlaps import start_weights_copy
from active_learning.settings.paths import folder_to_make_mistakes
from active_learning.system.file_moves import copy_beside, same_content
from active_learning.system.files import folder_aside, lies_in, write_if_changed

MARK = ".maskal-run"
ANOTHER = "choose another experiment_name"


@dataclass(frozen=True)
class Mark:
    """`run` is a random name; `results` where its results were when it was last started."""

    run: str
    results: str


def read_mark(folder: Path) -> Mark | None:
    """None where there is none that can be read."""
    try:
        return Mark(**json.loads((folder / MARK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def holds_run(results: Path) -> bool:
    """Whether a run has its results there; before there were marks, the state alone tells."""
    return read_mark(results) is not None or os.path.exists(results / STATE)  # noqa: PTH110 (False where it may not be seen)


def claim(files: OutputFiles) -> None:
    """Makes the folders of a run and marks them as its own.

    Raises:
        SettingsError: they are not this run's.
    """
    if mistakes := tuple(_run_mistakes(files, fresh=False)):
        raise SettingsError("The run would write over what is not its own; nothing was changed", mistakes)
    results = files.results.absolute()
    adopted = read_mark(files.weights) if holds_run(results) else None
    mark = read_mark(results) or adopted or Mark(uuid.uuid4().hex, "")
    for folder in (results, files.weights):
        folder.mkdir(parents=True, exist_ok=True)
        write_if_changed(folder / MARK, json.dumps(asdict(Mark(mark.run, str(results)))) + "\n")


def output_mistakes(settings: Settings, *, fresh: bool, settings_file: Path | None = None) -> Iterator[str]:
    """What a run of these settings would write over, or move, that is not its own; found before anything is written.

    Args:
        fresh: what this run has written before will be moved aside.
        settings_file: which is to stay where it is, as all that it names.
    """
    for experiment in settings.experiments():
        files = output_files(settings, experiment)
        yield from _run_mistakes(files, fresh)
        yield from _lying_in(_kept_out(settings, files), (files.results, files.weights), "where a run writes")
    if fresh:
        yield from _lying_in(_needed(settings, settings_file), sum(_runs(settings), []), "which --fresh moves aside")
    yield from start_weights_mistakes(settings, fresh=fresh)


def _lying_in(paths: Mapping[str, Path | None], folders: Iterable[Path], why: str) -> Iterator[str]:
    for key, path in paths.items():
        for folder in folders:
            if path is not None and path != folder and lies_in(path, folder):
                yield f"{key}: {path} lies in {folder}, {why}; move it elsewhere, or {ANOTHER}"


def _kept_out(settings: Settings, files: OutputFiles) -> dict[str, Path]:
    """What may not lie in the folders of a run, beside the images (settings/overlaps.py)."""
    found = {"dataroot": settings.dataroot}
    if not lies_in(files.results, files.weights) or not lies_in(files.weights, files.results):
        found |= {"resultsroot": files.results, "weightsroot": files.weights}
    return found


def _needed(settings: Settings, settings_file: Path | None) -> dict[str, Path | None]:
    """What a run reads that is not moved aside with an earlier one; of start weights a copy is made (`start_over`)."""
    files = {"network_config": settings.network_config}
    if start_weights_copy(settings) is None:
        files |= {"pretrained_weights": settings.pretrained_weights}
    there = {key: path for key, name in files.items() if (path := Path(name).expanduser()).is_file()}
    initial = settings.initial_train_file if settings.duplicate_initial_model_and_data else None
    others = {"dataroot": settings.dataroot, "the settings file": settings_file, "initial_train_file": initial}
    return {**there, **others, "supervisely_meta_json": settings.supervisely_meta_json}


def start_weights_mistakes(settings: Settings, *, fresh: bool = False) -> Iterator[str]:
    """Of pretrained_weights in the folder where the run writes its own; `--fresh` makes a copy of them."""
    copy, weights = start_weights_copy(settings), Path(settings.pretrained_weights)
    if copy is not None and not copy.is_file() and not (fresh and weights.expanduser().is_file()):
        yield (
            f"pretrained_weights: {weights} lies where this run writes its weights; copy the file elsewhere and name "
            "that, choose another experiment_name, or start over with --fresh"
        )


def _run_mistakes(files: OutputFiles, fresh: bool) -> Iterator[str]:
    results, weights = files.results, files.weights
    places = {"resultsroot": results, "weightsroot": weights}
    if unusable := [text for key, place in places.items() for _, text in folder_to_make_mistakes(key, place)]:
        yield from unusable
        return
    found = files.first_result()
    if not holds_run(results) and found:
        yield f"resultsroot: {found} is of no run that is known here; move it elsewhere, or {ANOTHER}"
    elif holds_run(results) and not (fresh or files.state.exists()) and (found or files.first_weights()):
        yield (
            f"resultsroot: {files.state} is gone, without which that run cannot go on; put back a copy of it, start "
            f"over with --fresh (the run is then moved aside, not deleted), or {ANOTHER}"
        )
    if other := _other_run(results, weights):
        same = "if that is the run to go on with, set resultsroot back; else"
        yield f"weightsroot: {weights} holds the weights of another run, its results are in {other}; {same} {ANOTHER}"
    elif not (_are_weights_of(results, weights) or (fresh and read_mark(weights))) and (found := files.first_weights()):
        remedy = "put the results back (is their drive connected?), start over with --fresh, which moves it aside,"
        yield (
            f"weightsroot: {found} is of no run whose results are in {results}; "
            f"{remedy if read_mark(weights) else 'move it elsewhere,'} or {ANOTHER}"
        )
    for folder in (results, weights):
        outer = [place for place in folder.absolute().parents if holds_run(place)]
        beside = [place for place in folder.parent.parent.glob("*/") if holds_run(place)]
        inner = [place.parent for name in (MARK, STATE) for place in folder.rglob(name) if place.parent != folder]
        for place in outer[:1]:
            yield f"{folder}: lies in the folder of another run, {place}; name another folder, or {ANOTHER}"
        for place in beside[:1]:
            yield (
                f"{folder}: lies in the folder of another run, {place.parent}, as {place} is one; move that run into a "
                "folder of its own, or name another folder"
            )
        for place in inner[:1] if fresh or not holds_run(folder) else ():
            yield f"{folder}: holds the folder of another run, {place}; name another folder, or {ANOTHER}"


def _are_weights_of(results: Path, weights: Path) -> bool:
    mark, own = read_mark(weights), read_mark(results)
    return holds_run(results) and (mark is None or own is None or mark.run == own.run)


def _other_run(results: Path, weights: Path) -> str:
    """Where the run goes on, or has ended, that the weights are of; empty where it is this one, or there is none."""
    mark = read_mark(weights)
    if mark is None or lies_in(results, Path(mark.results)):
        return ""
    other, own = read_mark(Path(mark.results)), read_mark(results)
    is_other = other is not None and other.run == mark.run and (own is None or own.run != mark.run)
    return mark.results if is_other else ""


def start_over(settings: Settings) -> None:
    """Moves the runs of that experiment_name aside, and no other file; weights to start from are copied before.
    Tiles to train on, which may be many gigabytes, are removed: a run that goes on cuts them anew.

    Results go first: what is left of a run after a kill is not taken for one that can go on.
    """
    copy = start_weights_copy(settings)
    start = Path(settings.pretrained_weights).expanduser()
    if copy is not None and start.is_file():
        had_others = copy.is_file() and not same_content(start, copy)
        copy_beside(start, copy)
        others = ". Those that it had started from itself are kept beside them" if had_others else ""
        print(f"The weights to start from are of the earlier run; they are kept in {copy}{others}")
    results, weights = _runs(settings)
    if results:
        results += [results[0].parent / name for name in (REPORT, COMPARISON)]
    for folder in weights:
        remove_tiles(folder / TILES)
    _move_aside(results)
    _move_aside(weights)


def _runs(settings: Settings) -> tuple[list[Path], list[Path]]:
    """The folders of the runs of that experiment_name, also of such that the settings ask for no more."""
    results, weights = (root / settings.experiment_name for root in (settings.resultsroot, settings.weightsroot))
    runs = {place.name for place in results.glob("*/") if holds_run(place)}
    of_weights = runs | {place.name for place in weights.glob("*/") if read_mark(place) is not None}
    others = {name for name in of_weights if _other_run(results / name, weights / name)}
    return [results / name for name in sorted(runs)], [weights / name for name in sorted(of_weights - others)]


def _move_aside(places: list[Path]) -> None:
    places = [place for place in places if place.exists()]
    if not places:
        return
    folder = places[0].parent
    aside = folder_aside(folder.resolve())  # a link may lead to another drive
    for place in places:
        try:
            place.rename(aside / place.name)
        except OSError as error:
            with suppress(OSError):
                aside.rmdir()  # if nothing could be moved
            reason = f"cannot be moved to {aside} ({error.strerror})"
            remedy = f"move it out of {folder.parent} yourself, or take another experiment_name"
            raise MaskALError(f"{place}: {reason}; {remedy}") from error
    print(f"The earlier run is kept in {aside}")
    if not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
