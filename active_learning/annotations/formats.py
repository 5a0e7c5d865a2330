"""The annotation tools whose files are read and written here: a line a tool, from which settings, commands and tests
take its name. A new tool is a module with the functions of `Codec`, and a line.

Codecs are imported at first use: a program that only needs the names starts without numpy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from active_learning.annotations.codec import Codec, CollectionCodec, FolderTreeCodec
from active_learning.annotations.xml_files import check_xml_names

if TYPE_CHECKING:  # each is a Codec, or mypy fails
    from active_learning.annotations import cvat, cvat_images, darwin, labelme, supervisely

    _CODECS: tuple[Codec, ...] = (labelme, cvat, cvat_images, darwin, supervisely)
    _SPECIAL: tuple[FolderTreeCodec, CollectionCodec] = (cvat, cvat_images)


@dataclass(frozen=True)
class Format:
    """How the files of one annotation tool are named, read and written.

    `title` is the tool's name for texts. `modules` of this package are its codecs, of which the first one writes.
    """

    title: str
    modules: tuple[str, ...]
    suffix: str = ".json"
    named_after_image: bool = False  # <image name>.json, where other tools have <stem>.json
    polygons_only: bool = False  # a mask is a file beside the annotation, which is easily left behind
    needs_meta: bool = False  # the meta.json of a project, with its classes
    folders: tuple[str, str] = ("", "")  # of images and of annotations in an export, each with its "/"

    @property
    def codec(self) -> Codec:
        """The codec that writes."""
        return codecs()[self.modules[0]]

    def check_names(self, folder: Path, images: Iterable[str]) -> None:
        """Raises AnnotationError where the tool's files cannot hold the names of images, which lie in the folder."""
        if self.suffix == ".xml":
            check_xml_names(folder, images)


FORMATS: dict[str, Format] = {
    "labelme": Format("LabelMe", ("labelme",)),
    "cvat": Format(
        "CVAT", ("cvat", "cvat_images"), suffix=".xml", polygons_only=True, folders=("default/", "default/")
    ),
    "darwin": Format("V7 Darwin", ("darwin",), folders=("images/", "annotations/")),
    "supervisely": Format("Supervisely", ("supervisely",), named_after_image=True, needs_meta=True),
}

# Read and written by the conversion alone: an image's own file, if there is one, does not say all about it.
DATA_SETS = {"coco": "COCO", "yolo": "YOLO segmentation"}


@cache
def codecs() -> dict[str, Codec]:
    """All codecs by the names of their modules, in the order of the table."""
    modules = [module for tool in FORMATS.values() for module in tool.modules]
    return {module: cast(Codec, import_module(f"{__package__}.{module}")) for module in modules}


def codec_of(document: Any) -> Codec | None:
    """The codec that recognises a document; None where it is of no tool."""
    return next((codec for codec in codecs().values() if codec.recognises(document)), None)
