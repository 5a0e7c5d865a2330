"""What the study tools share: a settings file, the network of its run, images, and a folder for what they write."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from active_learning.dataset.image_folder import find_images
from active_learning.errors import AnnotationError, MaskALError, UnreadableImageError
from active_learning.run.output_files import output_files
from active_learning.run.weights import weights_of_run
from active_learning.settings import Settings, load_settings
from active_learning.system.devices import show_devices
from active_learning.system.files import lies_in
from active_learning.system.log import print_note
from active_learning.system.written_files import only_writer, own_draft, write_own

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from detectron2.config import CfgNode

Found = TypeVar("Found")


@dataclass(frozen=True)
class Study:
    """Of one run: the settings file's first experiment."""

    settings: Settings
    cfg: CfgNode
    weights: Path
    folder: Path
    images: list[str]
    out: Path


def study_parser(description: str, *, images: int) -> argparse.ArgumentParser:
    """With the options that all tools have; `images` is the default of --images."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings file of the run")
    parser.add_argument("--weights", type=Path, help="a weights file; without it the newest of the run")
    parser.add_argument("--img_dir", type=Path, help="a folder of images; without it the settings' testdir")
    count = f"at most so many, 1 or more (default {images})"
    parser.add_argument("--images", type=partial(at_least, 1), default=images, metavar="N", help=count)
    parser.add_argument("--out", type=Path, help="folder to write into; without it `study` in the run's results")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings that replace those of the file")
    return parser


def at_least(least: int, text: str) -> int:
    """For argparse."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {least}")
    return int(text)


def open_study(parsed: argparse.Namespace) -> Study:
    """Raises MaskALError where there is no image or no weights file."""
    settings = load_settings(parsed.config, parsed.overrides)
    show_devices(settings.cuda_visible_devices)
    from active_learning.network.network_config import network_config

    experiment = settings.experiments()[0]
    files = output_files(settings, experiment)
    folder = parsed.img_dir or settings.testdir
    images = find_images(folder)
    if not images:
        raise MaskALError(f"{folder}: holds no image; give another folder with --img_dir")
    weights = parsed.weights or weights_of_run(settings, experiment)
    out = parsed.out or files.results / "study"
    for place in (folder, settings.traindir, settings.valdir, settings.testdir):
        if lies_in(out, place):
            raise MaskALError(f"--out: {out} lies in {place}, among images; give another folder")
    out.mkdir(parents=True, exist_ok=True)
    return Study(settings, network_config(settings, experiment), weights, folder, evenly(images, parsed.images), out)


def of_each_image(names: Sequence[str], study: Callable[[str], Found], *, what: str) -> list[Found]:
    """`study` of each image, with a progress bar; one that cannot be used is named and left out.

    Raises:
        MaskALError: none can be used.
    """
    found: list[Found] = []
    faults: list[MaskALError] = []
    for name in tqdm(names, desc=what, unit="image"):
        try:
            found.append(study(name))
        except (UnreadableImageError, AnnotationError) as error:
            faults.append(error)
            print_note(f"{error}; it is left out")
    if faults and not found:
        raise faults[0]
    return found


def evenly(names: Sequence[str], count: int) -> list[str]:
    """`count` names spread over all, in their order."""
    if count >= len(names):
        return list(names)
    return [names[place * len(names) // count] for place in range(count)]


def save_csv(text: str, path: Path) -> None:
    with only_writer(path.parent):
        write_own(path, text)
    print(f"Written: {path}")


def save_figure(figure: Figure, path: Path) -> None:
    from detectron2.utils.fonts import without_glyph_warnings

    with only_writer(path.parent), own_draft(path) as draft, without_glyph_warnings():
        figure.savefig(draft, dpi=150, facecolor="white", format="png")
    print(f"Written: {path}")
