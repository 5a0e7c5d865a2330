from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.annotating.supervisely_project import add_to_project
from active_learning.errors import MaskALError


@pytest.fixture
def project(train, tmp_path):
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")

    def add(image: str) -> list[str]:
        annotation = train / f"{image}.json"
        annotation.write_text("annotation", encoding="utf-8")
        written = []

        def note(path: Path, draft: Path) -> None:
            assert draft.is_file() and not path.exists()
            written.append(path)

        other = add_to_project(tmp_path / "project", tmp_path / "meta.json", train, image, annotation, note)
        lines = [path.relative_to(tmp_path / "project").as_posix() for path in written]
        return [*lines, f"stays: {other.relative_to(tmp_path / 'project').as_posix()}"] if other else lines

    return add


def test_sub_folders_become_data_sets_and_what_is_there_stays(project, train, add_image, tmp_path):
    for name in ("a.png", "field/b 1/a.png"):
        add_image(name)
    assert project("a.png") == ["meta.json", "ds/img/a.png", "ds/ann/a.png.json"]
    (tmp_path / "project/ds/ann/a.png.json").write_text("corrected", encoding="utf-8")
    assert project("a.png") == ["stays: ds/ann/a.png.json"]
    assert project("field/b 1/a.png") == ["ds__field__b 1/img/a.png", "ds__field__b 1/ann/a.png.json"]
    assert (tmp_path / "project/ds/img/a.png").read_bytes() == (train / "a.png").read_bytes()
    assert (tmp_path / "project/ds/ann/a.png.json").read_text(encoding="utf-8") == "corrected"


def test_another_image_of_that_name_is_named(project, train, add_image, tmp_path):
    """Of another folder, or of a sub-folder whose data set has the same name."""
    for name in ("a/b/x.png", "a__b/x.png"):
        add_image(name)
    (train / "a__b/x.png").write_bytes(b"another")
    project("a/b/x.png")
    with pytest.raises(
        MaskALError, match=r"ds__a__b/img/x.png: is another image than .*a__b/x.png; rename one of them"
    ):
        project("a__b/x.png")


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF"])
def test_another_tiff_image_of_that_name_is_named(project, train, name):
    Image.new("RGB", (3, 2)).save(train / name)
    project(name)
    assert project(name) == []
    Image.new("RGB", (3, 2), (0, 0, 1)).save(train / name)
    with pytest.raises(MaskALError, match=f"ds/img/{name}.png: is another image than .*{name}; rename one of them"):
        project(name)


PIXELS = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
TIFFS = [
    pytest.param(Image.fromarray(PIXELS), "L", [[0, 51, 102], [153, 204, 255]], id="16 bits"),
    pytest.param(Image.new("RGB", (3, 2), (1, 2, 3)), "RGB", None, id="colour"),
    pytest.param(Image.new("CMYK", (3, 2)), "RGB", None, id="cmyk"),
]


@pytest.mark.parametrize(("image", "mode", "pixels"), TIFFS)
def test_a_tiff_image_is_converted_in_the_project_alone(project, train, tmp_path, image, mode, pixels):
    image.save(train / "a.TIF")
    before = (train / "a.TIF").read_bytes()
    assert project("a.TIF") == ["meta.json", "ds/img/a.TIF.png", "ds/ann/a.TIF.png.json"]
    assert (train / "a.TIF").read_bytes() == before
    with Image.open(tmp_path / "project/ds/img/a.TIF.png") as found:
        assert (found.format, found.mode, found.size) == ("PNG", mode, (3, 2))
        assert pixels is None or np.asarray(found).tolist() == pixels


def test_a_tiff_image_is_turned_upright(project, train, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (5, 2)).save(train / "a.tif", exif=exif)
    project("a.tif")
    with Image.open(tmp_path / "project/ds/img/a.tif.png") as found:
        assert found.size == (2, 5)
