"""Annotation files are read, hashed and parsed once while they stay as they are."""

from __future__ import annotations

import os
import time

import pytest

from active_learning.dataset import annotation_cache
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system import saving


@pytest.fixture
def parsed(monkeypatch):
    """The files that are parsed."""
    paths, parse = [], annotation_cache.parse_document
    monkeypatch.setattr(
        annotation_cache, "parse_document", lambda content, path: paths.append(path) or parse(content, path)
    )
    return paths


def test_a_file_is_parsed_once_for_all_questions(train, add_image, annotate, parsed):
    add_image("a.jpg")
    path, cache = annotate("a.json", image="a.jpg"), AnnotationCache(train, ["healthy"])
    assert cache.image_named_in(path) == "a.jpg"
    digest = cache.digest(path)
    for _ in range(2):
        assert cache.read(path, "a.jpg").labels == ("healthy",)
        assert cache.fault(path, "a.jpg") == ""
        assert cache.digest(path) == digest
    assert parsed == [path]


def test_a_changed_file_or_image_is_read_again(train, add_image, annotate, parsed):
    image = add_image("a.jpg")
    path, cache = annotate("a.json", ["helthy"]), AnnotationCache(train, ["healthy"])
    for _ in range(2):
        assert "did you mean 'healthy'" in cache.fault(path, "a.jpg")
    with pytest.raises(MaskALError, match="did you mean"):
        cache.read(path, "a.jpg")
    before = cache.digest(path)
    annotate("a.json", ["healthy"])
    assert cache.fault(path, "a.jpg") == ""
    assert cache.digest(path) != before
    assert len(parsed) == 2
    os.utime(image, ns=(1, 1))
    assert cache.fault(path, "a.jpg") == ""
    assert len(parsed) == 3


def test_a_file_that_keeps_size_time_and_place_is_read_again(train, add_image, annotate):
    """As `cp -p` and `rsync --inplace -t` write."""
    add_image("a.jpg")
    path, cache = annotate("a.json", ["healthy"]), AnnotationCache(train, ["healthy", "damaged"])
    status = path.stat()
    assert cache.read(path, "a.jpg").labels == ("healthy",)
    path.write_text(path.read_text(encoding="utf-8").replace("healthy", "damaged"), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.read(path, "a.jpg").labels == ("damaged",)


def test_what_cannot_be_opened_or_parsed(train, add_image, annotate):
    add_image("a.jpg")
    path, cache = train / "a.json", AnnotationCache(train, ["healthy"])
    for ask in (cache.digest, cache.image_named_in):
        with pytest.raises(AnnotationError, match="cannot be read"):
            ask(path)
    assert "cannot be read" in cache.fault(path, "a.jpg")
    path.write_text("{", encoding="utf-8")
    assert "half-written" in cache.fault(path, "a.jpg")
    assert len(cache.digest(path)) == 40
    with pytest.raises(AnnotationError, match="half-written"):
        cache.image_named_in(path)
    annotate("a.json")
    assert cache.fault(path, "a.jpg") == ""


def test_documents_that_wait_to_be_read_take_little_memory(train, add_image, annotate, parsed, monkeypatch):
    monkeypatch.setattr(annotation_cache, "MOST_BYTES_PARSED", 400)
    names = [f"{number}.jpg" for number in range(5)]
    paths = {name: annotate(f"{add_image(name).stem}.json") for name in names}
    cache = AnnotationCache(train, ["healthy"])
    for path in paths.values():
        cache.image_named_in(path)
    held = len(cache._parsed)
    assert 0 < held < 5
    assert all(cache.read(path, name).labels for name, path in paths.items())
    assert len(parsed) == 5 + 5 - held
    assert not cache._parsed


def test_an_annotation_whose_mask_is_not_there_yet_does_not_count(train, add_image, annotate_in_cvat):
    add_image("a.jpg")
    path = annotate_in_cvat("annotate/a.xml", "a.jpg")
    (mask,) = (train / "annotate/Masks").iterdir()
    late = mask.rename(train / "late.png")
    cache = AnnotationCache(train, ["healthy"])
    assert "there is no mask 'a_mask_0.png'" in cache.fault(path, "a.jpg")
    late.rename(mask)
    assert cache.fault(path, "a.jpg") == ""


def test_a_mask_that_is_half_there_counts_when_it_is_whole(train, add_image, annotate_in_cvat):
    """It is being copied, or a person replaces a damaged one; its annotation stays as it is."""
    add_image("a.jpg")
    path, cache = annotate_in_cvat("a.xml", "a.jpg"), AnnotationCache(train, ["healthy"])
    (mask,) = (train / "Masks").iterdir()
    whole = mask.read_bytes()
    mask.write_bytes(whole[: len(whole) // 2])
    assert mask.name in cache.fault(path, "a.jpg")
    mask.write_bytes(whole)
    assert cache.fault(path, "a.jpg") == ""


def test_a_mask_that_goes_and_comes_back_counts(train, add_image, annotate_in_cvat):
    add_image("sub/a.jpg")
    path = annotate_in_cvat("sub/a.xml", "a.jpg")
    (near,) = (train / "sub/Masks").iterdir()
    content = near.read_bytes()
    cache = AnnotationCache(train, ["healthy"])
    before = cache.read(path, "sub/a.jpg").regions
    near.unlink()
    assert cache.fault(path, "sub/a.jpg")
    near.write_bytes(content)
    assert cache.read(path, "sub/a.jpg").regions == before


@pytest.mark.parametrize("written", [b"", b'{"shapes": ['], ids=["emptied", "half written"])
def test_a_file_that_a_tool_is_writing_is_read_when_it_is_written(train, add_image, annotate, monkeypatch, written):
    add_image("a.jpg")
    path, cache = annotate("a.json", ["healthy"]), AnnotationCache(train, ["healthy"])
    whole = path.read_bytes()
    path.write_bytes(written)
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 60.0)
    monkeypatch.setattr(annotation_cache.time, "sleep", lambda _: path.write_bytes(whole))
    assert cache.read(path, "a.jpg").labels == ("healthy",)


def test_a_faulty_file_is_waited_for_while_it_is_new(train, add_image, annotate, monkeypatch):
    add_image("a.jpg")
    path, cache, sleep, slept = annotate("a.json", ["helthy"]), AnnotationCache(train, ["healthy"]), time.sleep, []
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 0.3)
    monkeypatch.setattr(annotation_cache.time, "sleep", lambda seconds: slept.append(seconds) or sleep(seconds))
    for now in (time.time(), time.time() - 60, time.time() + 60):
        os.utime(path, (now, now))
        slept.clear()
        with pytest.raises(MaskALError, match="did you mean"):
            cache.read(path, "a.jpg")
        assert bool(slept) == (abs(now - time.time()) < 30)
        assert sum(slept) < 0.5
    path.unlink()
    slept.clear()
    with pytest.raises(MaskALError):
        cache.read(path, "a.jpg")
    assert not slept


def test_warnings_of_a_file_are_few(train, add_image, annotate):
    add_image("a.jpg")
    lines = [{"label": "healthy", "points": [[1, 1], [5, 5]], "shape_type": "line"}] * 50
    good = {"label": "healthy", "points": [[2, 3], [12, 3], [12, 13]], "shape_type": "polygon"}
    path, cache = annotate("a.json", shapes=[good, *lines]), AnnotationCache(train, ["healthy"])
    *first, last = cache.read(path, "a.jpg").warnings
    assert (len(first), last) == (annotation_cache.MOST_WARNINGS, f"{path}: 30 more warnings")
    annotate("a.json", shapes=lines)
    assert "no object is left of a.jpg" in cache.fault(path, "a.jpg")
