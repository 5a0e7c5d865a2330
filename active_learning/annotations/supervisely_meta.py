"""The `meta.json` of a Supervisely project: its classes and tags."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from active_learning.annotations.annotation import Annotation
from active_learning.annotations.documents import brief, load_document, write_json
from active_learning.annotations.labels import split_by_label
from active_learning.errors import AnnotationError
from active_learning.system.names import normalised
from active_learning.system.wording import did_you_mean

META_FILE = "meta.json"
SCORE_TAG = "confidence"
MASK_SHAPES = ("bitmap", "any")  # shapes of classes whose objects may be bitmaps


@dataclass(frozen=True)
class Meta:
    """The classes of a project: title -> shape, and its tags: name -> type of value."""

    path: Path
    shapes: dict[str, str]
    tags: dict[str, str]

    @property
    def has_scores(self) -> bool:
        return self.tags.get(SCORE_TAG) == "any_number"

    def fitted(self, annotation: Annotation) -> Annotation:
        """The annotation with labels as the project spells them, and without scores where it has no place for them."""
        spelled, _ = split_by_label(annotation, list(self.shapes))
        return spelled if self.has_scores else spelled.without_scores()


def read_meta(path: Path) -> Meta:
    """The classes and tags of a project's meta.json. Raises AnnotationError."""
    document = load_document(path)
    if not isinstance(document, dict) or not isinstance(document.get("classes"), list):
        raise AnnotationError(f"{path}: classes: is not the meta.json of a Supervisely project")
    shapes = dict(
        _pair(entry, ("title", "shape"), f"{path}: classes[{i}]") for i, entry in enumerate(document["classes"])
    )
    tags = document.get("tags")
    named = [tag for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    types = dict(_pair(tag, ("name", "value_type"), f"{path}: tags: {brief(tag)}") for tag in named)
    return Meta(path, shapes, types)


def _pair(entry: Any, keys: tuple[str, str], place: str) -> tuple[str, str]:
    name, kind = (entry.get(key) if isinstance(entry, dict) else None for key in keys)
    if not isinstance(name, str) or not isinstance(kind, str):
        raise AnnotationError(f"{place}: must have the texts {' and '.join(keys)}; export the project again")
    return name, kind


def check_meta(meta: Meta, classes: Sequence[str]) -> None:
    """Raises AnnotationError, one line a class that the project lacks or that cannot hold a mask."""
    faults = []
    shapes = {normalised(title): shape for title, shape in meta.shapes.items()}
    for name in classes:
        shape = shapes.get(normalised(name))
        if shape is None:
            hint = did_you_mean(name, meta.shapes) or f" ({', '.join(meta.shapes)})"
            faults.append(f"{meta.path}: class {name!r} is not in the project{hint}; add it in Supervisely")
        elif shape not in MASK_SHAPES:
            faults.append(
                f"{meta.path}: class {name!r} has the shape {shape!r}, which cannot hold a mask; "
                f"convert it to 'any' or 'bitmap' in Supervisely"
            )
    if faults:
        raise AnnotationError("\n".join(faults))


def write_meta(path: Path, classes: Sequence[str]) -> None:
    """Writes the meta.json of a new project: classes of bitmaps in colours far apart, and the tag of scores."""
    hues = [colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.9, 0.9) for index in range(len(classes))]
    colours = ["#" + "".join(f"{round(255 * channel):02X}" for channel in hue) for hue in hues]
    document = {
        "classes": [
            {"title": name, "shape": "bitmap", "color": colour, "geometry_config": {}, "hotkey": ""}
            for name, colour in zip(classes, colours, strict=True)
        ],
        "tags": [{"name": SCORE_TAG, "value_type": "any_number", "color": "#808080", "hotkey": ""}],
        "projectType": "images",
    }
    write_json(path, document)
