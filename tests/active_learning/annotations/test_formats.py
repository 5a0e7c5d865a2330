"""The table of annotation tools, and that each codec in it keeps the protocol."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from active_learning.annotations import FORMATS, Annotation, codec_of, load_document
from active_learning.annotations.codec import Codec, CollectionCodec, FolderTreeCodec
from active_learning.annotations.formats import codecs

PROTOCOLS = (Codec, FolderTreeCodec, CollectionCodec)


@pytest.mark.parametrize("name", codecs())
def test_a_codec_has_the_functions_of_its_protocols(name):
    """Their parameters have the protocol's names, kinds, types and defaults; more of them have defaults."""
    codec = codecs()[name]
    assert isinstance(codec, Codec)
    for protocol in PROTOCOLS:
        methods = {key: value for key, value in vars(protocol).items() if inspect.isfunction(value) and key[0] != "_"}
        for key, method in methods.items() if isinstance(codec, protocol) else ():
            _, *wanted = inspect.signature(method).parameters.values()
            found = list(inspect.signature(getattr(codec, key)).parameters.values())
            assert found[: len(wanted)] == wanted, f"{name}.{key}"
            assert all(more.default is not more.empty for more in found[len(wanted) :]), f"{name}.{key}"


@pytest.mark.parametrize("name", codecs())
def test_what_a_codec_writes_it_alone_recognises(name, tmp_path):
    codec, path = codecs()[name], tmp_path / "a"
    codec.write(Annotation("a.png", 30, 40), path)
    document = load_document(path)
    assert [other for other, one in codecs().items() if one.recognises(document)] == [name]
    assert codec_of(document) is codec
    read = codec.read(document, path=path, image="a.png", size=None, within=tmp_path)
    assert (read.image, read.height, read.width, read.instances, read.warnings) == ("a.png", 30, 40, (), ())


@pytest.mark.parametrize("tool", FORMATS)
def test_a_line_of_the_table(tool):
    line = FORMATS[tool]
    assert line.title and line.suffix in (".json", ".xml")
    assert line.codec is codecs()[line.modules[0]]
    assert all(folder == "" or folder.endswith("/") for folder in line.folders)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import active_learning.annotations.formats", id="the table"),
        pytest.param("import active_learning.annotations.supervisely_meta", id="the classes of a project"),
        pytest.param("import auto_annotate; auto_annotate.parse_arguments(['--help'])", id="auto_annotate --help"),
    ],
)
def test_names_cost_neither_numpy_nor_opencv(project_root: Path, code):
    check = "import sys, atexit; atexit.register(lambda: print(sorted({'cv2', 'numpy'} & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", f"{check}\n{code}"], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
