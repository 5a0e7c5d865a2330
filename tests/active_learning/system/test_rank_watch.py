"""A rank ends, and the others learn of it: through sockets of this machine, which two machines would use too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener, Pipe
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch.distributed as dist

from active_learning.errors import FailedElsewhere, MaskALError, RankEndedError
from active_learning.system import processes, rank_watch
from active_learning.system.exit_code import exit_code_of
from active_learning.system.processes import run_on_all_ranks, run_on_devices
from active_learning.system.rank_watch import Ended, RankWatch, watched_ranks
from detectron2.utils import comm
from tests.processes import hide_gpus, spawn

GLOO = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:17")


@pytest.fixture
def watch(monkeypatch):
    """That of this rank, a connection to its neighbour, and the exit codes with which it would have ended."""
    monkeypatch.setattr(rank_watch, "SECONDS_TO_END", 0.2)
    monkeypatch.setattr(rank_watch, "SECONDS_TO_HEAR", 5.0)
    codes: list[int] = []
    one, (here, there) = RankWatch("Rank 0 (of a)", codes.append), Pipe()
    monkeypatch.setattr(rank_watch, "_keep_alive", lambda connection: None)
    one.listen(here, "Rank 1 (of b)")
    return one, there, codes


def eventually(fact) -> bool:
    deadline = time.monotonic() + 20
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(fact())


def test_a_rank_that_is_stuck_is_ended_with_the_name_and_the_reason_of_the_other(watch, capsys):
    _, neighbour, codes = watch
    neighbour.send(Ended("Rank 1 (of b)", "CUDA out of memory in training", 1))
    assert eventually(lambda: codes == [1])
    assert "Rank 1 (of b) has ended, and with it the run: CUDA out of memory in training" in capsys.readouterr().err


def test_a_process_that_vanishes_is_named(watch, capsys):
    _, neighbour, codes = watch
    neighbour.close()
    assert eventually(lambda: codes == [1])
    assert "Rank 1 (of b) has ended, and with it the run: its process was ended from outside" in capsys.readouterr().err


def test_a_rank_that_has_done_its_work_ends_nobody(watch):
    one, neighbour, codes = watch
    neighbour.send(None)
    one.close()
    assert neighbour.recv() is None
    neighbour.close()
    time.sleep(0.5)
    assert codes == []
    assert one.ended is None


def test_the_first_failure_is_handed_on(watch):
    one, neighbour, _ = watch
    (here, there), failure = Pipe(), Ended("Rank 1 (of b)", "diverged")
    one.listen(here, "Rank 2 (of c)")
    neighbour.send(failure)
    assert there.recv() == failure


@pytest.mark.parametrize("error", [GLOO, dist.DistBackendError("NCCL communicator was aborted")], ids=["gloo", "NCCL"])
def test_an_echo_of_another_failure_is_known_as_one(watch, error):
    one, neighbour, _ = watch
    neighbour.send(Ended("Rank 1 (of b)", "diverged"))
    try:
        raise MaskALError("training failed") from error
    except MaskALError as outer:
        assert one.ended_behind(outer) == Ended("Rank 1 (of b)", "diverged")
    assert one.ended_behind(MaskALError("the disk is full")) is None


def alone(value):
    return [value, value]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MaskALError("a.png: is damaged."), ("a.png: is damaged", 1)),
        (KeyboardInterrupt(), ("it was interrupted", 130)),
        (ZeroDivisionError("a bug\nmore"), ("ZeroDivisionError: a bug", 1)),
    ],
    ids=["message", "interrupted", "bug"],
)
def test_own_failures_are_reported_with_their_reason(monkeypatch, error, expected):
    sent = []
    monkeypatch.setattr(RankWatch, "_send", lambda self, message: sent.append(message))
    with pytest.raises(type(error)), watched_ranks(0, 2, alone):
        raise error
    assert (sent[0].reason, sent[0].exit_code) == expected
    assert sent[0].name.startswith("Rank 0 (")


def test_an_end_that_the_main_process_asked_for_is_no_failure(monkeypatch):
    sent = []
    monkeypatch.setattr(RankWatch, "_send", lambda self, message: sent.append(message))
    with pytest.raises(FailedElsewhere), watched_ranks(0, 2, alone):
        raise FailedElsewhere(3)
    assert sent == [None]


def end_rank_1(how: str) -> None:
    """Rank 0 waits as in NCCL, which does not see that its neighbour is gone."""
    if comm.get_rank() == 0:
        time.sleep(300)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise MaskALError("CUDA out of memory in training at the image a.png")


def program(folder: Path, how: str) -> None:
    (folder / "begun").touch()
    run_on_all_ranks(end_rank_1, how)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.timeout(100)
@pytest.mark.parametrize("how", ["killed", "failed"])
def test_where_a_rank_dies_the_others_end_within_a_minute(tmp_path, monkeypatch, capfd, how):
    hide_gpus(monkeypatch)
    monkeypatch.setattr(processes, "gpu_count", lambda devices: 2)
    monkeypatch.setattr("torch.multiprocessing.spawn", spawn)
    started = time.monotonic()
    assert exit_code_of(run_on_devices, "0,1", program, tmp_path, how) == 1
    assert time.monotonic() - started < 60
    assert (
        "SIGKILL" if how == "killed" else "CUDA out of memory in training at the image a.png"
    ) in capfd.readouterr().err


SCRIPT = """
import sys
from pathlib import Path
from active_learning.system import rank_watch
from active_learning.system.exit_code import exit_code_of
from active_learning.system.processes import run_on_devices
from tests.active_learning.system.test_rank_watch import program

rank_watch.SECONDS_TO_END = 1.0

if __name__ == "__main__":
    sys.exit(exit_code_of(run_on_devices, "cpu", program, Path(sys.argv[1]), "killed"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.timeout(150)
def test_two_machines_end_together(tmp_path, project_root):
    """Each has a torchrun of its own; that of the first does not see what happens on the second."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    machines = [
        subprocess.Popen(
            [*torchrun, f"--node-rank={number}", str(tmp_path / "script.py"), str(tmp_path)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        reports = [machine.communicate(timeout=120)[1] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert f"Rank 1 (processor of {socket.gethostname()}) has ended, and with it the run: its process" in reports[0]
    assert machines[0].returncode == 1


def test_the_error_has_the_exit_code_of_the_rank_that_ended(capsys):
    def fail():
        raise RankEndedError("Rank 1 has ended", 130)

    assert exit_code_of(fail) == 130
    assert "Rank 1 has ended" in capsys.readouterr().err


class Gathering:
    """Two ranks in two threads of this process exchange what each gives."""

    def __init__(self):
        self.given, self.both = {}, threading.Barrier(2)

    def of(self, rank):
        def gather(value):
            self.given[rank] = value
            self.both.wait(20)
            return [self.given[0], self.given[1]]

        return gather


def two_connected(monkeypatch, **environment) -> list[RankWatch]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    gathering = Gathering()
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(rank_watch._connected, rank, 2, gathering.of(rank)) for rank in (0, 1)]
        return [future.result(30) for future in futures]


OF_ONE = {"LOCAL_WORLD_SIZE": "1"}  # processes on this machine
TWO_MACHINES = {**OF_ONE, "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "x"}


@pytest.mark.parametrize("machines", [{}, TWO_MACHINES, OF_ONE], ids=["one", "two", "one, by a cluster's variables"])
def test_ranks_find_each_other(monkeypatch, machines):
    main, worker = two_connected(monkeypatch, **machines)
    assert eventually(lambda: main.connected)
    worker.close(Ended("Rank 1 (of b)", "diverged"))
    assert eventually(lambda: main.ended is not None)
    assert main.ended == Ended("Rank 1 (of b)", "diverged")
    main.close()


def test_a_stranger_is_refused_and_does_not_take_a_place(monkeypatch, caplog):
    listener = Listener(("127.0.0.1", 0), "AF_INET", 2, authkey=b"secret")
    main = RankWatch("Rank 0 (of a)")
    accepting = threading.Thread(target=rank_watch._accept, args=(main, listener, ("a", "b")), daemon=True)
    accepting.start()
    with caplog.at_level("WARNING"), pytest.raises(AuthenticationError):
        Client(listener.address, "AF_INET", authkey=b"guessed")
    with Client(listener.address, "AF_INET", authkey=b"secret") as neighbour:
        neighbour.send(1)
        accepting.join(20)
        assert main.connected
        main.close()
    assert "A process that wanted to join the run was refused" in caplog.text


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("refused"), EOFError(), AuthenticationError("another's")], ids=repr
)
def test_a_machine_that_cannot_be_reached_is_warned_of(monkeypatch, caplog, error):
    monkeypatch.setattr(rank_watch, "Client", Mock(side_effect=error))
    with caplog.at_level("WARNING"):
        main, worker = two_connected(monkeypatch)
    assert not worker.connected
    assert "cannot be watched" in caplog.text
    assert "should it end, this process may wait on" in caplog.text
    main.close()
