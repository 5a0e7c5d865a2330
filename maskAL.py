"""MaskAL: train Mask R-CNN with a fraction of the annotation work.

    python maskAL.py --config maskAL.yaml [KEY VALUE ...]

The whole program is in `run_experiment`. Exit codes: 0 done, 1 failure while running, 2 wrong settings or usage,
3 annotations are awaited, 130 interrupted (what was done is kept: the same command, without --fresh, goes on).
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning import __version__
from active_learning.system.devices import show_devices
from active_learning.system.exit_code import exit_code_of, is_main_process
from active_learning.system.log import print_result
from active_learning.system.processes import run_on_devices

if TYPE_CHECKING:
    from active_learning.loop import ActiveLearningLoop
    from active_learning.settings import Settings


def run_experiment(loop: ActiveLearningLoop) -> None:
    """Each method is a phase; one that an interrupted run has behind it is passed over."""
    with loop.run.going_on():
        loop.prepare_data()
        while not loop.finished:
            loop.annotate()
            loop.train()
            loop.evaluate()
            loop.choose_images()
        loop.report()


def run(settings: Settings, arguments: argparse.Namespace) -> None:
    show_devices(settings.cuda_visible_devices)
    run_on_devices(settings.cuda_visible_devices, run_experiments, settings, arguments)


def run_experiments(settings: Settings, arguments: argparse.Namespace) -> None:
    """One after the other; further processes take part in training, evaluating and scoring the pool."""
    from active_learning.loop import ActiveLearningLoop
    from active_learning.report.comparison_tables import log_comparison
    from active_learning.run.checks import check_start
    from active_learning.run.lock import only_run
    from active_learning.run.own_folders import start_over
    from active_learning.settings import load_settings

    check_start(settings, fresh=arguments.fresh, settings_file=arguments.config)
    with only_run(settings):
        if arguments.fresh:
            start_over(settings)
        read = functools.partial(load_settings, arguments.config, arguments.overrides, done_with=what_it_started_from)
        done: set[str] = set()
        while left := [experiment for experiment in settings.experiments() if experiment.name not in done]:
            loop = ActiveLearningLoop(settings, left[0], wait=not arguments.no_wait, read_settings=read)
            run_experiment(loop)
            done.add(left[0].name)
            settings = loop.run.settings  # the lists of experiments may have been edited meanwhile
        log_comparison(settings.resultsroot / settings.experiment_name)


def check(settings: Settings, arguments: argparse.Namespace) -> None:
    from active_learning.run.check import describe_run

    print_result(describe_run(settings, fresh=arguments.fresh, deep=arguments.deep, settings_file=arguments.config))


def status(settings: Settings, _: argparse.Namespace) -> None:
    from active_learning.run.status import describe_status

    print_result(describe_status(settings))


def find_batch_size(settings: Settings, _: argparse.Namespace) -> None:
    show_devices(settings.cuda_visible_devices)
    from active_learning.run.batch_size import describe_batch_size

    print_result(describe_batch_size(settings))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="maskAL.py",
        description="Train Mask R-CNN on a few annotated images, choose the images that teach it most, have only those "
        "annotated, and train again. A run that was interrupted goes on where it was.",
    )
    parser.add_argument("--version", action="version", version=f"MaskAL {__version__}")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings file, such as maskAL.yaml")
    parser.add_argument("--fresh", action="store_true", help="start over; an earlier run is moved aside, not deleted")
    parser.add_argument("--no-wait", action="store_true", help="exit with 3 instead of waiting for annotations")
    parser.add_argument("--check", action="store_true", help="check settings, folders and annotations; train nothing")
    parser.add_argument("--deep", action="store_true", help="with --check: load the weights, decode every image, too")
    parser.add_argument("--status", action="store_true", help="show where the run stands")
    parser.add_argument("--find-batch-size", action="store_true", help="show how large train_batch_size can be")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings that replace those of the file")
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.deep and not parsed.check:
        parser.error("--deep belongs to --check")
    if parsed.fresh and (parsed.status or parsed.find_batch_size):
        parser.error("--fresh belongs to a run or to --check")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code_of(run_command, parse_arguments(arguments))


def what_it_started_from(settings: Settings) -> set[str]:
    """Keys whose folders and files a run that goes on does not need any more."""
    from active_learning.run.project import done_with

    return done_with(settings)


def run_command(parsed: argparse.Namespace) -> None:
    from active_learning.settings import load_settings

    begins = parsed.fresh or parsed.find_batch_size
    settings = load_settings(
        parsed.config,
        parsed.overrides,
        check_paths=not parsed.status,
        done_with=(lambda _: ()) if begins else what_it_started_from,
    )
    if not (parsed.check or parsed.status or parsed.find_batch_size):
        run(settings, parsed)
    elif is_main_process():
        (check if parsed.check else status if parsed.status else find_batch_size)(settings, parsed)


if __name__ == "__main__":
    sys.exit(main())
