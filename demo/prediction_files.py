"""Which images are predicted on, and which files their pictures become."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from active_learning.errors import MaskALError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIX = ".mp4"


class UsageError(MaskALError):
    """The command line asks for what cannot be done."""

    exit_code = 2


@dataclass(frozen=True)
class InputImage:
    """An image file; `name` is what its picture is named after: the file's name, or its path inside a given folder."""

    path: Path
    name: str


def find_images(inputs: Sequence[str], output: Path | None = None) -> list[InputImage]:
    """The images of files, folders (with their sub-folders) and glob patterns, each once, in the order given.

    Prints what is passed over in folders.

    Args:
        output: where pictures go; inside an input folder it is left out.

    Raises:
        UsageError: there is no such file or folder, or no image in it.
    """
    found: dict[Path, InputImage] = {}
    for text in inputs:
        for image in _images_of(text, output):
            found.setdefault(image.path.resolve(), image)
    return list(found.values())


def _images_of(text: str, output: Path | None) -> list[InputImage]:
    path = Path(text).expanduser()
    # A file may have brackets in its name, so that it is looked for before a pattern is.
    if path.is_file():
        return [InputImage(path, path.name)]
    if path.is_dir():
        return _images_in(path, output)
    if any(sign in text for sign in "*?["):
        return _images_matching(str(path))
    raise UsageError(f"--input {text}: there is no such file or folder; correct the path")


def _images_in(folder: Path, output: Path | None) -> list[InputImage]:
    from active_learning.dataset.image_folder import take_snapshot  # costs OpenCV
    from active_learning.dataset.image_names import IMAGE_SUFFIXES
    from active_learning.system.log import print_note

    drawn = None if output is None else output.resolve()
    snapshot = take_snapshot(folder)
    for note in snapshot.notes:
        print_note(note)
    images = [InputImage(folder / name, name) for name in snapshot.images]
    if drawn is not None and drawn != folder.resolve():
        images = [image for image in images if not image.path.resolve().is_relative_to(drawn)]
    if not images:
        raise UsageError(f"--input {folder}: holds no image; looked for {_listed(IMAGE_SUFFIXES)}")
    return images


def _images_matching(pattern: str) -> list[InputImage]:
    from active_learning.dataset.image_names import IMAGE_SUFFIXES, is_image

    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 (absolute patterns)
    images = [InputImage(path, path.name) for path in matches if is_image(path.name) and path.is_file()]
    if not images:
        found = f"matches {len(matches)} files, but none is an image" if matches else "matches no file"
        raise UsageError(f"--input {pattern}: {found}; looked for {_listed(IMAGE_SUFFIXES)}")
    return images


def _listed(suffixes: Iterable[str]) -> str:
    return " ".join(sorted(suffixes))


def plan_pictures(images: Sequence[InputImage], output: Path) -> list[Path]:
    """The picture file of each image; folders are made.

    `output` with a picture's suffix is the picture of the only image, else a folder. Pictures keep the images' names;
    what is neither PNG nor JPG gets `.png` added; equal names get their folders, and at last numbers.

    Raises:
        UsageError: a picture would replace an input image, or cannot be written where `output` says.
    """
    if output.suffix.lower() in PICTURE_SUFFIXES and not output.is_dir():
        if len(images) > 1:
            raise UsageError(f"--output {output}: names one picture, but there are {len(images)} images; give a folder")
        targets = [output]
    else:
        _refuse_other_formats(output)
        targets = [output / name for name in _picture_names(images)]
    refuse_overwriting([image.path for image in images], targets)
    make_folders(targets)
    return targets


def plan_video(video: Path, output: Path) -> Path:
    """The file that `video` becomes; `output` is an .mp4 file or a folder. Raises UsageError as `plan_pictures`."""
    if not video.is_file():
        raise UsageError(f"--video-input {video}: there is no such file; correct the path")
    if output.suffix.lower() == VIDEO_SUFFIX and not output.is_dir():
        target = output
    else:
        _refuse_other_formats(output, ".avi", ".mkv", ".mov", ".webm")
        target = output / (video.stem + VIDEO_SUFFIX)
    refuse_overwriting([video], [target])
    make_folders([target])
    return target


def _refuse_other_formats(output: Path, *suffixes: str) -> None:
    # A folder may have a dot in its name, but one named out.tiff is hardly meant.
    others = (*suffixes, ".bmp", ".gif", ".tif", ".tiff", ".webp")
    if output.suffix.lower() in others and not output.is_dir():
        raise UsageError(f"--output {output}: pictures are written as .png or .jpg, videos as .mp4; name it so")


def refuse_overwriting(inputs: Iterable[Path], targets: Iterable[Path]) -> None:
    """Raises UsageError if a target is one of the inputs, by whatever path or link."""
    files = {_identity(path) for path in inputs}
    for target in targets:
        if target.exists() and _identity(target) in files:
            raise UsageError(f"--output: {target} is an input and would be overwritten; give another folder")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def make_folders(targets: Iterable[Path]) -> None:
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--output {folder}: cannot be made a folder: {error.strerror}; give another") from error


def _picture_names(images: Sequence[InputImage]) -> list[str]:
    names = [_as_picture(image.name) for image in images]
    count = Counter(name.casefold() for name in names)
    shared = [i for i, name in enumerate(names) if count[name.casefold()] > 1]
    for i, tail in zip(shared, _distinct_tails([images[i].path.resolve() for i in shared]), strict=True):
        names[i] = _as_picture(tail)
    taken: set[str] = set()
    return [_numbered(name, taken) for name in names]


def _as_picture(name: str) -> str:
    return name if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES else f"{name}.png"


def _distinct_tails(paths: Sequence[Path]) -> list[str]:
    """The ends of the paths, as short as tells apart all that differ in more than case."""
    parts = [path.parts[1:] for path in paths]
    different = len({str(path).casefold() for path in paths})
    for length in range(2, max(map(len, parts), default=2) + 1):
        tails = ["/".join(names[-length:]) for names in parts]
        if len({tail.casefold() for tail in tails}) == different:
            return tails
    return ["/".join(names) for names in parts]


def _numbered(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken already; notes it as taken."""
    path, number, free = PurePosixPath(name), 1, name
    while free.casefold() in taken:
        number += 1
        free = str(path.with_stem(f"{path.stem}_{number}"))
    taken.add(free.casefold())
    return free
