"""Reads damaged annotation files of every format, thousands of them, and watches for what must never happen.

    python tests/fuzz/fuzz_readers.py --files 100000 --format labelme --seed 7

Each file must be read, or refused with an AnnotationError, within a time and a memory limit, and without opening a
file outside its folder. Some of what is read is filled and written again in each format, under the same rules. A
failure is printed with the numbers that repeat it (--seed, --only), and its file is kept below --out. The exit code is
1 if there was any. The numbers repeat a failure where the same samples are there (../shared/formats adds some).
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from byte_mutations import mutate_bytes  # noqa: E402
from corpus import FORMATS, Sample, corpus  # noqa: E402
from json_mutations import mutate_json  # noqa: E402
from png_mutations import BOMBS, mutate_png  # noqa: E402
from word_mutations import mutate_words  # noqa: E402
from xml_mutations import mutate_xml  # noqa: E402

from active_learning.annotations import Annotation, codec_of, load_document  # noqa: E402
from active_learning.annotations.codec import CollectionCodec  # noqa: E402
from active_learning.annotations.contours import instance_bitmap  # noqa: E402
from active_learning.annotations.documents import kind_of_document  # noqa: E402
from active_learning.annotations.formats import codecs  # noqa: E402
from active_learning.annotations.yolo import label_text, read_labels  # noqa: E402
from active_learning.annotations.yolo_layout import looks_like_labels  # noqa: E402
from active_learning.annotations.yolo_names import read_names  # noqa: E402
from active_learning.errors import AnnotationError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MOST_FILLED = 2**22  # pixels; larger images are read only


class TrespassError(Exception):
    """A file was opened that is none of the reader's business."""


class TooLong(BaseException):  # noqa: N818
    """No Exception, so that no handler swallows it."""


class Watch:
    """Raises TrespassError where Python opens or lists anything outside `home`, while that is set."""

    def __init__(self) -> None:
        self.home: Path | None = None
        sys.addaudithook(self._notice)

    def _notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.home is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        if not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        home, self.home = self.home, None  # resolving opens files itself
        path = Path(os.fsdecode(arguments[0])).resolve()
        self.home = home
        if not path.is_relative_to(home) and path.suffix not in (".py", ".pyc"):
            raise TrespassError(f"{event}: {path}")


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TooLong(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(20 * seconds, exit=True)  # where C code never gives Python its turn
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def limit_memory(megabytes: int) -> None:
    """To that much more than the address space that is in use now."""
    import resource

    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def mutated(sample: Sample, rng: random.Random) -> dict[str, bytes]:
    """The sample's files with damage in one of them, mostly in the annotation."""
    name = sample.target
    others = sorted(set(sample.files) - {name})
    if others and rng.random() < 0.15:
        name = rng.choice(others)
    content = sample.files[name]
    if rng.random() < 0.25:
        return {**sample.files, name: mutate_bytes(content, rng)}
    if name.endswith(".png"):
        return {**sample.files, name: mutate_png(content, rng)}
    if name.endswith((".txt", ".yaml")):
        return {**sample.files, name: mutate_words(content, rng)}
    try:
        changed = mutate_xml(content, rng) if name.endswith(".xml") else mutate_json(content, rng)
    except (ParseError, ValueError, RecursionError):  # a mutation of a mutation need not be whole
        changed = mutate_bytes(content, rng)
    return {**sample.files, name: changed}


def read_all(path: Path, image: str, size: tuple[int, int] | None) -> list[Annotation]:
    """As the program reads: by the codec that recognises the content; raises AnnotationError."""
    if path.suffix == ".txt":
        return [_read_yolo(path, image, size or (40, 60))]
    document = load_document(path)
    kind_of_document(document)
    codec = codec_of(document)
    if codec is None:
        raise AnnotationError("of no format")
    codec.image_name(document)
    if not isinstance(codec, CollectionCodec):
        return [codec.read(document, path=path, image=image, size=size)]
    collection = codec.images_of(document, path)
    found = []
    for name in collection.images:
        with contextlib.suppress(AnnotationError):
            found.append(collection.read(name, size=size))
    return found


def _read_yolo(path: Path, image: str, size: tuple[int, int]) -> Annotation:
    """With the names of classes that lie beside it; raises AnnotationError."""
    looks_like_labels(path)
    names = read_names(path.with_name("data.yaml"))
    if names is None:
        raise AnnotationError("no names of classes")
    return read_labels(path, names, image=image, size=size)


def use(annotation: Annotation, folder: Path, rng: random.Random) -> None:
    """Fills the objects' outlines and writes them in every format."""
    for instance in annotation.instances:
        bitmap = instance_bitmap(instance, annotation.height, annotation.width)
        rows, columns = bitmap.mask.shape
        inside = 0 <= bitmap.x <= annotation.width - columns and 0 <= bitmap.y <= annotation.height - rows
        assert inside or not bitmap.mask.size, "a mask lies outside the image"
    for name, codec in codecs().items():
        with contextlib.suppress(AnnotationError):
            codec.write(annotation, folder / f"{name}.out", max_polygon_error=rng.choice((0.0, 0.5, 1.0, 3.0)))
    numbers = {label: number for number, label in enumerate(dict.fromkeys(one.label for one in annotation.instances))}
    label_text(annotation, numbers, max_polygon_error=rng.choice((0.0, 1.0)))


class Fuzzer:
    """Damages, reads and counts; `folder` is a folder of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder.resolve()
        self.watch = Watch()
        self.outcomes: Counter[str] = Counter()
        self.slowest = (0.0, 0)  # seconds, number
        (self.folder / "outside.png").write_bytes(BOMBS[0])

    def run(self, name: str, samples: list[Sample], number: int) -> str | None:
        """What went wrong with the mutation of that number, None where nothing did."""
        rng = random.Random(f"{self.options.seed} {name} {number}")
        sample = rng.choice(samples)
        files = mutated(sample, rng)
        home = self.folder / name / str(samples.index(sample))
        path = self._lay_out(home, files, sample)
        size = rng.choice((None, None, (40, 60), (120, 160), (1, 1)))
        started = time.perf_counter()
        try:
            with time_limit(self.options.seconds):
                self._read(path, home, sample, size, rng)
        except Exception:  # noqa: BLE001 (the point of it all)
            return self._keep(name, number, path, files, sample)
        except TooLong:
            return self._keep(name, number, path, files, sample)
        finally:
            self.watch.home = None
            self.slowest = max(self.slowest, (time.perf_counter() - started, number))
        return None

    def _lay_out(self, home: Path, files: dict[str, bytes], sample: Sample) -> Path:
        if not home.exists():
            for file in files:
                (home / file).parent.mkdir(parents=True, exist_ok=True)
            masks = home / "Masks"
            if masks.is_dir():
                (masks / "link.png").symlink_to(self.folder / "outside.png")
        for file, content in files.items():
            (home / file).write_bytes(content)
        return home / sample.target

    def _read(self, path: Path, home: Path, sample: Sample, size: Any, rng: random.Random) -> None:
        self.watch.home = home
        try:
            annotations = read_all(path, sample.image, size)
        except AnnotationError as fault:
            assert str(fault), "an error without a word"
            self.outcomes["refused"] += 1
            return
        whole = not any(one.warnings for one in annotations)
        self.outcomes["read" if whole else "read with warnings"] += 1
        if rng.random() < self.options.use:
            for annotation in annotations[:3]:
                if annotation.height * annotation.width <= MOST_FILLED:
                    use(annotation, home / "written", rng)

    def _keep(self, name: str, number: int, path: Path, files: dict[str, bytes], sample: Sample) -> str:
        self.watch.home = None
        self.outcomes["FAILED"] += 1
        kept = self.options.out / f"{name}-{self.options.seed}-{number}"
        for file, content in files.items():
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            (kept / file).write_bytes(content)
        again = f"--format {name} --seed {self.options.seed} --only {number}"
        return f"{traceback.format_exc(limit=-8)}repeat with {again}; the file is {kept / sample.target}"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Read damaged annotation files; see the top of this file.")
    parser.add_argument("--files", type=int, default=10_000, help="damaged files a format (default 10000)")
    parser.add_argument("--format", choices=FORMATS, action="append", help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=0, help="another seed damages otherwise")
    parser.add_argument("--only", type=int, help="the damaged file of this number alone")
    parser.add_argument("--seconds", type=float, default=5, help="time limit of a file (default 5)")
    parser.add_argument("--memory", type=int, default=2000, help="memory limit in MB (default 2000)")
    parser.add_argument("--use", type=float, default=0.1, help="share of files filled and written again (default 0.1)")
    parser.add_argument("--out", type=Path, default=Path("fuzz_failures"), help="where files that failed are kept")
    parser.add_argument("--most-failures", type=int, default=10, help="a format is left after as many (default 10)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    samples = corpus(ROOT.parent / "shared" / "formats")
    limit_memory(options.memory)
    os.fsync = lambda file: None  # nothing here has to outlast a power cut
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(options, Path(folder))
        for name in options.format or FORMATS:
            fuzzer.outcomes, fuzzer.slowest, started = Counter(), (0.0, 0), time.perf_counter()
            for number in range(options.files) if options.only is None else [options.only]:
                failure = fuzzer.run(name, samples[name], number)
                if failure:
                    print(failure, flush=True)
                if number % 10_000 == 9_999:
                    print(f"{name}: {number + 1} files", file=sys.stderr)
                if fuzzer.outcomes["FAILED"] >= options.most_failures:
                    break
            failures += fuzzer.outcomes["FAILED"]
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(fuzzer.outcomes.items()))
            seconds = time.perf_counter() - started
            slowest = "slowest {:.2f} s (number {})".format(*fuzzer.slowest)
            print(f"{name}: seed {options.seed}: {counts}; {slowest}, all {seconds:.0f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
