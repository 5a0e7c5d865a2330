"""The label check of a run: of the validation and test images after each training, and of new training images once they
are collected, before a network is trained on them. No network was trained on what it checks.

It changes no annotation, and what goes wrong in it is a warning: the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from active_learning.annotations.coco import CocoImage
from active_learning.annotations.odd_objects import ODDITIES, odd_objects
from active_learning.errors import MaskALError, first_line
from active_learning.label_check.comparison import outlines_of
from active_learning.label_check.findings import LISTED, LabelFinding, Split, ranked
from active_learning.label_check.judge import Suspicion, in_words, judge
from active_learning.label_check.passes import (
    AnnotatedImages,
    ComparedImage,
    compare_images,
    digest_of,
    labelled_object,
)
from active_learning.label_check.pictures import write_pictures
from active_learning.label_check.results import (
    CheckResults,
    read_detected,
    read_results,
    write_detected,
    write_results,
)
from active_learning.run.data import MEASURED, SPLITS
from active_learning.run.run import Run
from active_learning.run.weights import weights_of
from active_learning.system.log import logger
from active_learning.system.processes import run_on_all_ranks
from active_learning.system.wording import counted

SEEN_FROM = 0.05  # the score from which a detection counts; what is below that is not seen


def check_measured_images(run: Run) -> None:
    """The validation and test images, with the network that this loop has trained; once a loop."""
    _without_failing(run, _check_measured)


def check_new_images(run: Run) -> None:
    """The images that this loop has added, with the newest network, of the loop before; once a loop."""
    if run.state.loop and run.state.chosen:
        _without_failing(run, _check_new)


def _without_failing(run: Run, check: Callable[[Run], None]) -> None:
    if not run.settings.label_check:
        return
    try:
        check(run)
    except Exception as error:  # noqa: BLE001 (a check of what is done is no reason to stop a run of days)
        reason = str(error) if isinstance(error, MaskALError) else f"{type(error).__name__}: {first_line(error)}"
        logger.warning("The label check could not be made; the run goes on without: %s", reason)


def _check_measured(run: Run) -> None:
    results = read_results(run.files)
    if results.measured != run.state.loop:  # it is larger where a person has put back an earlier state
        checked = _detect_in_measured_images(run, run.state.loop)
        _update(run, replace(results, measured=run.state.loop), judge(checked, len(run.settings.classes)), checked)


def _check_new(run: Run) -> None:
    results, network = read_results(run.files), run.state.loop - 1
    if results.batch != run.state.loop:
        reference = _of_measured_images(run, network)
        new = _compared(run, {"train": sorted(run.state.chosen)}, network)
        found = judge([*reference, *new], len(run.settings.classes))
        of_new = [one for one in found if one.image.split == "train"]
        _update(run, replace(results, batch=run.state.loop), of_new, new)


def _of_measured_images(run: Run, loop: int) -> list[ComparedImage]:
    """What the network of a loop detected in the validation and test images."""
    known = read_detected(run.files, loop, len(run.settings.classes))
    return _detect_in_measured_images(run, loop) if known is None else known


def _detect_in_measured_images(run: Run, loop: int) -> list[ComparedImage]:
    """It is kept, as the check of new images learns from it how often the network is wrong."""
    found = _compared(run, {split: run.data.images(split) for split in MEASURED}, loop)
    write_detected(run.files, loop, found)
    return found


def _compared(run: Run, images: Mapping[str, Sequence[str]], loop: int) -> list[ComparedImage]:
    """The images of each split with what the network of a loop detects in them."""
    cfg = run.network.config.clone()
    heads = cfg.MODEL.ROI_HEADS
    heads.SCORE_THRESH_TEST = min(SEEN_FROM, heads.SCORE_THRESH_TEST)
    annotated = [
        AnnotatedImages(split, run.data.folder(split), tuple(run.data.annotated(split, names).values()))
        for split, names in images.items()
    ]
    count = sum(len(one.images) for one in annotated)
    logger.info("Checking the annotations of %s (%s)", counted(count, "image"), " and ".join(images))
    found, fault = run_on_all_ranks(
        compare_images,
        cfg,
        weights_of(run.files, loop),
        annotated,
        classes=run.settings.classes,
        passes=run.experiment.mcd_iterations,
        seed=run.experiment.seed,
        iou_threshold=run.settings.iou_thres,
    )
    if fault:
        raise MaskALError(fault)
    return sorted(found, key=lambda one: (one.split, one.name))


def _update(run: Run, results: CheckResults, found: Sequence[Suspicion], checked: Sequence[ComparedImage]) -> None:
    """Adds what was found to what is known of other images, as long as their annotations are the same."""
    annotated = {split: run.data.annotated(split, _images_of(run, split)) for split in SPLITS}
    anew = {(one.split, one.name) for one in checked}
    kept = [one for one in results.findings if (one.split, one.image) not in anew and one.finding not in ODDITIES]
    kept = [one for one in kept if digest_of(annotated[one.split].get(one.image)) == one.digest]
    now = [(one, annotated[one.image.split].get(one.image.name)) for one in found if one.certainty >= LISTED]
    new = [_finding(run, one, image) for one, image in now if image and digest_of(image) == one.image.digest]
    odd = [one for split in SPLITS for one in _odd(run, split, annotated[split])]
    results = replace(results, findings=tuple(ranked([*kept, *new, *odd])))
    likely = results.likely
    _write_pictures(run, likely)
    write_results(run.files, results)
    if likely:
        verb, sure = "looks" if len(likely) == 1 else "look", sum(one.is_sure for one in likely)
        text = f"{counted(len(likely), 'annotation')} {verb} wrong ({sure} sure){results.beside}"
        logger.info("%s: %s", text, run.files.label_findings)


def _write_pictures(run: Run, likely: Sequence[LabelFinding]) -> None:
    """The findings are worth more: they are written whatever becomes of the pictures."""
    try:
        write_pictures(
            run.files.label_check, likely, lambda one: run.data.folder(one.split) / one.image, run.settings.most_pixels
        )
    except OSError as error:
        logger.warning("The report will show no pictures of annotations that look wrong: %s", error)


def _images_of(run: Run, split: str) -> list[str]:
    return run.present_train_images if split == "train" else run.data.images(split)


def _finding(run: Run, one: Suspicion, image: CocoImage) -> LabelFinding:
    number = one.match.number
    annotated = labelled_object(image, number, run.settings.classes) if number >= 0 else None
    return LabelFinding(
        image=image.name,
        split=one.image.split,
        place=image.origins[number] if number >= 0 else "",
        label=image.labels[number] if number >= 0 else "",
        finding=one.kind,
        expected=in_words(one, run.settings.classes, run.experiment.mcd_iterations),
        box=one.match.box,
        certainty=round(one.certainty, 4),
        loop=run.state.loop,
        digest=one.image.digest,
        annotated=outlines_of(annotated.mask) if annotated else (),
        detected=outlines_of(one.match.observed) if one.match.observed else (),
    )


def _odd(run: Run, split: Split, images: Mapping[str, CocoImage]) -> Iterator[LabelFinding]:
    for one in odd_objects(images.values()):
        if one.certainty < LISTED:
            continue
        image = images[one.image]
        yield LabelFinding(
            image=image.name,
            split=split,
            place=image.origins[one.number],
            label=image.labels[one.number],
            finding=one.oddity,
            expected=one.expected,
            box=one.box,
            certainty=round(one.certainty, 4),
            loop=run.state.loop,
            digest=digest_of(image),
            annotated=outlines_of(labelled_object(image, one.number, run.settings.classes).mask),
        )
