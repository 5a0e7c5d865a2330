"""The command line: `python -m active_learning.annotations convert IN_DIR --to TOOL --classes a b c --out OUT`."""

from __future__ import annotations

import argparse
import errno
import math
from collections.abc import Sequence
from pathlib import Path

from active_learning.annotations import FORMATS, Annotation, check_labels
from active_learning.annotations.formats import DATA_SETS
from active_learning.annotations.labels import leave_out_unknown, split_by_label
from active_learning.conversion.exports import COCO, TOOLS, Export, make_export
from active_learning.conversion.joining import Source, may_be_unopened
from active_learning.conversion.report import Report
from active_learning.conversion.sources import find_sources, names_in_data_set, not_in_place
from active_learning.dataset.archives import is_archive
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system.disk_space import disk_failure
from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import is_same_place, lies_in
from active_learning.system.log import escape_unencodable, print_note, print_result
from active_learning.system.names import folded_label, names_alike, shown
from active_learning.system.wording import and_more, counted
from active_learning.system.written_files import only_program

_DONE, _FAULTS, _WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0; 1 a file was skipped with an error; 2 wrong use, nothing written; 130 interrupted."""
    escape_unencodable()
    parser = _parser()
    given = parser.parse_args(arguments)
    fault = _fault(given)
    if fault:
        parser.error(fault)
    again = "the same command goes on" if is_same_place(given.in_dir, given.out) else "convert again to another --out"
    go_on = f"What was written before is whole; {again}"
    return exit_code_of(_reported, given, Report(print_note), go_on, go_on=go_on)


def _reported(given: argparse.Namespace, report: Report, go_on: str) -> int:
    try:
        with only_program(given.out):
            return _convert(given, report)
    except MaskALError as error:
        report.fail(str(error))
    except OSError as error:
        with_name = error if error.filename else OSError(error.errno, error.strerror, str(given.out))
        report.fail(disk_failure(with_name, go_on) or f"{error.filename or given.out}: {error.strerror or error}")
    return _FAULTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m active_learning.annotations", description="Annotation files.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    convert = commands.add_parser("convert", help="from any format to any other", description=_DESCRIPTION)
    convert.add_argument("in_dir", type=Path, metavar="IN_DIR", help="images and annotations, or an unpacked export")
    convert.add_argument("--to", required=True, choices=TOOLS, help="the format to write")
    convert.add_argument("--classes", required=True, nargs="+", metavar="CLASS", help="your class names, in order")
    convert.add_argument("--out", required=True, type=Path, help="the json file of coco, else a folder")
    convert.add_argument(
        "--coco-masks",
        choices=("polygons", "rle"),
        help="all objects of coco as polygons, several for an object with holes, or as run lengths (RLE); without this "
        "option masks and objects with holes are run lengths, the others polygons",
    )
    convert.add_argument(
        "--unknown-labels",
        choices=("skip", "error"),
        help="objects of other classes: skip leaves them out with a warning, error skips their file; without this "
        "option they are left out, and an image that has no others is an error",
    )
    convert.add_argument(
        "--empty-images",
        choices=("keep", "leave"),
        help="images of an export without objects: keep them as images without objects, or leave them out, as nobody "
        "has annotated them yet; without this option they are kept, with a warning",
    )
    convert.add_argument(
        "--max-polygon-error",
        type=float,
        default=1.0,
        metavar="PX",
        help="masks become polygons that are within this many pixels of them (1)",
    )
    return parser


_DESCRIPTION = (
    f"Converts annotations of {', '.join((*(tool.title for tool in FORMATS.values()), *DATA_SETS.values()))}. IN_DIR "
    "holds images with their annotations beside them, or a tool's export, unpacked. Nothing in it is changed, and "
    "nothing that exists is overwritten."
)


def _fault(given: argparse.Namespace) -> str:
    """What is wrong with the arguments; "" for nothing."""
    if not given.in_dir.is_dir():
        remedy = (
            "unpack it into a folder, and give that" if is_archive(given.in_dir.name) else "give the folder it is in"
        )
        reason = f"is a file; {remedy}" if given.in_dir.exists() else "there is no such folder"
        return f"{given.in_dir}: {reason}"
    if len(set(given.classes)) < len(given.classes) or not all(given.classes):
        return f"--classes: {' '.join(given.classes)}: each name must be there once, and none may be empty"
    if odd := next((name for name in given.classes if shown(name) != name), ""):
        return f"--classes: {odd!r}: a name must not start or end with a blank, nor hold a control character"
    if alike := names_alike(given.classes, folded_label):
        return f"--classes: {' and '.join(map(ascii, alike[0]))} are one name in two forms; delete one of them"
    if not (given.max_polygon_error >= 0 and math.isfinite(given.max_polygon_error)):
        return f"--max-polygon-error: {given.max_polygon_error} must be 0 or more pixels"
    if given.coco_masks and given.to != COCO:
        return f"--coco-masks: goes with --to {COCO} alone; leave it out"
    if given.to == COCO and given.out.is_dir():
        return f"--out: {given.out} is a folder; coco is one json file"
    if given.to != COCO and given.out.exists() and not given.out.is_dir():
        return f"--out: {given.out} is a file; {given.to} is a folder"
    return "" if given.to == COCO else _place_fault(given)


def _place_fault(given: argparse.Namespace) -> str:
    """Why a folder among the images, or around them, is no place for copies of them; "" where they do not meet."""
    inside, around = lies_in(given.out, given.in_dir), lies_in(given.in_dir, given.out)
    if inside and not (around and given.to == "labelme"):  # which copies nothing into the folder itself
        itself = f", or {given.in_dir} itself" if given.to == "labelme" else ""
        remedy = f"give a folder outside{itself}"
        return f"--out: {given.out} lies in {given.in_dir}, whose images would then be there twice; {remedy}"
    if around and not inside:
        remedy = f"move {given.in_dir} out of it first, or give another folder"
        return f"--out: {given.out} holds {given.in_dir}, whose images would then be there twice; {remedy}"
    return ""


def _convert(given: argparse.Namespace, report: Report) -> int:
    root = given.in_dir
    sources, bare = find_sources(root, report, keep_bare=given.empty_images == "keep")
    if not sources:
        report.fail(f"{root}: holds no image with an annotation that is known here")
        return _FAULTS
    if _is_in_place(given):
        sources = not_in_place(sources, root)
    names = _names(given, sources)
    images = {names[source.image]: root / source.image for source in sources}
    try:
        if given.to in FORMATS:
            FORMATS[given.to].check_names(root, images)
        export = make_export(given.to, given.out, images, given.classes, given.max_polygon_error, given.coco_masks)
    except MaskALError as error:
        report.fail(f"{error}\nnothing was written")
        return _WRONG_USE
    existing = export.existing()
    if existing:
        report.fail(f"{and_more(existing)}: is there already; nothing was written. Choose another --out")
        return _WRONG_USE
    for source in sources:
        _convert_one(given, source, names[source.image], export, report)
    if report.images:  # else what is about all images would only be in the way of the next attempt
        export.finish()
    for warning in export.warnings:
        report.warn(warning)
    report.warn_of_labels(given.classes)
    report.report_empty_images(given.empty_images)
    print_result(report.summary(given.classes, bare))
    return _FAULTS if report.errors else _DONE


def _names(given: argparse.Namespace, sources: Sequence[Source]) -> dict[str, str]:
    """The names of the images in the data set: those that they have, where annotations go beside them."""
    if _is_in_place(given):
        return {source.image: source.image for source in sources}
    return names_in_data_set(sources, given.in_dir)


def _is_in_place(given: argparse.Namespace) -> bool:
    return bool(given.to == "labelme" and given.in_dir.resolve() == given.out.resolve())


def _convert_one(given: argparse.Namespace, source: Source, name: str, export: Export, report: Report) -> None:
    try:
        annotation, unknown = _read(given, source)
        if not annotation.instances and not unknown and may_be_unopened(source):
            report.note_empty(source.image)
            if given.empty_images == "leave":
                return
        lost = export.add(annotation, name, given.in_dir / source.image)
    except MaskALError as error:
        report.fail(str(error))
        return
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        report.fail(f"{error.filename}: {error.strerror}; shorten the name of {source.image}")
        return
    report.leave_out(unknown)
    if lost:
        report.warn(
            f"{source.path}: image {source.image!r}: {counted(lost, 'object')} too small for {given.to}, left out"
        )
    for warning in annotation.warnings:
        report.warn(warning)
    report.count(annotation)


def _read(given: argparse.Namespace, source: Source) -> tuple[Annotation, list[str]]:
    """The annotation with the objects of the classes, and the labels of the others. Raises MaskALError."""
    annotation = source.read(source.image)
    if annotation.misfit:  # what is written has the image's own size, so that nobody could see it any more
        raise AnnotationError(annotation.misfit)
    _, unknown = split_by_label(annotation, given.classes)
    if given.unknown_labels is None:
        checked = leave_out_unknown(annotation, given.classes, source.path)
    else:
        checked = check_labels(annotation, given.classes, given.unknown_labels, source.path)
    return checked, [instance.label for instance in unknown]
