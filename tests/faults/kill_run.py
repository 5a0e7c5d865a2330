"""Ends whole runs at random moments, over and over, and checks that nothing is lost.

    python tests/faults/kill_run.py --kills 100 [--signal KILL TERM] [--work-ahead] [--tiles] [--workers 1] [--seed 1]

A run with two scripted persons is first let through undisturbed. Then runs of the same project are ended, by default
with SIGKILL to their whole process group, and started again, until they are through: each must choose the same images,
have each loop once in its csv, the same weights and no other files, and every annotation of the persons must be there,
byte for byte. One of them saves just
when files are collected, and once more afterwards. The runs take turns: all on one drive, the annotate folders on
another drive, a drive without hard links. The newest checkpoint of some training is cut short between two starts, as by
a power cut. Each signal has its own runs, kills and report.

Starts are forks of this process, which has imported everything: that saves most of the time of a start.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import maskAL  # noqa: E402
from active_learning.annotating import waiting  # noqa: E402
from active_learning.network import evaluation, mc_dropout, network_config, training  # noqa: E402, F401
from active_learning.run import lock as run_lock  # noqa: E402
from active_learning.system.files import DRAFT  # noqa: E402
from tests.faults.hasty_person import HastyPerson, is_of_hasty_person  # noqa: E402
from tests.faults.project import SIZE, SPLITS, Person, make_project  # noqa: E402

SECONDS_TO_END = 15.0
LONGEST_RUN = 300.0
POLL_SECONDS = 0.03
OTHER_DRIVE = Path("/dev/shm")  # noqa: S108


@dataclass
class Report:
    """What happened; `faults` is empty where nothing was lost."""

    kills: int = 0
    runs: int = 0
    in_phase: Counter[str] = field(default_factory=Counter)
    annotations: int = 0
    saves_while_collecting: int = 0
    drives: Counter[str] = field(default_factory=Counter)
    cut_checkpoints: int = 0
    slowest_end: float = 0.0
    faults: list[str] = field(default_factory=list)


class Run:
    """One run of a project, started as often as it takes."""

    def __init__(self, folder: Path, seed: int, settings: dict[str, object], drive: str = "one") -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.drive = drive
        make_project(folder, **settings)
        if drive == "another":
            self.other = Path(tempfile.mkdtemp(prefix="maskal_kill_", dir=OTHER_DRIVE))
            for split in SPLITS:
                (self.other / split).mkdir()
                (folder / "data" / split / "annotate").symlink_to(self.other / split)
        self.person = Person(folder, random.Random(seed), is_of_hasty_person)
        self.hasty = HastyPerson(folder, seed)
        self.hasty.start()
        self.results = folder / "results" / "exp1" / "uncertainty"
        self.process = 0

    def start(self) -> None:
        self.process = os.fork()
        if self.process:
            return
        os.setsid()
        log = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(self.folder)
        if self.drive == "without hard links":
            os.link = _no_hard_links
        code = 70  # a traceback
        try:
            code = maskAL.main(["--config", "maskAL.yaml"])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def clean_up(self) -> None:
        """Once what was made is compared; what is on another drive goes."""
        self.leave_nothing_running()
        self.hasty.stop()
        if self.drive == "another":
            shutil.rmtree(self.other)

    def leave_nothing_running(self) -> None:
        if self.process:
            os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = 0

    def end_of_process(self, deadline: float, most_changes: int = 0) -> int | None:
        """The exit code (minus the signal), or None where it still runs at the deadline. The person works meanwhile.

        So it is shortly after the n-th change on disk, where `most_changes` is such a number.
        """
        seen, changes = self.signature(), 0
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                self.process = 0
                return os.waitstatus_to_exitcode(status)
            self.person.work()
            now = self.signature()
            changes += now != seen
            seen = now
            if most_changes and changes >= most_changes:
                time.sleep(self.rng.uniform(0, 0.03))
                return None
            time.sleep(POLL_SECONDS)
        return None

    def signature(self) -> tuple[object, ...]:
        """Changes whenever the run writes its state, makes or removes a file, or moves one of the annotate folders."""
        state = self.results / "run_state.json"
        folders = [self.folder / "weights", self.folder / "results"]
        folders += [self.folder / "data" / split / "annotate" for split in ("train", "val", "test")]
        files = [Path(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names]
        ours = sorted(str(path) for path in files if path.suffix != ".json" or folders[1] in path.parents)
        return (state.stat().st_mtime_ns if state.exists() else 0, ours)

    def phase(self) -> str:
        state = self.results / "run_state.json"
        return json.loads(state.read_text(encoding="utf-8"))["phase"] if state.exists() else "start"

    def cut_a_checkpoint(self) -> bool:
        """The newest, where an older one is there."""
        points = sorted((self.folder / "weights").rglob("resume/*.pth"))
        if len(points) < 2 or self.rng.random() < 0.5:
            return False
        os.truncate(points[-1], points[-1].stat().st_size // 2)
        return True

    def chosen(self) -> dict[str, str]:
        """The scores and the images of each loop, what they scored, and a checksum of the weights."""
        files = [*self.results.glob("*.csv"), *self.results.glob("trainfiles_*.txt"), *self.results.glob("pool_*.csv")]
        found = {path.name: path.read_text(encoding="utf-8") for path in sorted(files)}
        weights = sorted((self.folder / "weights").rglob("*.pth"))
        return found | {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights}

    def left_over(self) -> list[Path]:
        """Tiles and drafts, of which none is needed any more."""
        return [*(self.folder / "weights").rglob("tiles"), *self.folder.rglob(f"*{DRAFT}")]

    def last_output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")[-3000:]


def _no_hard_links(*_: object, **__: object) -> None:
    raise PermissionError("this drive knows no hard links")


def drives(folder: Path) -> list[str]:
    """Those that there are here."""
    other = OTHER_DRIVE.is_dir() and OTHER_DRIVE.stat().st_dev != folder.stat().st_dev
    return ["one", "another", "without hard links"] if other else ["one", "without hard links"]


def undisturbed(run: Run) -> float:
    """Seconds that it took."""
    started = time.monotonic()
    run.start()
    if run.end_of_process(started + LONGEST_RUN) != 0:
        sys.exit(f"the undisturbed run failed:\n{run.last_output()}")
    return time.monotonic() - started


def disturbed(run: Run, seconds: float, number: int, report: Report, most_kills: int) -> None:
    """Ends it again and again, until it is through or there were enough kills; then it is let through."""
    while True:
        run.start()
        enough = report.kills >= most_kills
        by_change = run.rng.random() < 0.7
        longest = LONGEST_RUN if enough or by_change else run.rng.uniform(0, seconds / 3)
        changes = run.rng.randrange(1, 15) if by_change and not enough else 0
        code = run.end_of_process(time.monotonic() + longest, changes)
        if code is None and not enough:
            report.in_phase[run.phase()] += 1
            report.kills += 1
            code = _end(run, number, report)
        if code == 0:
            return
        if code not in (-signal.SIGKILL, 130):
            report.faults.append(f"{run.folder.name}: exit code {code}\n{run.last_output()}")
            return
        for _ in range(run.rng.randrange(20)):  # the person goes on while the program is down
            run.person.work()
        report.cut_checkpoints += run.cut_a_checkpoint()


def _end(run: Run, number: int, report: Report) -> int:
    started = time.monotonic()
    os.killpg(run.process, number) if number == signal.SIGKILL else os.kill(run.process, number)
    code = run.end_of_process(started + SECONDS_TO_END)
    report.slowest_end = max(report.slowest_end, time.monotonic() - started)
    if code is None:
        report.faults.append(f"{run.folder.name}: does not end within {SECONDS_TO_END:.0f} s of the signal")
        run.leave_nothing_running()
        return -signal.SIGKILL
    if code == -number and number != signal.SIGKILL:
        return 130  # before the program had taken over the signal
    return code


def compare(run: Run, expected: dict[str, str], report: Report) -> None:
    run.hasty.stop()
    report.annotations += len(run.person.made) + len(run.hasty.last)
    report.saves_while_collecting += sum(number - 1 for number in run.hasty.saves.values())
    report.drives[run.drive] += 1
    if lost := run.person.lost() | run.hasty.lost():
        report.faults.append(f"{run.folder.name}: {len(lost)} annotations lost, such as {sorted(lost)[0]!r}")
    report.faults += [f"{path} was left" for path in run.left_over()]
    found = run.chosen()
    for name in sorted({*expected, *found}):
        if found.get(name) != expected.get(name):
            report.faults.append(f"{run.folder.name}: {name} is\n{found.get(name)}\ninstead of\n{expected.get(name)}")


def ended_by(signal_name: str, whole: Run, seconds: float, arguments: argparse.Namespace) -> Report:
    """Runs that are ended by this signal, until there were enough kills or a fault; compared with the undisturbed."""
    expected, report = whole.chosen(), Report()
    compare(whole, expected, report)
    while report.kills < arguments.kills and not report.faults:
        report.runs += 1
        folder = whole.folder.with_name(f"{signal_name}{report.runs:03d}")
        kinds = drives(whole.folder)
        run = Run(folder, arguments.seed + report.runs, settings_of(arguments), kinds[report.runs % len(kinds)])
        try:
            disturbed(run, seconds, signal.Signals[f"SIG{signal_name}"], report, arguments.kills)
            if not report.faults:
                compare(run, expected, report)
        finally:
            run.clean_up()
        counts = f"{report.runs} runs, {report.kills} kills, {len(report.faults)} faults"
        print(f"{signal_name}: {counts}", file=sys.stderr, flush=True)
    return report


def settings_of(arguments: argparse.Namespace) -> dict[str, object]:
    """With work_ahead there are more loops, so that some have both batches."""
    ahead = {"work_ahead": True, "loops": 4} if arguments.work_ahead else {}
    tiles = {"tile_size": SIZE} if arguments.tiles else {}
    return {"num_workers": arguments.workers, **ahead, **tiles}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="by each signal")
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], nargs="+", default=["KILL"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--work-ahead", action="store_true", help="the next images are annotated while a loop trains")
    parser.add_argument("--tiles", action="store_true", help="images are larger than the network sees at once")
    parser.add_argument("--folder", type=Path, help="where the projects go; default: a temporary folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    waiting.POLL_SECONDS = waiting.ANSWER_POLL_SECONDS = 0.1
    waiting.QUIET_SECONDS = 0.3
    run_lock.SECONDS_FOR_THE_REST = 5.0
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="maskal_kill_"))
    whole = Run(folder / "undisturbed", arguments.seed, settings_of(arguments))
    try:
        seconds = undisturbed(whole)
    finally:
        whole.clean_up()
    reports = {name: ended_by(name, whole, seconds, arguments) for name in arguments.signal}
    print(json.dumps({name: vars(report) for name, report in reports.items()}, indent=1))
    return 1 if any(report.faults for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
