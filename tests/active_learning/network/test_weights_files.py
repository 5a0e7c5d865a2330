from __future__ import annotations

import errno
import os

import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.weights_files import check_classes, save_weights


@pytest.mark.parametrize(
    "failure", [OSError("disk full"), RuntimeError("disk full\nat x.cc:1")], ids=lambda one: type(one).__name__
)
def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch, failure):
    path = tmp_path / "w.pth"
    save_weights(nn.Linear(1, 1), path)
    before = path.read_bytes()

    def fail(_, target):
        target.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(MaskALError, match=r"w\.pth: cannot be written \(disk full\); its disk is mounted at /.* left"):
        save_weights(nn.Linear(1, 1), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space on that disk"),
        (errno.EDQUOT, "free some of your disk quota"),
        (errno.EROFS, "mount that disk for writing"),
        (errno.EACCES, "change its permissions"),
        (None, "free some space"),
    ],
)
def test_why_weights_cannot_be_written_decides_on_the_remedy(tmp_path, monkeypatch, number, remedy):
    def fail(_, target):
        raise RuntimeError("unexpected pos 64") if number is None else OSError(number, os.strerror(number))

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(MaskALError, match=rf"cannot be written \(.*is whole: {remedy}.*, and start again, it goes on$"):
        save_weights(nn.Linear(1, 1), tmp_path / "w.pth")


def test_weights_of_a_wrapped_model_have_plain_names(tmp_path):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    save_weights(Wrapped(nn.Linear(1, 1)), tmp_path / "w.pth")
    assert set(torch.load(tmp_path / "w.pth", weights_only=True)["model"]) == {"weight", "bias"}


def test_the_classes_stand_in_the_file(tmp_path):
    save_weights(nn.Linear(1, 1), tmp_path / "w.pth", ("plant", "Unkraut ä"))
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["model", "classes"] and content["classes"] == ["plant", "Unkraut ä"]
    save_weights(nn.Linear(1, 1), tmp_path / "w.pth")
    assert list(torch.load(tmp_path / "w.pth", weights_only=True)) == ["model"]


SAME = {
    "the same": (["plant", "weed"], ["plant", "weed"]),
    "accents in another form": (["ma\u00efs"], ["mai\u0308s"]),
    "not in the file": (None, ["a"]),
    "none": ([], ["a"]),
    "a number of another tool": (80, ["a"]),
    "numbers of another tool": ([0, 1], ["a", "b"]),
    "a table of another tool": ({"plant": 0}, ["a"]),
}


@pytest.mark.parametrize(("held", "given"), SAME.values(), ids=SAME)
def test_weights_of_these_classes_or_of_unknown_ones(held, given):
    check_classes("w.pth", held, given)


OTHER = {
    "another order": (["plant", "weed"], ["weed", "plant"], "plant, weed (in this order), not on weed, plant; "
                      "give --classes plant weed, or in the settings classes: [\"plant\", \"weed\"]"),
    "others": (["plant", "weed"], ["a", "weed"], "plant, weed (in this order), not on a, weed; "),
    "fewer": (["plant", "weed"], ["plant"], "plant, weed (in this order), not on plant; "),
    "capitals": (["plant"], ["Plant"], "plant (in this order), not on Plant; give --classes plant, or"),
    "for a shell": (["a b", "it's", "$x"], ["c"], "a b, it's, $x (in this order), not on c; "
                    """give --classes 'a b' 'it'"'"'s' '$x', or"""),
    "for yaml": (["weed: é"], ["b"], "weed: é (in this order), not on b; give --classes 'weed: é', or in the settings "
                 'classes: ["weed: é"]'),
}  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="quotes as on POSIX")
@pytest.mark.parametrize(("held", "given", "message"), OTHER.values(), ids=OTHER)
def test_weights_of_other_classes_are_refused(held, given, message):
    with pytest.raises(SettingsError) as error:
        check_classes("w.pth", held, given)
    assert str(error.value).startswith(f"w.pth: was trained on the classes {message}")
