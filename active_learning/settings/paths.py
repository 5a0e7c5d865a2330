"""Whether the folders and files that the settings name are there. Nothing is created, read whole or decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from active_learning.annotations.formats import FORMATS
from active_learning.annotations.supervisely_meta import check_meta, read_meta
from active_learning.errors import AnnotationError
from active_learning.settings.keys import SettingsKeys
from active_learning.settings.overlaps import overlap_mistakes, start_weights_file
from active_learning.settings.weights_file import weights_fault
from active_learning.system.programs import command_words
from active_learning.system.wording import did_you_mean

OUTPUT_ROOTS = ("weightsroot", "resultsroot", "dataroot")
DOWNLOADS = ("https://", "http://", "detectron2://")


def path_mistakes(keys: SettingsKeys) -> Iterator[tuple[str, str]]:
    """(key, message) for every folder or file that is missing or unusable."""
    for key in ("traindir", "valdir", "testdir"):
        yield from _folder_mistakes(key, getattr(keys, key), "put your images there or correct the path")
    if keys.use_initial_train_dir:
        yield from _folder_mistakes("initial_train_dir", keys.initial_train_dir, "use_initial_train_dir needs it")
    if keys.duplicate_initial_model_and_data and keys.initial_train_file is not None:
        yield from _file_mistakes("initial_train_file", keys.initial_train_file)
    yield from meta_mistakes(keys)
    yield from _annotator_mistakes(keys)
    for key in OUTPUT_ROOTS:
        yield from folder_to_make_mistakes(key, getattr(keys, key))
    yield from overlap_mistakes(keys)
    yield from network_mistakes(keys)


def _folder_mistakes(key: str, folder: Path, remedy: str) -> Iterator[tuple[str, str]]:
    if not folder.exists():
        yield key, f"{key}: there is no folder {_shown(folder)}; {remedy}"
    elif not folder.is_dir():
        yield key, f"{key}: {folder} is not a folder; {remedy}"
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield key, f"{key}: {folder} may not be read by you; change its permissions"


def _file_mistakes(key: str, file: Path) -> Iterator[tuple[str, str]]:
    if not file.is_file():
        yield key, f"{key}: there is no file {_shown(file)}; correct the path"
    elif not os.access(file, os.R_OK):
        yield key, f"{key}: {file} may not be read by you; change its permissions"


def _shown(path: Path) -> str:
    return str(path) if path.is_absolute() else f"{path} in {Path.cwd()}"


def folder_to_make_mistakes(key: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The folder is made later, so its nearest existing parent is what counts.

    A link that leads nowhere is none to be made: it is that of a drive, and the run would begin anew without it.
    """
    links = [place for place in (folder, *folder.parents) if place.is_symlink() and not place.exists()]
    if links:
        yield key, f"{key}: {links[0]} is a link that leads nowhere; is its drive connected? Else remove the link"
        return
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        yield key, f"{key}: {existing} is a file, not a folder; name another folder, or move the file elsewhere"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield key, f"{key}: {existing} may not be written to by you; name another folder"


def meta_mistakes(keys: SettingsKeys) -> Iterator[tuple[str, str]]:
    """Of supervisely_meta_json: also classes that the project lacks."""
    key, path = "supervisely_meta_json", keys.supervisely_meta_json
    if not FORMATS[keys.export_format].needs_meta or path is None:
        return
    missing = list(_file_mistakes(key, path))
    yield from missing
    if missing:
        return
    try:
        check_meta(read_meta(path), keys.classes)
    except AnnotationError as error:
        yield from ((key, f"{key}: {line}") for line in str(error).split("\n"))


def _annotator_mistakes(keys: SettingsKeys) -> Iterator[tuple[str, str]]:
    if not keys.annotator.strip():
        return
    try:
        command_words(keys.annotator)
    except ValueError as error:
        yield "annotator", f"annotator: {error}"


def network_mistakes(keys: SettingsKeys) -> Iterator[tuple[str, str]]:
    """Of network_config and pretrained_weights."""
    network, weights = keys.network_config, keys.pretrained_weights
    if not is_zoo_config(network) and not Path(network).is_file():
        known = did_you_mean(network, zoo_configs())
        yield "network_config", f"network_config: {network!r} is neither below configs/ nor a file{known}"
        if weights == network:
            return
    if reason := _weights_fault(start_weights_file(keys)):
        yield "pretrained_weights", f"pretrained_weights: {weights!r} {reason}"


def _weights_fault(weights: str) -> str:
    """Empty where they can be used, as far as `weights_fault` sees."""
    if not weights or weights.startswith(DOWNLOADS) or is_zoo_config(weights):
        return ""
    file = Path(weights).expanduser()
    if file.suffix not in (".pth", ".pkl"):
        near = did_you_mean(weights, zoo_configs())
        return f'is neither a zoo config name nor a .pth or .pkl file{near}; "" starts from random weights'
    return weights_fault(file)


def _config_folders() -> list[Path]:
    """configs/ of a repository, or its copy in an installed package; detectron2 is found, not imported."""
    spec = find_spec("detectron2")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    return [package / "model_zoo" / "configs", package.parent / "configs"]


def is_zoo_config(name: str) -> bool:
    """Whether it names a file below configs/; a name does not lead out of there."""
    return _zoo_file(name) is not None


def network_file(name: str) -> Path:
    """The file that network_config names, however it is written: as for the network, one of that path comes first."""
    own = Path(name)
    return (own if own.is_file() else _zoo_file(name) or own).resolve()


def _zoo_file(name: str) -> Path | None:
    if not name.endswith(".yaml") or Path(name).is_absolute() or ".." in name.replace("\\", "/").split("/"):
        return None
    return next((place / name for place in _config_folders() if (place / name).is_file()), None)


def zoo_configs() -> list[str]:
    """Names as network_config takes them, such as `COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml`."""
    return sorted(
        file.relative_to(folder).as_posix() for folder in _config_folders() for file in folder.rglob("*.yaml")
    )
