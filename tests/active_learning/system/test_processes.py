"""What several processes do together, and how they end; gloo on the CPU plays the GPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.system import processes
from active_learning.system.processes import exit_code_of, run_on_all_ranks, run_on_devices
from detectron2.utils import comm
from tests.processes import METHOD, hide_gpus, spawn

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def test_one_process_does_everything_itself():
    seen = []
    run_on_devices("cpu", seen.append, 1)
    run_on_devices("0", seen.append, 2)
    assert seen == [1, 2]
    assert run_on_all_ranks(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize(
    ("there", "devices", "count"), [(0, "0,1", 0), (1, "0", 1), (2, "0,1", 2), (2, "cpu", 0), (3, "GPU-a,MIG-b", 2)]
)
def test_as_many_processes_as_gpus_are_named(monkeypatch, there, devices, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    started = []
    monkeypatch.setattr(processes, "_spawn", lambda count, program, args: started.append(count))
    run_on_devices(devices, started.append, 0)
    assert started == [count if count > 1 else 0]


def write_rank(folder: Path, text: str) -> int:
    (folder / f"{text}{comm.get_rank()}").write_text(str(sum(comm.all_gather(comm.get_rank() + 1))), encoding="utf-8")
    return comm.get_rank()


def fail_on_all_ranks() -> None:
    raise MaskALError("diverged")


def program(folder: Path, ending: str) -> None:
    torch.set_num_threads(1)
    (folder / f"program{comm.get_rank()}").touch()
    assert run_on_all_ranks(write_rank, folder, "call") == 0
    assert run_on_all_ranks(write_rank, folder, text="again") == 0
    if ending == "awaited":
        raise AnnotationsAwaited("a.png is awaited")
    if ending == "interrupted":
        raise KeyboardInterrupt
    if ending == "on all ranks":
        run_on_all_ranks(fail_on_all_ranks)
    if ending == "bug":
        raise ZeroDivisionError("a bug")


ENDINGS = {"done": 0, "awaited": 3, "interrupted": 130, "on all ranks": 1}


@pytest.fixture
def two_gpus(monkeypatch):
    """Two processes are spawned, as for two GPUs; on the CPU, however many GPUs the machine has."""
    hide_gpus(monkeypatch)
    monkeypatch.setattr(processes, "gpu_count", lambda devices: 2)
    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)


@pytest.mark.parametrize("ending", ENDINGS)
def test_spawned_workers_end_as_the_main_process_does(tmp_path, two_gpus, capfd, ending):
    assert exit_code_of(run_on_devices, "0,1", program, tmp_path, ending) == ENDINGS[ending]
    expected = {"program0", "call0", "call1", "again0", "again1"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert (tmp_path / "call1").read_text(encoding="utf-8") == "3"
    err = capfd.readouterr().err
    assert err.count("a.png is awaited") == (ending == "awaited")
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_spawned_process_can_be_answered_at_the_terminal(monkeypatch):
    seen = []
    monkeypatch.setattr(processes, "_run_rank", lambda program, args: program(*args))
    monkeypatch.setattr(sys, "stdin", None)
    (person, terminal), before = os.openpty(), os.dup(0)
    os.dup2(terminal, 0)
    try:
        processes._run_spawned_rank(lambda: seen.append(os.isatty(sys.stdin.fileno())), ())
    finally:
        os.dup2(before, 0)
        for number in (person, terminal, before):
            os.close(number)
    assert seen == [True]


def test_a_worker_holds_no_memory_while_it_waits(monkeypatch):
    seen = []
    orders = iter([processes._Call(seen.append, ("call",), {}), processes._End(0)])
    monkeypatch.setattr(comm, "all_gather", lambda _: [next(orders)])
    monkeypatch.setattr(processes, "mute_log", lambda: None)
    monkeypatch.setattr(processes, "release_gpu_memory", lambda: seen.append("released"))
    processes._run_worker()
    assert seen == ["call", "released"]


def test_a_bug_in_a_spawned_process_is_shown(tmp_path, two_gpus):
    with pytest.raises(Exception, match="ZeroDivisionError: a bug"):
        run_on_devices("0,1", program, tmp_path, "bug")


def test_a_process_that_the_system_killed(two_gpus, monkeypatch, capsys):
    def launch(*arguments):
        raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 1234, -9)

    monkeypatch.setattr(processes, "_launch", launch)
    assert exit_code_of(run_on_devices, "0,1", program) == 1
    assert "a process was ended from outside (process 1 terminated with signal SIGKILL)" in capsys.readouterr().err


SCRIPT = """
import sys, time
from pathlib import Path
from active_learning.system.processes import exit_code_of, run_on_devices
from tests.active_learning.system.test_processes import program

def wait(folder, ending):
    program(folder, "")
    while not (folder / "go on").exists():
        time.sleep(0.1)
    program(folder, ending)

if __name__ == "__main__":
    folder, ending = Path(sys.argv[1]), sys.argv[2]
    code = exit_code_of(run_on_devices, "cpu", wait if "wait" in sys.argv else program, folder, ending)
    import os
    (folder / f"code{os.environ['RANK']}").write_text(str(code), encoding="utf-8")
    sys.exit(code)
"""


def under_torchrun(folder: Path, project_root: Path, *arguments: str) -> subprocess.Popen:
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1", **NO_GPU}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen(
        [*torchrun, str(script), str(folder), *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


SPAWNING = """
import sys, time
from pathlib import Path
from active_learning.system import processes
from active_learning.system.processes import exit_code_of, run_on_devices
from tests.active_learning.system.test_processes import program

def wait(folder):
    program(folder, "")
    (folder / "waits").touch()
    time.sleep(120)

if __name__ == "__main__":
    processes.gpu_count = lambda devices: 2
    sys.exit(exit_code_of(run_on_devices, "0,1", wait, Path(sys.argv[1])))
"""


def test_sigterm_to_the_first_ends_the_others_too(tmp_path, project_root):
    (tmp_path / "script.py").write_text(SPAWNING, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1", **NO_GPU}
    process = subprocess.Popen(
        [sys.executable, "script.py", str(tmp_path)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "waits").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.count("Interrupted") == err.count("Interrupted. Nothing is lost") == 1
        assert not psutil.wait_procs(children, timeout=10)[1]
    finally:
        process.kill()
        process.communicate()


def ignore_sigterm(ready) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.set()
    time.sleep(120)


def test_a_process_that_ignores_the_signal_is_ended(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    context = multiprocessing.get_context(METHOD)
    ready = context.Event()
    process = context.Process(target=ignore_sigterm, args=(ready,), daemon=True)
    process.start()
    assert ready.wait(60)
    processes._end_all([process])
    process.join(10)
    assert not process.is_alive()


def codes(folder: Path) -> set[str]:
    return {path.read_text(encoding="utf-8") for path in folder.glob("code*")}


def test_torchruns_processes_end_with_one_exit_code(tmp_path, project_root):
    process = under_torchrun(tmp_path, project_root, "awaited")
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0, err
    # torchrun may end the other one as soon as one has failed.
    assert codes(tmp_path) == {str(ENDINGS["awaited"])}
    assert err.count("a.png is awaited") == 1


def test_a_worker_that_waits_costs_no_processor_time_and_ends_with_the_main_process(tmp_path, project_root):
    process = under_torchrun(tmp_path, project_root, "done", "wait")
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "again1").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        workers = [
            child for child in psutil.Process(process.pid).children() if "script.py" in " ".join(child.cmdline())
        ]
        before = [sum(worker.cpu_times()[:2]) for worker in workers]
        time.sleep(5)
        after = [sum(worker.cpu_times()[:2]) for worker in workers]
        assert len(workers) == 2
        assert all(now - then < 0.5 for then, now in zip(before, after, strict=True))
        (tmp_path / "go on").touch()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert codes(tmp_path) == {str(ENDINGS["done"])}
        assert "a.png is awaited" not in err
    finally:
        process.kill()
        process.communicate()
