"""Which weights a training starts from, and which are a loop's result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.network_config import pretrained_weights
from active_learning.network.network_file import network_values, read_network_file
from active_learning.run.output_files import OutputFiles, files_by_loop, output_files, read_train_files
from active_learning.run.own_folders import start_weights_mistakes
from active_learning.run.state import RunState
from active_learning.settings import Experiment, Settings
from active_learning.settings.changes import Change, fixed_changes, network_changes, training_changes
from active_learning.system.log import logger
from active_learning.system.names import normalised


def weights_of(files: OutputFiles, loop: int) -> Path:
    """The best of a loop, else those that were trained last."""
    best = files.best_model(loop)
    return best if best.exists() else files.final_model


def has_weights(files: OutputFiles, state: RunState) -> bool:
    """Whether there are some of a run, so that it is of its classes and network."""
    return state.is_trained or files.best_model(0).exists() or any(files.training_log(0).rglob("*.pth"))


def lost_best(files: OutputFiles, state: RunState) -> str:
    """What is to be said where the best weights of the last training are gone, as from a folder that was put back from
    a copy, and others stand in for them; "" where they are there, or no more of them is used."""
    loop = state.loop - (state.phase in ("annotate", "train"))
    best, last = files.best_model(max(loop, 0)), files.final_model
    if loop < 0 or state.phase == "finished" or not state.best_ap or best.exists() or not last.exists():
        return ""
    instead = f"the run goes on from {last}, which may be of another loop"
    return f"{best}: is gone, the best weights so far; {instead}. If you have a copy, put it back before"


def newest_weights(files: OutputFiles) -> Path:
    """Of the last loop that has any. Raises MaskALError where the run has none."""
    best = files_by_loop(files.weights, "best_model_*.pth")
    newest = best[max(best)] if best else files.final_model
    if not newest.exists():
        raise MaskALError(f"{files.weights}: holds no weights yet; train first, or give a file with --weights")
    return newest


def weights_of_run(settings: Settings, experiment: Experiment) -> Path:
    """The newest weights of a run, for other programs than itself.

    Raises:
        MaskALError: it has none, or its state cannot be read.
        SettingsError: the settings name other classes, or another network, than the weights are of.
    """
    files = output_files(settings, experiment)
    weights = newest_weights(files)
    if files.state.exists():
        try:
            state = RunState.load(files.state)
        except MaskALError as error:
            remedy = f"give the weights, which are then used with the settings as they are: --weights {weights}"
            raise MaskALError(f"{error}; or {remedy}") from error
        if changes := fixed_changes(state.settings, settings, network_edits(state, settings)):
            remedy = "the weights belong to the former; set it back"
            raise SettingsError(
                f"{weights}: was trained with other settings (--weights FILE is used with the settings as they are)",
                tuple(f"{change}: {remedy}" for change in changes),
            )
    return weights


def start_weights(settings: Settings, files: OutputFiles, loop: int) -> str:
    """Path or address of what the training of a loop starts from; "" for random weights.

    Raises:
        MaskALError: pretrained_weights are neither a file nor a config with published weights.
        SettingsError: they would be written over.
    """
    if earlier := _earlier_weights(settings, files, loop):
        return earlier
    if mistakes := tuple(start_weights_mistakes(settings)):
        raise SettingsError("The run would write over the weights that it starts from; nothing was changed", mistakes)
    return pretrained_weights(settings)


def _earlier_weights(settings: Settings, files: OutputFiles, loop: int) -> str:
    """Of the loop before, be they gone, where the training goes on from there; "" where it does not."""
    if loop == 0 or not settings.transfer_learning_on_previous_models:
        return ""
    return str(weights_of(files, loop - 1))  # also where they are gone: that is a fault, no reason to begin anew


def next_weights(settings: Settings, experiment: Experiment, files: OutputFiles, state: RunState | None) -> set[str]:
    """Paths or addresses of what a run loads before it has trained anything more.

    Args:
        state: None where the run has not begun.

    Raises:
        MaskALError: as `pretrained_weights` and `duplicated_initial_model`.
    """
    loop, phase = (state.loop, state.phase) if state else (0, "annotate")
    if phase in ("annotate", "train"):
        if loop == 0 and settings.duplicate_initial_model_and_data:
            return {str(duplicated_initial_model(settings))}
        chooses = settings.work_ahead and state is not None and loop > 0 and not state.ahead
        ahead = {str(weights_of(files, loop - 1))} if chooses else set()
        return {_earlier_weights(settings, files, loop) or pretrained_weights(settings), *ahead} - {""}
    if phase != "evaluate" and state is not None and state.reason_to_end(loop, settings, experiment):
        return set()
    if loop >= len(experiment.pool_sizes):
        return {str(weights_of(files, loop))}
    following = _earlier_weights(settings, files, loop + 1) or pretrained_weights(settings)
    return {str(weights_of(files, loop)), following} - {""}


def network_edits(state: RunState, settings: Settings, network: Mapping[str, Any] | None = None) -> list[Change]:
    """What was edited in the network's own file since a run has weights of it.

    Args:
        network: its `network_values`, where it has been read before.

    Raises:
        MaskALError: as `read_network_file`.
    """
    if network is None:
        network = network_values(read_network_file(settings.network_config))
    return network_changes(state.network, network)


def earlier_initial_model(
    settings: Settings, experiment: Experiment, images: Sequence[str], network: Mapping[str, Any], data: str
) -> Path | None:
    """An initial model that stands in for the first training on these images; None where there is none.

    That of the run that initial_train_file names, or of an experiment before this one that starts as it does.

    Args:
        network: `network_values` of the network's own file.
        data: digest of the images and their annotations.
    """
    if settings.duplicate_initial_model_and_data:
        model, first = duplicated_initial_model(settings, network), Path(settings.initial_train_file or "")
        if _are_same(read_train_files(first), images):
            return model
        logger.info("Not used: %s, as this run has begun with other images than %s lists", model, first)
        return None
    return _shared_initial_model(settings, experiment, images, network, data)


def duplicated_initial_model(settings: Settings, network: Mapping[str, Any] | None = None) -> Path:
    """best_model_000.pth of the run that initial_train_file belongs to; `network` as in `network_edits`.

    Raises:
        MaskALError: the file is not below resultsroot, that run's model is not below weightsroot, not trained to its
            end, of other images than the file lists, or of another network or other classes than the settings name.
    """
    source, results = Path(settings.initial_train_file or "").resolve(), settings.resultsroot.resolve()
    if not source.is_relative_to(results):
        raise MaskALError(f"initial_train_file: {source} is not below resultsroot ({results})")
    files = OutputFiles(source.parent, settings.weightsroot / source.parent.relative_to(results), "")
    model, first = files.best_model(0), files.train_files(0)
    if not model.exists():
        raise MaskALError(f"initial_train_file: the initial model of that run is not there: {model}")
    if files.state.is_file():
        earlier = RunState.load(files.state)
        if earlier.loop == 0 and earlier.phase in ("annotate", "train"):
            raise MaskALError(f"initial_train_file: that run still trains its initial model, {model}: let it end first")
        edits = network_edits(earlier, settings, network)
        is_same_network = earlier.network and not edits  # by what the file holds: another path may be that of a copy
        changes = fixed_changes(earlier.settings, settings, edits)
        if changes := [one for one in changes if one.key != "network_config" or not is_same_network]:
            text = f"initial_train_file: {model} belongs to other settings: {'; '.join(map(str, changes))}"
            raise MaskALError(f"{text}; set them as in that run, or name a run of these settings")
    if first.is_file() and not _are_same(read_train_files(first), read_train_files(source)):
        reason = f"lists other images than those that {model.name} was trained on"
        raise MaskALError(f"initial_train_file: {source} {reason}; give {first}")
    return model


def _shared_initial_model(
    settings: Settings, experiment: Experiment, images: Sequence[str], network: Mapping[str, Any], data: str
) -> Path | None:
    """What is trained first depends on the seed, the dropout and the images, and on settings and annotations that may
    have been edited since the other experiment was trained; all else that may differ concerns choosing."""
    for other in settings.experiments():
        if other == experiment:
            return None
        files = output_files(settings, other)
        alike = (other.seed, other.dropout_probability) == (experiment.seed, experiment.dropout_probability)
        if not (alike and files.state.exists() and files.best_model(0).exists()):
            continue
        state = RunState.load(files.state)
        if not state.history or not _are_same(read_train_files(files.train_files(0)), images):
            continue
        edits = [*map(str, _edits_since(state, settings, experiment, network))]
        if state.initial_data not in ("", data):  # "": an earlier version has left none
            edits.append("images or annotations")
        if not edits:
            return files.best_model(0)
        model = f"the initial model of {other.name}, which was trained before changes"
        logger.info("Not used: %s (%s)", model, "; ".join(edits))
    return None


def _are_same(names: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two lists are of the same images."""
    return set(map(normalised, names)) == set(map(normalised, others))


def _edits_since(
    state: RunState, settings: Settings, experiment: Experiment, network: Mapping[str, Any]
) -> list[Change]:
    """By which the initial model of a run would be another one."""
    before = state.initial_settings or state.settings
    edits = network_changes(state.initial_network or state.network, network)
    found = fixed_changes(before, settings, edits) or training_changes(before, settings, edits)
    found = [edit for edit in found if edit.key != "dropout_probability"]
    dropout, now = before.get("dropout_probability"), experiment.dropout_probability
    known = isinstance(dropout, (int, float))  # earlier versions have recorded those of all experiments, or none
    return [*found, Change("dropout_probability", dropout, now)] if known and dropout != now else found
