"""A folder that Supervisely imports as a project: meta.json, and for each sub-folder of images a data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from active_learning.annotations.supervisely_meta import META_FILE
from active_learning.dataset.image_folder import EXPORTED_AS_PNG, exported_name
from active_learning.errors import MaskALError
from active_learning.system.disk_space import disk_failure
from active_learning.system.file_moves import draft_of_new, same_content
from active_learning.system.image_files import image_file, read_pixels

DATASET = "ds"


def add_to_project(
    project: Path,
    meta_json: Path,
    folder: Path,
    image: str,
    annotation: Path,
    before: Callable[[Path, Path], object] = lambda *_: None,
) -> Path | None:
    """Puts an image of a folder and its Supervisely file into the project; what is there already stays.

    TIFF images, which Supervisely's tool does not show, become PNG here, `<name>.tif.png`; their own file stays as it
    is. The data set of the sub-folder a/b is `ds__a__b`.

    Args:
        before: gets each file and its draft before the file has its name.

    Returns:
        The project's annotation of the image, where that is another one.

    Raises:
        MaskALError: a file cannot be read or written, or the project holds another image of that name.
    """
    source, place = folder / image, PurePosixPath(image).parent
    dataset = project / "__".join([DATASET, *place.parts])
    name = exported_name(source.name)
    described = dataset / "ann" / f"{name}.json"
    copies = {
        project / META_FILE: meta_json,
        dataset / "img" / name: source,
        described: annotation,
    }
    held = dataset / "img" / name
    if held.is_file() and not _is_copy(held, source):
        raise MaskALError(f"{held}: is another image than {source}; rename one of them, or name another project")
    is_another = described.exists() and not same_content(described, annotation)
    try:
        for target, original in copies.items():
            _copy_new(original, target, before)
    except (OSError, ValueError) as error:
        reason = (disk_failure(error) if isinstance(error, OSError) else "") or error
        raise MaskALError(f"{project}: {image} cannot be put there: {reason}") from error
    return described if is_another else None


def _is_copy(held: Path, source: Path) -> bool:
    if source.suffix.lower() in EXPORTED_AS_PNG:
        return np.array_equal(np.asarray(_shown(held)), np.asarray(_shown(source)))
    return same_content(held, source)


def _copy_new(source: Path, target: Path, before: Callable[[Path, Path], object]) -> None:
    """Unless there is such a file already."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with draft_of_new(target) as draft:
        if source.suffix.lower() in EXPORTED_AS_PNG:
            _shown(source).save(draft, format="PNG")
        else:
            shutil.copyfile(source, draft)
        before(target, draft)


def _shown(path: Path) -> Image.Image:
    """The image upright, with 8 bits a channel."""
    with image_file(path) as file:
        upright = read_pixels(file)
    return upright if upright.mode in ("L", "RGB", "RGBA") else upright.convert("RGB")
