"""Pre-label a folder of images with a trained network.

    python auto_annotate.py --img_dir IMAGES --network_config CONFIG --classes a b c --weights_file FILE

Each image gets an annotation file beside it, for a person to correct. Images that have one already are left alone.
Exports with objects of the others are refused: they are to be converted first.
Exit codes: 0 done, 1 an image or its annotation could not be read, its file's name is taken, or another failure, 2
wrong usage, 130 interrupted (what is written stays: the same command goes on).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from active_learning import __version__
from active_learning.annotations.formats import FORMATS
from active_learning.system.devices import show_devices
from active_learning.system.exit_code import exit_code_of
from active_learning.system.log import print_result

GO_ON = "What is written stays: the same command goes on from here."


def run(arguments: argparse.Namespace) -> int:
    """Files are checked before the network is loaded, which takes longest. Returns the exit code."""
    from active_learning.annotating.folder_job import FolderAnnotation, read_request
    from active_learning.system.written_files import only_program

    request = read_request(arguments)
    show_devices(request.settings.cuda_visible_devices)
    annotation = FolderAnnotation(request)
    with only_program(request.folder):
        annotation.find_images()
        annotation.write_pre_labels(annotation.load_network())
    print_result(annotation.summary())
    return 0 if annotation.is_complete else 1


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="auto_annotate.py",
        description="Pre-label a folder of images, sub-folders included, with a trained network. Images that have an "
        "annotation already are left alone.",
    )
    add = parser.add_argument
    add("--version", action="version", version=f"MaskAL {__version__}")
    add("--img_dir", type=Path, required=True, metavar="FOLDER", help="images to pre-label")
    add("--network_config", metavar="CONFIG",
        help="the network of the weights: a name below configs/ or a yaml file; default: the name given as "
        "--weights_file, else X-101 as in maskAL.yaml")  # fmt: skip
    add("--classes", nargs="+", default=[], metavar="NAME",
        help="the classes of the training, in order; use_coco: COCO's. With published weights: those to keep, all of "
        "COCO's if left out")  # fmt: skip
    add("--conf_thres", type=float, default=0.5, metavar="SHARE",
        help="leave out detections with a lower score (default 0.5)")  # fmt: skip
    add("--nms_thres", type=float, default=0.2, metavar="SHARE",
        help="of two detections that overlap more than this the weaker is left out (default 0.2)")  # fmt: skip
    add("--weights_file", required=True, metavar="FILE",
        help="trained weights (.pth, .pkl), or a config's name for its published COCO weights")  # fmt: skip
    add("--export_format", choices=FORMATS, default="labelme", help="the tool to correct with (default labelme)")
    add("--supervisely_meta_json", type=Path, metavar="FILE", help="the project's meta.json; needed for supervisely")
    add("--supervisely_project", type=Path, metavar="FOLDER",
        help="where images and annotations go as a project to import (default: <img_dir>_supervisely)")  # fmt: skip
    add("--max_polygon_error", type=float, default=1.0, metavar="PIXELS",
        help="how far an outline may lie from the mask; more means fewer points (default 1)")  # fmt: skip
    add("--image_min_size", type=int, metavar="PIXELS", help="as in the settings of the training")
    add("--image_max_size", type=int, metavar="PIXELS", help="as in the settings of the training")
    add("--tile_size", type=int, metavar="PIXELS", help="as in the settings of the training")
    add(
        "--tile_overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="as in the settings of the training (default 0.2)",
    )
    add("--max_image_megapixels", type=int, default=250, metavar="N", help="larger images are skipped (default 250)")
    add("--cuda_visible_devices", "--device", default="0", metavar="ID", help="the GPU, or cpu (default 0)")
    add("--batch_size", type=int, default=4, metavar="N", help="images at once; fewer need less memory (default 4)")
    add("--num_workers", type=int, default=2, metavar="N", help="processes that read images (default 2)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code_of(run, parse_arguments(arguments), go_on=GO_ON)


if __name__ == "__main__":
    sys.exit(main())
