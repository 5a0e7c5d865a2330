from __future__ import annotations

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
    check_classes("w.pth", held, given, by_flag=True)


OTHER = {
    "another order": (["plant", "weed"], ["weed", "plant"], True, "plant, weed (in this order), not on weed, plant; "
                      "give --classes plant weed"),
    "others": (["plant", "weed"], ["a", "weed"], True, "plant, weed (in this order), not on a, weed; "),
    "fewer": (["plant", "weed"], ["plant"], True, "plant, weed (in this order), not on plant; "),
    "capitals": (["plant"], ["Plant"], True, "plant (in this order), not on Plant; give --classes plant"),
    "for a shell": (["a b", "it's", "$x"], ["c"], True, "a b, it's, $x (in this order), not on c; "
                    """give --classes 'a b' 'it'"'"'s' '$x'"""),
    "in the settings": (["weed: é", "b"], ["b", "weed: é"], False, "weed: é, b (in this order), not on b, weed: é; "
                        'set classes: ["weed: é", "b"] in the settings'),
}  # fmt: skip


@pytest.mark.parametrize(("held", "given", "by_flag", "message"), OTHER.values(), ids=OTHER)
def test_weights_of_other_classes_are_refused(held, given, by_flag, message):
    with pytest.raises(SettingsError) as error:
        check_classes("w.pth", held, given, by_flag=by_flag)
    assert str(error.value).startswith(f"w.pth: was trained on the classes {message}")
