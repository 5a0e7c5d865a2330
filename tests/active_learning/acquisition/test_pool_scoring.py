"""Values, files and going on; images are shared by ranks. A fake plays the network and the reading of images."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessRaisedException

from active_learning.acquisition.pool_scoring import Ranks, score_pool
from active_learning.acquisition.record_files import part, read_records, to_line
from active_learning.network.image_batches import ImageInput, UnreadableImage
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.observations import Detection, ForwardPasses, Mask
from active_learning.sampling.pool_record import PoolRecord, record_of
from detectron2.utils import comm
from tests.processes import spawn

NAMES = ["a.jpg", "sub/b, c.jpg", "grün.png", "d.png", "e.png", "f.png", "g.png"]
CONDITIONS = {"passes": 2, "seed": 0}


@dataclass
class Network:
    """Detects one object of a probability that follows from the name, in d.png nothing; notes what it was given."""

    faults: dict[str, str] = field(default_factory=dict)
    stop_before: str = ""
    seen: list[str] = field(default_factory=list)

    def read(self, names: Sequence[str]) -> Iterator[ImageInput | UnreadableImage]:
        for name in names:
            if name in self.faults:
                yield UnreadableImage(name, self.faults[name])
            else:
                yield ImageInput(name, {"bytes": np.frombuffer(name.encode(), dtype=np.uint8)})

    def score(self, image: ImageInput) -> PoolRecord:
        name, content = image.name, image.content["bytes"]
        if name == self.stop_before:
            raise KeyboardInterrupt
        self.seen.append(name)
        assert content.tobytes().decode() == name
        mask = Mask(0, 0, np.ones((4, 4), dtype=bool), 16)
        one = Detection(mask, np.array([0.0, 0.0, 3.0, 3.0]), np.array([1 / (len(name) + 1)]))
        passes = ((), ()) if name == "d.png" else ((one,), (one,))
        found = ForwardPasses(passes, np.array([content.mean(), 0.1], dtype=np.float32), 4, 4)
        return record_of(name, found, certainty_of(found.passes, iou_threshold=0.5, mode="mean"))


def score(network: Network, file: Path, names: Sequence[str] = NAMES, **options: Any) -> dict[str, PoolRecord]:
    return score_pool(names, network.read, network.score, records_file=file, **{"conditions": CONDITIONS, **options})


def lines(records: dict[str, PoolRecord]) -> list[str]:
    return [to_line(record) for record in records.values()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results" / "pool.jsonl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The file of an uninterrupted run of one process without workers."""
    path = tmp_path_factory.mktemp("whole") / "pool.jsonl"
    score(Network(), path)
    return path.read_bytes()


def test_what_is_on_disk_is_what_is_returned(file: Path):
    records = score(Network(), file)
    assert list(records) == NAMES
    assert records["a.jpg"].value == pytest.approx(1 / 6)
    assert math.isnan(records["d.png"].value)
    assert lines(read_records(file)) == lines(records)
    assert [path.name for path in file.parent.iterdir()] == ["pool.jsonl"]


@pytest.mark.parametrize("stop_before", NAMES)
def test_a_stopped_run_goes_on(file: Path, whole: bytes, stop_before: str):
    first = Network(stop_before=stop_before)
    with pytest.raises(KeyboardInterrupt):
        score(first, file)
    kept = list(read_records(file))
    assert kept == NAMES[: NAMES.index(stop_before)]
    second = Network()
    score(second, file)
    assert second.seen == NAMES[len(kept) :]
    assert file.read_bytes() == whole


def test_a_half_written_line_is_cut(file: Path, whole: bytes):
    with pytest.raises(KeyboardInterrupt):
        score(Network(stop_before="f.png"), file)
    own = part(file, 0)
    written = own.read_bytes()
    for cut in range(0, len(written), 37):
        own.write_bytes(written[: len(written) - cut])
        shutil.copy(own, own.with_name("kept"))
        score(Network(), file)
        assert file.read_bytes() == whole
        file.unlink()
        own.with_name("kept").replace(own)


def test_a_finished_pool_is_not_scored_again(file: Path, whole: bytes, caplog: pytest.LogCaptureFixture):
    score(Network(), file)
    again = Network()
    with caplog.at_level("INFO"):
        score(again, file)
    assert again.seen == []
    assert file.read_bytes() == whole
    assert f"{len(NAMES)} images scored before" in caplog.text


def test_an_image_that_was_replaced_is_looked_at_again(file: Path, whole: bytes, caplog: pytest.LogCaptureFixture):
    score(Network(), file)
    again = Network()
    with caplog.at_level("INFO"):
        score(again, file, is_current=lambda record: record.name != NAMES[1])
    assert again.seen == [NAMES[1]]
    assert file.read_bytes() == whole
    assert "1 image replaced or removed since the pool was scored" in caplog.text


def test_other_settings_score_again(file: Path, caplog: pytest.LogCaptureFixture):
    score(Network(), file)
    again = Network()
    with caplog.at_level(logging.INFO):
        score(again, file, conditions={"passes": 3, "seed": 0})
    assert again.seen == NAMES
    assert "The settings have changed" in caplog.text


def test_corrupt_image_is_named_once_and_left_out(file: Path, caplog):
    with caplog.at_level(logging.WARNING):
        records = score(Network({"a.jpg": "train/a.jpg: is damaged; replace it"}), file)
    assert list(records) == NAMES[1:]
    assert caplog.messages == [
        "train/a.jpg: is damaged; replace it; until then it is left out",
        "1 of 7 pool images could not be read and were left out",
    ]
    mended = Network()
    assert list(score(mended, file)) == NAMES
    assert mended.seen == ["a.jpg"]


def test_not_one_image_readable(file: Path, caplog):
    assert score(Network(dict.fromkeys(NAMES[:2], "no")), file, NAMES[:2]) == {}
    assert "2 of 2 pool images could not be read and were left out" in caplog.text
    assert list(score(Network(), file, NAMES[:2])) == NAMES[:2]


def test_images_that_left_the_pool_are_not_returned(file: Path):
    score(Network(), file)
    assert list(score(Network(), file, NAMES[1:2])) == NAMES[1:2]


def test_empty_pool(file: Path):
    assert score(Network(), file, []) == {}


def test_progress_bar(file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("active_learning.system.progress.SOON_DONE", 0)
    score(Network(), file)
    assert "7/7" in capfd.readouterr().err


def _rank(rank: int, rendezvous: str, folder: str, stop_before: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    try:
        ranks = Ranks(comm.get_rank(), comm.get_world_size(), comm.all_gather)
        network = Network({"f.png": "torn"} if folder.endswith("torn") else {}, stop_before)
        try:
            records = score(network, Path(folder) / "pool.jsonl", ranks=ranks)
        except KeyboardInterrupt:
            return
        torch.save((network.seen, lines(records)), Path(folder) / f"{rank}.pth")
    finally:
        dist.destroy_process_group()


def in_two_ranks(folder: Path, stop_before: str = "") -> list[tuple[list[str], list[str]]]:
    folder.mkdir(exist_ok=True)
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    spawn(_rank, args=(rendezvous.as_uri(), str(folder), stop_before), nprocs=2)
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def test_two_ranks_share_the_pool_and_end_with_the_same(tmp_path: Path, whole: bytes):
    (first, values), (second, values_of_second) = in_two_ranks(tmp_path / "two")
    assert (first, second) == (NAMES[::2], NAMES[1::2])
    assert values == values_of_second
    assert (tmp_path / "two" / "pool.jsonl").read_bytes() == whole
    assert not list((tmp_path / "two").glob("*.part*"))


def test_a_run_of_one_process_goes_on_in_two_and_the_other_way_round(tmp_path: Path, whole: bytes):
    one, two = tmp_path / "one", tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        score(Network(stop_before="d.png"), one / "pool.jsonl")
    (first, _), (second, _) = in_two_ranks(one)
    assert (first, second) == (["d.png", "f.png"], ["e.png", "g.png"])
    assert (one / "pool.jsonl").read_bytes() == whole

    with pytest.raises((FileNotFoundError, ProcessRaisedException)):
        in_two_ranks(two, stop_before="g.png")
    network = Network()
    score(network, two / "pool.jsonl")
    assert network.seen == ["g.png"]
    assert (two / "pool.jsonl").read_bytes() == whole


def test_the_first_rank_names_what_the_second_could_not_read(tmp_path: Path, capfd):
    (_, values), (second, _) = in_two_ranks(tmp_path / "torn")
    assert len(values) == 6
    assert second == ["sub/b, c.jpg", "d.png"]
    logged = capfd.readouterr().err
    assert logged.count("torn; until then it is left out") == 2  # the second rank's log is not muted here
    assert logged.count("1 of 7 pool images") == 1
