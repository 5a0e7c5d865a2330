"""Downloads from a server of the test's own, which breaks off, changes its mind, and lies."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detectron2.utils import download as download_module
from detectron2.utils.download import cached_name, download
from detectron2.utils.file_io import PathManager

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]
HALF = len(CONTENT) // 2


@dataclass
class Answer:
    """How the server answers one request; the last one is for all that follow."""

    content: bytes = CONTENT
    etag: str = '"a"'
    status: int = 200
    sent: int | None = None  # bytes of the body before the connection is cut
    ranges: bool = True
    announce: bool = True
    honours_if_range: bool = True
    wait: float = 0


@dataclass
class Server:
    url: str = ""
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    requests: list[dict[str, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append({"path": self.path, **dict(self.headers)})
            answer = server.next_answer()
            server.stop.wait(answer.wait)
            if answer.status >= 400:
                self.send_error(answer.status)
                return
            start = self.start_of_range(answer)
            body = answer.content[start:]
            self.send_response(206 if start else answer.status)
            if answer.etag:
                self.send_header("ETag", answer.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(answer.content) - 1}/{len(answer.content)}")
            if answer.announce:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: answer.sent])

        def start_of_range(self, answer: Answer) -> int:
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") == answer.etag or not answer.honours_if_range
            return int(asked.removeprefix("bytes=").removesuffix("-")) if asked and answer.ranges and same else 0

        def log_message(self, *args: Any) -> None:
            """Keep the test's output clean."""

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download_module, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(download_module, "_TIMEOUT_SECONDS", 10)
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(state)) as http_server:
        state.url = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        state.stop.set()
        http_server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    ("answers", "ranges", "expected"),
    [
        pytest.param([Answer()], [None], CONTENT, id="whole"),
        pytest.param([Answer(announce=False)], [None], CONTENT, id="no-length"),
        pytest.param([Answer(sent=HALF), Answer()], [None, f"bytes={HALF}-"], CONTENT, id="resumed"),
        pytest.param(
            [Answer(sent=HALF), Answer(sent=1000), Answer()],
            [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"],
            CONTENT,
            id="resumed-twice",
        ),
        pytest.param(
            [Answer(sent=HALF, ranges=False), Answer(ranges=False)], None, CONTENT, id="server-without-ranges"
        ),
        pytest.param([Answer(sent=HALF, etag=""), Answer(etag="")], [None, None], CONTENT, id="no-tag-restarts"),
        pytest.param([Answer(sent=HALF, etag='W/"a"'), Answer()], [None, None], CONTENT, id="weak-tag-restarts"),
        pytest.param([Answer(sent=HALF), Answer(OTHER, '"b"')], None, OTHER, id="changed-meanwhile"),
        pytest.param(
            [Answer(sent=HALF), Answer(OTHER, '"b"', honours_if_range=False), Answer(OTHER, '"b"')],
            [None, f"bytes={HALF}-", None],
            OTHER,
            id="changed-and-joined-by-the-server",
        ),
        pytest.param([Answer(status=503), Answer()], [None, None], CONTENT, id="busy-server"),
    ],
)
def test_the_file_comes_whole(
    server: Server, tmp_path: Path, answers: list[Answer], ranges: list[str | None] | None, expected: bytes
) -> None:
    server.answers = answers
    download(f"{server.url}/a/model.pkl", tmp_path / "a" / "model.pkl")
    assert (tmp_path / "a" / "model.pkl").read_bytes() == expected
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["model.pkl"]
    if ranges is not None:
        assert [request.get("Range") for request in server.requests] == ranges


@pytest.mark.parametrize(
    ("answer", "requests", "words"),
    [
        pytest.param(Answer(sent=HALF, ranges=False), 5, f"{HALF} of {len(CONTENT)} bytes", id="always-cut"),
        pytest.param(Answer(content=b""), 5, "empty", id="empty"),
        pytest.param(Answer(status=404), 1, "404", id="not-found"),
        pytest.param(Answer(status=403), 1, "403", id="forbidden"),
        pytest.param(Answer(status=500), 5, "500", id="broken-server"),
        pytest.param(Answer(status=206), 5, "another part", id="part-for-whole"),
    ],
)
def test_no_half_file_is_left(server: Server, tmp_path: Path, answer: Answer, requests: int, words: str) -> None:
    server.answers = [answer]
    with pytest.raises(OSError, match=words):
        download(f"{server.url}/model.pkl", tmp_path / "model.pkl", progress=False)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == requests


def test_a_failure_keeps_the_file_that_was_there(server: Server, tmp_path: Path) -> None:
    server.answers = [Answer(status=404)]
    (tmp_path / "model.pkl").write_bytes(b"old")
    with pytest.raises(OSError, match="404"):
        download(f"{server.url}/model.pkl", tmp_path / "model.pkl")
    assert (tmp_path / "model.pkl").read_bytes() == b"old"


def test_what_a_killed_process_left_is_not_taken_for_a_part(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pkl.tmp").write_bytes(b"half of another file")
    download(f"{server.url}/model.pkl", tmp_path / "model.pkl")
    assert (tmp_path / "model.pkl").read_bytes() == CONTENT


SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        pytest.param(f"resnet50-{SHA256[:8]}.pth", True, id="right"),
        pytest.param(f"resnet50-{SHA256}.pth", True, id="right-and-whole"),
        pytest.param("resnet50-0676ba61.pth", False, id="wrong"),
        pytest.param("model_final_f10217.pkl", True, id="zoo-names-hold-no-sha256"),
        pytest.param("R-50-GN.pkl", True, id="no-digits"),
    ],
)
def test_a_sha256_in_the_name_is_checked(server: Server, tmp_path: Path, name: str, fits: bool) -> None:
    if fits:
        download(f"{server.url}/{name}", tmp_path / name)
        assert (tmp_path / name).read_bytes() == CONTENT
    else:
        with pytest.raises(OSError, match=rf"{name} is damaged.*{SHA256}.*0676ba61"):
            download(f"{server.url}/{name}", tmp_path / name)
        assert list(tmp_path.iterdir()) == []


def test_the_progress_bar_counts_resumed_bytes_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [Answer(sent=HALF), Answer()]
    download(f"{server.url}/model.pkl", tmp_path / "model.pkl")
    last = capsys.readouterr().err.split("\r")[-1]
    assert "model.pkl: 100%" in last
    assert "1.02M/1.02M" in last


@pytest.mark.usefixtures("server")
def test_without_a_network_there_is_no_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(OSError, match="refused"):
        download("http://127.0.0.1:9/model.pkl", tmp_path / "model.pkl")
    assert list(tmp_path.iterdir()) == []


def test_the_handler_downloads_once_and_again_when_forced(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    url = f"{server.url}/zoo/model_final.pkl"
    for _ in range(2):
        with PathManager.open(url, "rb") as file:
            assert file.read() == CONTENT
    assert PathManager.get_local_path(url) == str(tmp_path / "zoo" / "model_final.pkl")
    assert len(server.requests) == 1
    server.answers = [Answer(OTHER)]
    assert Path(PathManager.get_local_path(url, force=True)).read_bytes() == OTHER
    assert len(server.requests) == 2


FETCH = """
import sys
from detectron2.utils.file_io import PathManager
with PathManager.open(sys.argv[1], "rb") as file:
    print(len(file.read()))
"""


def test_two_processes_share_one_download(server: Server, tmp_path: Path, project_root: Path) -> None:
    server.answers = [Answer(wait=1)]
    environment = {**os.environ, "FVCORE_CACHE": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, f"{server.url}/model.pkl"],
            cwd=project_root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert output.split() == [str(len(CONTENT))], errors
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://host/a/b/model.pkl", "a/b/model.pkl", id="path"),
        pytest.param("https://host/../../etc/model.pkl", "etc/model.pkl", id="no-way-out"),
        pytest.param("https://host/a%20b/c*.pth", "a%20b/c_.pth", id="odd-characters"),
    ],
)
def test_names_in_the_cache(url: str, expected: str) -> None:
    assert cached_name(url) == Path(expected)


def test_long_names_stay_apart_and_keep_their_suffix() -> None:
    names = {cached_name(f"https://host/{address}.pkl").name for address in ("x" * 300 + "a", "x" * 300 + "b")}
    names |= {cached_name(f"https://host/model.pkl?x={query}").name for query in ("a/b:c", "2")}
    assert len(names) == 4
    assert all(len(name) < 150 and name.endswith(".pkl") for name in names)
    assert len(cached_name(f"https://host/model.pkl?{urllib.parse.urlencode({'key': 'y' * 500})}").name) < 150


@pytest.mark.parametrize("url", ["https://host", "https://host/", "https://host/folder/"])
def test_an_address_without_a_file(url: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        cached_name(url)
