from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from active_learning.acquisition.record_files import (
    begin_part,
    from_line,
    part,
    read_matching,
    read_records,
    remove_parts,
    to_line,
    write_records,
)
from active_learning.errors import MaskALError

CONDITIONS = {"passes": 10, "image_sizes": [800, 1333]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "pool.jsonl"


def add(path: Path, *records, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8", newline="\n") as stream:
        stream.write("\n".join(map(to_line, records)) + end)


def test_the_whole_and_the_parts_are_read(path: Path, make_record):
    begin_part(part(path, 0), CONDITIONS)
    add(part(path, 0), make_record("a.png", [0.5]))
    begin_part(part(path, 11), CONDITIONS)
    add(part(path, 11), make_record("b.png"), make_record("half"), end="")
    assert list(read_records(path)) == ["a.png", "b.png"]
    copy = path.with_name(f"{path.name}.part0 (copy)")
    copy.write_bytes(b"a person's")
    write_records(path, CONDITIONS, read_records(path).values())
    remove_parts(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["pool.jsonl", copy.name]
    assert list(read_records(path)) == ["a.png", "b.png"]


def test_a_part_goes_on_after_its_last_whole_line(path: Path, make_record):
    own = part(path, 0)
    begin_part(own, CONDITIONS)
    add(own, make_record("ä.png"))
    whole = own.read_bytes()
    for cut in range(len(whole)):
        own.write_bytes(whole[:cut])
        begin_part(own, CONDITIONS)
        add(own, make_record("b.png"))
        assert list(read_records(path))[-1] == "b.png"


@pytest.mark.parametrize(
    ("conditions", "kept", "others"),
    [
        (CONDITIONS, 1, False),
        ({**CONDITIONS, "network": {"TEST.DETECTIONS_PER_IMAGE": 7}}, 1, False),  # an earlier version did not tell
        ({"passes": 5}, 0, True),
        ({**CONDITIONS, "tiles": [512, 0.2]}, 0, True),
    ],
)
def test_records_made_under_other_conditions_are_not_used(path: Path, make_record, conditions, kept, others):
    write_records(path, CONDITIONS, [make_record("a.png")])
    found, has_others = read_matching(path, conditions)
    assert (len(found), has_others) == (kept, others)


def test_a_part_of_other_conditions_starts_anew(path: Path, make_record):
    begin_part(part(path, 0), CONDITIONS)
    add(part(path, 0), make_record("a.png"))
    begin_part(part(path, 0), {**CONDITIONS, "network": {}})
    assert list(read_records(path)) == ["a.png"]
    begin_part(part(path, 0), {"passes": 5})
    assert read_records(path) == {}


def test_nothing_there(path: Path):
    assert read_records(path) == {}
    assert read_matching(path, CONDITIONS) == ({}, False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"format": "maskal pool records 9", "conditions": {}}\n', r"line 1: 'maskal pool records 9' where"),
        ("a.jpg, 0.5\n", "line 1: something else where"),
        ("[1]\n", "line 1: something else where"),
        ('{"format": "maskal pool records 1", "conditions": {}}\nspoilt\n', "line 2: cannot be read"),
    ],
    ids=["other-version", "csv", "list", "spoilt-line"],
)
def test_a_file_that_cannot_be_used_is_named(path: Path, content: str, words: str):
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    with pytest.raises(MaskALError, match=rf"pool\.jsonl: {words}.*move the file away"):
        read_records(path)


@pytest.mark.parametrize(
    ("certainties", "probabilities"), [([1 / 3, 0.1], None), ([0.7], [[[1 / 3, 0.1]]]), ([], None)]
)
def test_a_line_gives_back_the_record_to_the_last_bit(make_record, certainties, probabilities):
    before = make_record("sub/grün, 1.png", certainties, probabilities, features=[0.25, -60000.0])
    line = to_line(before)
    after = from_line(line)
    assert "\n" not in line
    assert after.objects == before.objects
    assert (after.name, repr(after.value)) == (before.name, repr(before.value))
    assert after.features.dtype == np.float32
    assert np.array_equal(after.features, before.features)
    assert to_line(after) == line


FIELDS = ["name", "value", "height", "width", "objects", "features"]
OBJECT_FIELDS = [
    *("size", "semantic", "mask", "box", "occurrence", "certainty"),
    *("mean_box", "probabilities", "entropy", "margin", "mutual_information"),
]


@pytest.mark.parametrize("stamp", ["", "0a1b"])
def test_a_stamp_is_kept_and_one_of_an_earlier_version_is_unknown(make_record, stamp: str):
    line = to_line(replace(make_record("a.png", [0.5]), stamp=stamp))
    assert ("stamp" in line) == bool(stamp)
    assert from_line(line).stamp == stamp


def test_a_line_is_plain_json_whose_fields_stay_as_they_are(make_record):
    """A run that was begun with an earlier version is continued."""
    document = json.loads(to_line(make_record("sub/grün, 1.png")))
    assert list(document) == FIELDS
    assert document["name"] == "sub/grün, 1.png"
    assert document["value"] is None
    assert math.isnan(from_line(json.dumps(document)).value)
    (one,) = json.loads(to_line(make_record("a.png", [0.5])))["objects"]
    assert list(one) == OBJECT_FIELDS


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"name": "a"}', "another field"])
def test_what_is_no_record_is_refused(make_record, line: str):
    if line == "another field":
        line = to_line(make_record("a.png", [0.5])).replace("semantic", "romantic")
    with pytest.raises(ValueError, match=r".+"):
        from_line(line)
