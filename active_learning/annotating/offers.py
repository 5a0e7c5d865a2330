"""Offers annotated images for correction: image and annotation lie in the annotate folder once more.

What a person changes there is taken as a correction (corrections.py); what nobody changes is removed again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotations import mask_files_of
from active_learning.annotations.cvat_masks import MASKS
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import find_annotations
from active_learning.system.file_moves import copy_beside


def offer_annotations(annotations: AnnotationCache, images: Collection[str]) -> list[str]:
    """Puts copies of these images and of their annotations into the annotate folder, but where a file is already there.

    Returns:
        The images whose annotation lies there.

    Raises:
        MaskALError: an image cannot be copied. OSError: an annotation cannot.
    """
    folder = AnnotateFolder(annotations)
    pairs, _ = find_annotations(annotations.folder, images, annotations)
    for name, path in pairs.items():
        target = folder.path / PurePosixPath(name).parent / path.name
        folder.copy_image(name)
        for mask, file in mask_files_of(path, within=annotations.folder).items():
            if file is not None:
                _offer(folder, name, file, target.parent / MASKS / mask)
        _offer(folder, name, path, target)
    return list(pairs)


def _offer(folder: AnnotateFolder, image: str, source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_beside(source, target)
        folder.own_files.add(target, image)
