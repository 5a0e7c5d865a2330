"""Annotations in an image folder that are not used: exports that have not been converted, and files of another name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path, PurePosixPath

from active_learning.dataset.exports import Export, FolderAnnotations, convert_command
from active_learning.dataset.image_names import is_image
from active_learning.system.names import normalised
from active_learning.system.wording import counted


def describe_exports(classes: Sequence[str], folder: Path, annotations: FolderAnnotations) -> Iterator[str]:
    """What each kind of export in an image folder is, and the command that converts it, or another remedy.

    Args:
        classes: for that command; none where they are not known.
    """
    alike: dict[Export, list[Path]] = defaultdict(list)
    for export in annotations.exports:
        alike[replace(export, path=folder)].append(export.path)
    for export, paths in alike.items():
        command = _command(classes, folder, apart=export.apart, into_itself=not annotations.beside)
        todo = f"it is not read: {export.remedy}, or move it away" if export.remedy else command
        if export.later:
            read = "it is newer than the annotations beside its images, which are read"
            todo = f"{read}; if it corrects them, move these elsewhere, and {todo}"
        yield f"{paths[0]}: is {export.kind}{_as_others(paths)}; {todo}"


def _command(classes: Sequence[str], folder: Path, *, apart: bool, into_itself: bool) -> str:
    source = "EXPORT" if apart else str(folder)
    target = str(folder) if apart or into_itself else f"{folder}_converted"
    command = convert_command(source, classes, target)
    if apart:
        return f"put what belongs to it into a folder EXPORT outside of {folder}, unpacked, and convert that: {command}"
    return f"convert it: {command}; or move it away"


def describe_stray(annotations: FolderAnnotations) -> Iterator[str]:
    """The annotations that are of no image beside them, or of one of a kind that is not read, and are not used."""
    unread = {path: name for path, image in annotations.stray.items() if (name := _unread_image(path, image))}
    if unread:
        path, name = next(iter(unread.items()))
        remedy = "it is not used: save the image as PNG or JPEG, or move both away"
        yield f"{path}: is an annotation of {name}, an image of a kind that is not read{_as_others(unread)}; {remedy}"
    if left := {path: image for path, image in annotations.stray.items() if path not in unread}:
        path, image = next(iter(left.items()))
        names = f"names {image} inside, but " if image else ""
        remedy = "it is not used: put it beside its image, under the image's name, or move it away"
        yield f"{path}: is an annotation that {names}bears the name of no image beside it{_as_others(left)}; {remedy}"


def _as_others(files: Sized) -> str:
    return f", as {counted(len(files) - 1, 'other')}" if len(files) > 1 else ""


def _unread_image(path: Path, image: str) -> str:
    """What stands beside an annotation, under the name of its image, though it is none to us; "" for nothing."""
    name = PurePosixPath(normalised(image)).name
    return name if name and not is_image(name) and (path.parent / name).is_file() else ""


def describe_misnamed(annotations: FolderAnnotations) -> Iterator[str]:
    """The annotations that bear another name than the image beside them that they are of, and are not used."""
    if annotations.misnamed:
        path, image = next(iter(annotations.misnamed.items()))
        others = len(annotations.misnamed) - 1
        more = f", as {counted(others, 'other file')}: each has to bear the name of its image" if others else ""
        name = PurePosixPath(image)
        yield f"{path}: names {name.name} inside, but bears another name; rename it {name.stem}{path.suffix}{more}"
