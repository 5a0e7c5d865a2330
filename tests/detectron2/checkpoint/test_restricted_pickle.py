"""Only arrays in plain containers come out of a pickle; nothing in it runs."""

from __future__ import annotations

import builtins
import functools
import importlib
import operator
import os
import pickle
import re
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detectron2.checkpoint.restricted_pickle import load_restricted_pickle

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=8,
)


@settings(max_examples=30)
@given(content=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_containers_come_back(tmp_path_factory: pytest.TempPathFactory, content: Any, protocol: int) -> None:
    file = tmp_path_factory.getbasetemp() / "plain.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    assert load_restricted_pickle(file) == content


ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), hnp.array_shapes(min_side=0)
)


@settings(max_examples=30)
@given(array=ARRAYS, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, protocol: int) -> None:
    file = tmp_path_factory.getbasetemp() / "arrays.pkl"
    file.write_bytes(pickle.dumps(OrderedDict(a=array, s=np.float32(3)), protocol))
    loaded = load_restricted_pickle(file)
    np.testing.assert_array_equal(loaded["a"], array)
    assert loaded["a"].dtype == array.dtype
    assert loaded["s"] == 3


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 2, 1, 0), (0, 3, 1, 2), (1, 0, 2, 3)])
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_any_memory_order_come_back(tmp_path: Path, axes: tuple[int, ...], protocol: int) -> None:
    array = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5).transpose(axes)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([array], protocol))
    np.testing.assert_array_equal(load_restricted_pickle(tmp_path / "a.pkl")[0], array)


def test_python2_pickle_of_numpy1(tmp_path: Path) -> None:
    # Protocol 2 as Python 2 wrote it: byte strings for text, numpy.core for its module.
    written = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    (tmp_path / "old.pkl").write_bytes(written)
    np.testing.assert_array_equal(load_restricted_pickle(tmp_path / "old.pkl")["w"], np.float32([1, 2]))


ZOO = {
    "model": {
        "stem.conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "num_batches_tracked": np.array(7),
        "half": np.ones(3, np.float16),
        "empty": np.zeros((0, 4), np.float32),
        "big_endian": np.arange(3, dtype=">f4"),
        "texts": np.array(["a", "bcd"]),
    },
    "__author__": "Detectron2 Model Zoo",
    "matching_heuristics": True,
    "iteration": np.int64(269999),
    "betas": (0.9, [np.ones(1)]),
}


def as_numpy_wrote_it(version: int, pickled: bytes) -> bytes:
    """The same pickle with the module name that numpy 1, or numpy 2, has for its constructors."""
    home = {1: b"numpy.core.", 2: b"numpy._core."}[version]
    if pickled[1] < 4:
        return re.sub(rb"(?<=c)numpy\._?core\.", home, pickled)
    pickled = re.sub(
        rb"\x8c.numpy\._?core\.(multiarray|numeric)",
        lambda match: b"\x8c" + bytes([len(home + match[1])]) + home + match[1],
        pickled,
        flags=re.DOTALL,
    )
    # a single frame, whose length comes after the first three bytes
    return pickled[:3] + (len(pickled) - 11).to_bytes(8, "little") + pickled[11:]


@pytest.mark.parametrize("numpy_version", [1, 2])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_the_zoo(tmp_path: Path, protocol: int, numpy_version: int) -> None:
    written = as_numpy_wrote_it(numpy_version, pickle.dumps(ZOO, protocol))
    assert (b"numpy._core" in written, b"numpy.core" in written) == (numpy_version == 2, numpy_version == 1)
    (tmp_path / "model_final.pkl").write_bytes(written)
    loaded = load_restricted_pickle(tmp_path / "model_final.pkl")
    assert loaded.keys() == ZOO.keys()
    assert (loaded["__author__"], loaded["matching_heuristics"]) == ("Detectron2 Model Zoo", True)
    assert loaded["iteration"] == 269999
    assert isinstance(loaded["iteration"], np.int64)
    assert loaded["betas"][0] == 0.9
    np.testing.assert_array_equal(loaded["betas"][1][0], np.ones(1))
    for name, array in ZOO["model"].items():
        assert type(loaded["model"][name]) is np.ndarray, name
        np.testing.assert_array_equal(loaded["model"][name], array, err_msg=name)
        assert loaded["model"][name].dtype == array.dtype.newbyteorder("="), name
        assert loaded["model"][name].flags.writeable, name


def test_one_array_in_two_places_stays_one(tmp_path: Path) -> None:
    shared = np.ones(2)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([shared, {"again": shared}], 2))
    first, again = load_restricted_pickle(tmp_path / "a.pkl")
    assert first is again["again"]


class Runs:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(os.system, id="os.system"),
        pytest.param(builtins.eval, id="eval"),
        pytest.param(builtins.exec, id="exec"),
        pytest.param(builtins.getattr, id="getattr"),
        pytest.param(builtins.__import__, id="import"),
        pytest.param(subprocess.Popen, id="Popen"),
        pytest.param(functools.partial, id="partial"),
        pytest.param(operator.attrgetter, id="attrgetter"),
        pytest.param(importlib.import_module, id="import_module"),
        pytest.param(np.load, id="numpy.load"),
        pytest.param(np.memmap, id="numpy.memmap"),
        pytest.param(np.ndarray.tofile, id="numpy.ndarray.tofile"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, function: Any, protocol: int) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"model": Runs(function, f"touch {marker}")}, protocol))
    with pytest.raises(pickle.UnpicklingError, match=r"evil\.pkl.*refused.*asks for"):
        load_restricted_pickle(file)
    assert not marker.exists()


def text(value: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()


def dotted(module: str, name: str) -> bytes:
    return b"\x80\x04" + text(module) + text(name) + pickle.STACK_GLOBAL


RECONSTRUCT = b"cnumpy._core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n"
F4 = DTYPE + b"(Vf4\ntR"
EMPTY_ARRAY = RECONSTRUCT + b"(cnumpy\nndarray\n(I0\ntVb\ntR"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(dotted("numpy", "ndarray.tofile") + b".", "numpy.ndarray.tofile", id="attribute-of-admitted"),
        pytest.param(dotted("numpy", "ndarray.__subclasses__") + b".", "__subclasses__", id="subclasses"),
        pytest.param(dotted("collections", "OrderedDict.fromkeys.__globals__") + b".", "__globals__", id="globals"),
        pytest.param(dotted("collections", "_sys.modules") + b".", "_sys.modules", id="module-of-module"),
        pytest.param(dotted("numpy", "f2py.os.system") + b".", "f2py.os.system", id="path-to-os"),
        pytest.param(dotted("builtins", "bytes.__class__.__base__") + b".", "__base__", id="object"),
        pytest.param(b"cnumpy.core.multiarray\nfrombuffer\n.", "frombuffer", id="other-numpy-function"),
        pytest.param(b"cnumpy\nload\n(Va\ntR.", "numpy.load", id="numpy-load"),
        pytest.param(b"(Vtouch x\nios\nsystem\n.", "os.system", id="inst"),
        pytest.param(b"(cos\nsystem\nVtouch x\no.", "os.system", id="obj"),
        pytest.param(b"\x80\x02cos\nsystem\n(Vtouch x\nt\x81.", "os.system", id="newobj"),
        pytest.param(b"\x80\x02\x82\x01.", "", id="extension-registry"),
        pytest.param(b"Pid\n.", "persistent", id="persistent-id"),
        pytest.param(DTYPE + b"(VO\ntR.", "'O'", id="objects"),
        pytest.param(DTYPE + b"(](VA\nVO\ntatR.", "not of numbers", id="record"),
        pytest.param(DTYPE + b"(VO8\nI0\nI1\ntR.", "'O8'", id="objects-as-numpy-writes-them"),
        pytest.param(EMPTY_ARRAY + b".", "without content", id="no-content"),
        pytest.param(EMPTY_ARRAY + b"(I1\n(I2\nt" + F4 + b"I0\nVabcd\ntb.", "", id="too-few-bytes"),
        pytest.param(EMPTY_ARRAY + b"(I1\n(I1\nt(lI0\nVabcd\ntb.", "", id="forged-element-type"),
        pytest.param(EMPTY_ARRAY + b"(dV__class__\nVx\nstb.", "", id="forged-state"),
        pytest.param(b"cnumpy\nndarray\n(I9\ntR.", "not callable", id="ndarray-itself"),
        pytest.param(RECONSTRUCT + b"(N(dV__defaults__\nVx\nstb.", "", id="attributes-of-a-constructor"),
        pytest.param(b"ccollections\nOrderedDict\n(N(dVx\nI1\nstb.", "", id="attributes-of-a-class"),
        pytest.param(b"c__builtin__\nbytes\n(L9223372036854775807L\ntR.", "", id="endless-memory"),
        pytest.param(b"(lp0\ng0\na.", "", id="a-list-in-itself"),
    ],
)
def test_gadgets_are_refused(tmp_path: Path, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "system", lambda command: pytest.fail(f"it ran {command}"))
    (tmp_path / "evil.pkl").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match=rf"evil\.pkl: refused to load.*{re.escape(words)}"):
        load_restricted_pickle(tmp_path / "evil.pkl")


def test_nested_lists_are_not_walked_twice(tmp_path: Path) -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(nested))
    loaded = load_restricted_pickle(tmp_path / "a.pkl")
    assert loaded[0] is loaded[1]


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps({"model": {"w": np.ones(3, np.float32)}, "__author__": "me"}, protocol)
    for length in range(len(whole)):
        (tmp_path / "cut.pkl").write_bytes(whole[:length])
        with pytest.raises(pickle.UnpicklingError, match=r"cut\.pkl"):
            load_restricted_pickle(tmp_path / "cut.pkl")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a pickle", id="text"),
        pytest.param(pickle.dumps({"a": np.zeros(9)})[:-20], id="cut-off"),
        pytest.param(b"c_codecs\nencode\n(Vabc\nVzlib\ntR.", id="other-codec"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match=r"bad\.pkl"):
        load_restricted_pickle(tmp_path / "bad.pkl")
