"""Only arrays in plain containers come out of a pickle; nothing in it runs."""

from __future__ import annotations

import builtins
import os
import pickle
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


def test_python2_pickle_of_numpy1(tmp_path: Path) -> None:
    # Protocol 2 as Python 2 wrote it: byte strings for text, numpy.core for its module.
    written = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    (tmp_path / "old.pkl").write_bytes(written)
    np.testing.assert_array_equal(load_restricted_pickle(tmp_path / "old.pkl")["w"], np.float32([1, 2]))


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
        pytest.param(builtins.getattr, id="getattr"),
        pytest.param(subprocess.Popen, id="Popen"),
        pytest.param(np.load, id="numpy.load"),
        pytest.param(np.memmap, id="numpy.memmap"),
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
