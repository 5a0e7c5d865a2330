"""The images that a run starts from."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from active_learning.annotations import mask_files_of
from active_learning.dataset.image_folder import pair_annotations, take_snapshot
from active_learning.errors import MaskALError, SettingsError
from active_learning.system.file_moves import draft_of_new, same_content


def sample_initial_images(images: Sequence[str], size: int, seed: int) -> list[str]:
    """`size` of the images at random, sorted; the same for the same seed and images.

    Raises:
        SettingsError: there are fewer images than that.
    """
    if size > len(images):
        raise SettingsError(f"initial_datasize is {size}, but traindir holds {len(images)} images; lower it")
    return sorted(random.Random(seed).sample(sorted(images), size))


def annotated_images(source: Path) -> dict[str, Path]:
    """From image names to their annotation files. Raises MaskALError where there is none."""
    snapshot = take_snapshot(source)
    pairs = pair_annotations(source, snapshot.images, snapshot=snapshot)
    if not pairs:
        raise MaskALError(f"{source}: holds no annotated image; put images with their annotations there")
    return pairs


def images_to_copy(source: Path, target: Path) -> dict[str, Path]:
    """As `annotated_images`.

    Raises:
        MaskALError: `source` holds no annotated image, or `target` another image of the same name: the annotation would
            be put on that one.
    """
    pairs = annotated_images(source)
    clashes = [name for name in pairs if (target / name).exists() and not same_content(source / name, target / name)]
    if clashes:
        raise MaskALError(
            "\n".join(f"{target / name}: is another image than {source / name}; rename one of them" for name in clashes)
        )
    return pairs


def copy_initial_train_dir(source: Path, target: Path) -> list[str]:
    """Copies the annotated images of `source` with their annotations into `target`; returns their names.

    Masks that are files of their own go with them. A file that stands in `target` already is kept as it is.

    Raises:
        MaskALError: as `images_to_copy`.
    """
    pairs = images_to_copy(source, target)
    for name, annotation in pairs.items():
        _copy_if_absent(source / name, target / name)
        for mask in filter(None, mask_files_of(annotation, within=source).values()):
            _copy_if_absent(mask, target / mask.relative_to(source.absolute()))
        _copy_if_absent(annotation, target / annotation.relative_to(source))
    return sorted(pairs)


def _copy_if_absent(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        with suppress(FileExistsError), draft_of_new(target) as draft:  # saved at this moment
            shutil.copy2(source, draft)
