"""Web addresses, the cache, and errors without a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detectron2.utils import file_io
from detectron2.utils.file_io import PathManager, write_whole

BASE_URL = file_io.Detectron2Handler.BASE_URL


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def name(cache: Path) -> str:
    return f"{cache.name}/model_final.pkl"


@pytest.fixture
def cached_file(cache: Path, name: str) -> Path:
    file = cache / "detectron2" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    return file


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("prefix", [BASE_URL, "detectron2://"], ids=["https", "detectron2"])
def test_a_cached_file_needs_no_network(cached_file: Path, name: str, prefix: str) -> None:
    assert Path(PathManager.get_local_path(prefix + name)) == cached_file
    with PathManager.open(prefix + name, "rb") as file:
        assert file.read() == b"weights"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("prefix", [BASE_URL, "detectron2://"], ids=["https", "detectron2"])
def test_without_network_the_place_by_hand_is_named(cache: Path, name: str, prefix: str) -> None:
    with pytest.raises(OSError, match="cannot download") as caught:
        PathManager.get_local_path(prefix + name)
    for part in (BASE_URL + name, "network is unreachable", str(cache / "detectron2" / name)):
        assert part in str(caught.value)


@pytest.mark.parametrize("number", file_io.DISK_FAULTS)
def test_a_cache_that_takes_no_file_is_no_fault_of_the_network(
    cache: Path, name: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_io, "download", fail)
    with pytest.raises(OSError, match=r"Make room in .*, or name another folder in .* FVCORE_CACHE") as caught:
        PathManager.get_local_path(BASE_URL + name)
    assert "network" not in str(caught.value)


def test_published_files_are_read_only(cached_file: Path, name: str) -> None:
    assert PathManager.isfile(f"detectron2://{name}")
    with pytest.raises(ValueError, match="only be read"):
        PathManager.open(f"detectron2://{name}", "wb")
    assert cached_file.read_bytes() == b"weights"


def test_downloads_land_in_the_cache(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, destination: Path) -> None:
        destination.write_text(url, encoding="utf-8")

    monkeypatch.setattr(file_io, "download", fetch)
    local = Path(PathManager.get_local_path(f"detectron2://{name}"))
    assert local == cache / "detectron2" / name
    assert local.read_text(encoding="utf-8") == BASE_URL + name


def test_local_paths_stay() -> None:
    assert PathManager.get_local_path("some/file.txt") == "some/file.txt"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    write_whole(file, lambda path: path.write_text("old", encoding="utf-8"))

    def fail(path: Path) -> None:
        path.write_text("ne", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(file, fail)
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("note.txt", "old")]
