"""Initial images of any folder: sampled or chosen, without near-duplicates, or copied from another folder."""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import mask_files_of
from active_learning.dataset.folder_walk import files_of
from active_learning.dataset.image_folder import FolderSnapshot, find_annotations, pair_annotations, take_snapshot
from active_learning.dataset.near_duplicates import Groups, one_of_each
from active_learning.errors import MaskALError, SettingsError
from active_learning.system.file_moves import draft_of_new, same_content
from active_learning.system.wording import counted

Choose = Callable[[Sequence[str], int], Sequence[str]]  # so many of these images


@dataclass(frozen=True)
class InitialImages:
    """Names, sorted; `held_back` lists those that others took the place of, as near-duplicates of one that is taken.

    `scenes`: where there are fewer than images wanted, near-duplicates are among the names all the same.
    """

    names: list[str]
    held_back: list[str]
    scenes: int


def check_size(images: Sequence[str], size: int, wanted: str = "") -> None:
    """Raises SettingsError where there are fewer images than that.

    Args:
        wanted: what it is called, where the settings do not name `size` itself.
    """
    if size > len(images):
        held = counted(len(images), "image")
        raise SettingsError(f"initial_datasize is {wanted or size}, but traindir holds {held}; lower it")


def sample_initial_images(images: Sequence[str], size: int, seed: int, groups: Groups = ()) -> InitialImages:
    """`size` of the images at random; the same for the same seed and images.

    Args:
        groups: of near-duplicates; of each, one image is sampled.

    Raises:
        SettingsError: there are fewer images than that.
    """
    check_size(images, size)
    rng, images = random.Random(seed), sorted(images)
    sample = rng.sample(images, size)
    rest = sorted(set(images) - set(sample))
    firsts, others = one_of_each([*sample, *rng.sample(rest, len(rest))], groups)
    names = [*firsts, *others][:size]
    return InitialImages(sorted(names), [name for name in sample if name not in names], len(firsts))


def choose_initial_images(images: Sequence[str], size: int, choose: Choose, groups: Groups) -> InitialImages:
    """As `sample_initial_images`, by `choose`; it is given the first image of each group alone."""
    check_size(images, size)
    firsts, others = one_of_each(sorted(images), groups)
    candidates = sorted([*firsts, *others[: max(size - len(firsts), 0)]])
    held_back = sorted(set(images) - set(candidates))
    return InitialImages(sorted(choose(candidates, size)), held_back, len(firsts))


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
        MaskALError: `source` holds no annotated image, or `target` another image, mask or annotation of the same name:
            the annotation would be put on that image, or find no place.
    """
    return _pairs_to_copy(source, target)[0]


def _pairs_to_copy(source: Path, target: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """`images_to_copy`, and from those of them that `target` has an annotation of already to that."""
    pairs = annotated_images(source)
    there, doubtful = _annotations_there(target, pairs)
    names = {name: file.relative_to(source) for name, file in pairs.items()}
    new = [file for name, file in pairs.items() if name not in there]
    masks = [mask.relative_to(source.absolute()) for annotation in new for mask in _masks_of(annotation, source)]
    faults = [
        f"{target / name}: is another {kind} than {source / name}"
        for kind, others in (("image", pairs), ("mask", masks))
        for name in others
        if _differ(source, target, name)
    ]
    faults += [
        f"{target / file}: is not of {name}, as {source / file} is"
        for name, file in names.items()
        if name not in there and name not in doubtful and os.path.lexists(target / file)
    ]
    faults = [*(f"{fault}; rename one of them" for fault in faults), *sorted(set(doubtful.values()))]
    if faults:
        raise MaskALError("\n".join(faults))
    return pairs, there


def _annotations_there(target: Path, images: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """As `find_annotations`: of these images, as if `target` held them already."""
    names: dict[str, set[str]] = defaultdict(set)
    for image in images:
        parent, _, name = image.rpartition("/")
        names[parent].add(name)
    files = {parent: sorted(own.union(files_of(target, Path(parent)))) for parent, own in names.items()}
    return find_annotations(target, images, snapshot=FolderSnapshot(target, (), files))


def _differ(source: Path, target: Path, name: str | Path) -> bool:
    return (target / name).exists() and not same_content(source / name, target / name)


def _masks_of(annotation: Path, source: Path) -> list[Path]:
    return [mask for mask in mask_files_of(annotation, within=source).values() if mask]


def copy_initial_train_dir(source: Path, target: Path, report: Callable[[str], None]) -> list[str]:
    """Copies the annotated images of `source` with their annotations into `target`; returns their names.

    Masks that are files of their own go with them. A file that stands in `target` already is kept as it is, and so is
    an annotation under another name; `report` gets a line for each that is so used in the place of another one.

    Raises:
        MaskALError: as `images_to_copy`.
    """
    pairs, there = _pairs_to_copy(source, target)
    for name, annotation in pairs.items():
        _copy_if_absent(source / name, target / name)
        if name in there and not same_content(there[name], annotation):
            report(f"{there[name]}: is kept and used; {annotation} differs")
            continue
        for mask in _masks_of(annotation, source):
            _copy_if_absent(mask, target / mask.relative_to(source.absolute()))
        if name not in there:
            _copy_if_absent(annotation, target / annotation.relative_to(source))
    return sorted(pairs)


def _copy_if_absent(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        with suppress(FileExistsError), draft_of_new(target) as draft:  # saved at this moment
            shutil.copy2(source, draft)
