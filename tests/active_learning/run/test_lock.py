"""A second run is kept out; a killed one does not keep anybody out."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.run import lock as run_lock
from active_learning.run.lock import only_annotated_here, only_run
from active_learning.settings import Settings

HOLD = """
import sys, time
from pathlib import Path
from active_learning.run.lock import only_run
from active_learning.settings import Settings
roots = {name: Path(sys.argv[1]) / name for name in ("resultsroot", "weightsroot", "dataroot")}
with only_run(Settings(classes=["a"], **roots)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, project_root):
    """Another process that holds the lock of exp1."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=project_root, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def make(tmp_path):
    def settings(**changes):
        roots = {name: tmp_path / name for name in ("resultsroot", "weightsroot", "dataroot")}
        return Settings(classes=["a"], **{**roots, **changes})

    return settings


def test_the_second_names_the_first(holder, make):
    year = time.strftime("%Y-")
    words = rf"experiment_name 'exp1' is going on \(on {socket.gethostname()}, process {holder.pid}, started {year}"
    with pytest.raises(MaskALError, match=words) as caught, only_run(make()):
        pytest.fail("both run")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"resultsroot": "elsewhere"}, "experiment_name 'exp1'"),
        ({"experiment_name": "exp2"}, "dataroot .*; .*, or choose another dataroot"),
    ],
    ids=["same weights", "same image lists"],
)
def test_folders_that_both_would_write_to(holder, make, tmp_path, changes, what):
    changes = {key: tmp_path / value if key == "resultsroot" else value for key, value in changes.items()}
    with pytest.raises(MaskALError, match=what), only_run(make(**changes)):
        pytest.fail("both run")


def test_another_experiment_with_image_lists_of_its_own_may_run(holder, make, tmp_path):
    with only_run(make(experiment_name="exp2", dataroot=tmp_path / "other")):
        pass


def test_a_killed_run_keeps_nobody_out(holder, make, tmp_path):
    holder.kill()
    holder.wait()
    left = tmp_path / "resultsroot" / "exp1.lock.holder"
    assert json.loads(left.read_text(encoding="utf-8"))["pid"] == holder.pid
    with only_run(make()):
        assert json.loads(left.read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not left.exists()


def test_workers_of_a_killed_run_are_waited_for(holder, make, tmp_path, monkeypatch):
    """They hold its lock for some seconds."""
    monkeypatch.setattr(run_lock, "_has_died", lambda found: found["pid"] == holder.pid)
    started = time.monotonic()
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(1); os.kill({holder.pid}, 9)"])
    with only_run(make()):
        assert time.monotonic() - started > 0.5
    assert killer.wait() == 0


def test_one_folder_for_all(make, tmp_path):
    with only_run(make(weightsroot=tmp_path / "resultsroot", dataroot=tmp_path / "x" / ".." / "resultsroot")):
        pass


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_meanwhile_does_not_hide_what_failed_first(make, monkeypatch, reason):
    def unlink(self, missing_ok=False):
        raise OSError(reason, os.strerror(reason), str(self))

    with pytest.raises(MaskALError, match="this came first"), only_run(make()):
        monkeypatch.setattr(Path, "unlink", unlink)
        raise MaskALError("this came first")
    monkeypatch.undo()
    with only_run(make()):  # what is left of it keeps nobody out
        pass


def test_a_disk_without_locks_is_no_obstacle(make, monkeypatch, caplog):
    def acquire(self, timeout):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(run_lock.FileLock, "acquire", acquire)
    with only_run(make()):
        assert "knows no locks (no flock here); see to it that no second run is started" in caplog.text


def test_an_image_folder_that_may_only_be_read_is_no_obstacle(tmp_path, monkeypatch):
    def acquire(self, timeout):
        raise PermissionError("read-only")

    monkeypatch.setattr(run_lock.FileLock, "acquire", acquire)
    with only_annotated_here(tmp_path, wait=True) as is_ours:
        assert is_ours


@pytest.mark.parametrize("name", ["resultsroot/exp1.lock", "weightsroot/exp1.lock.holder", "dataroot/image_lists.lock"])
def test_a_persons_file_of_the_locks_name_is_named_and_kept(make, tmp_path, name):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with (
        pytest.raises(MaskALError, match="is not MaskAL's, which keeps a lock of that name; move it"),
        only_run(make()),
    ):
        pytest.fail("it runs")
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
