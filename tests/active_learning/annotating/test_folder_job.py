"""What the flags of auto_annotate.py mean; tests/e2e runs the program."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

import auto_annotate
from active_learning.annotating import folder_job
from active_learning.annotating.folder_job import FolderAnnotation, read_request
from active_learning.annotations import Annotation
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.errors import MaskALError, SettingsError
from active_learning.network import network_config, prediction
from active_learning.network.image_batches import UnreadableImage
from active_learning.system import file_moves
from tests.active_learning.conftest import write_weights

ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


@pytest.fixture
def request_of(settings, tmp_path):
    """The request of a command line on the training images; {tmp} stands for the test's folder."""
    write_weights(tmp_path / "w.pth")
    for path in settings.traindir.glob("*.json"):
        path.unlink()

    def make(words: str):
        given = words.replace("{tmp}", str(tmp_path)).split()
        return read_request(auto_annotate.parse_arguments(["--img_dir", str(settings.traindir), *given]))

    return make


PROJECT = (
    "--weights_file {tmp}/w.pth --classes a --export_format supervisely --supervisely_meta_json {tmp}/meta.json "
    "--supervisely_project"
)
CLASSES = [
    pytest.param("--weights_file {tmp}/w.pth --classes b a", 2, ("b", "a"), id="own"),
    pytest.param(f"--weights_file {ZOO}", 80, None, id="published"),
    pytest.param(f"--weights_file {ZOO} --classes use_coco", 80, None, id="use_coco"),
    pytest.param(f"--weights_file {ZOO} --classes cup broccoli", 80, ("cup", "broccoli"), id="some of COCO's"),
    pytest.param(
        f"--weights_file {{tmp}}/w.pth --network_config {ZOO} --classes use_coco", 80, None, id="own with COCO's"
    ),
]


@pytest.mark.parametrize(("words", "count", "wanted"), CLASSES)
def test_classes(request_of, words, count, wanted):
    request = request_of(words)
    assert len(request.settings.classes) == count
    assert request.wanted == (wanted or request.settings.classes)
    if count == 80:
        assert request.settings.classes[0] == "person"
        assert request.settings.network_config == ZOO


WRONG = [
    pytest.param(f"--weights_file {ZOO} --classes brocoli", "'brocoli' is none of .*mean 'broccoli'", id="not COCO's"),
    pytest.param(
        "--weights_file {tmp}/w.pth", "--classes: is missing; give the classes of the training", id="no classes"
    ),
    pytest.param("--weights_file {tmp}/w.pth --classes a --network_config x", "--network_config: 'x' is", id="network"),
    pytest.param("--weights_file Cityscapes/mask_rcnn_R_50_FPN.yaml", "--classes: the names of", id="names unknown"),
    pytest.param("--weights_file {tmp}/w.pth --classes a --batch_size 0", "--batch_size: 0 must be", id="batch"),
    pytest.param("--weights_file {tmp}/w.pth --classes a --device x", "--cuda_visible_devices: 'x'", id="device"),
    pytest.param(
        "--weights_file {tmp}/w.pth --classes a --image_min_size 90 --image_max_size 50",
        "--image_min_size: 90 is above",
        id="sizes",
    ),
    pytest.param("--weights_file {tmp}/w.pth --classes a --nms_thres 2", "--nms_thres: 2.0 must be", id="nms"),
    pytest.param(
        "--weights_file {tmp}/w.pth --classes a --export_format supervisely --supervisely_meta_json {tmp}/no.json",
        "--supervisely_meta_json: there is no file",
        id="meta",
    ),
    pytest.param(
        f"{PROJECT.removesuffix(' --supervisely_project')} --img_dir {Path('/').absolute()}",
        "--supervisely_project: .* lies in .*, among the images",
        id="a whole disk",
    ),
    pytest.param(
        f"{PROJECT} {{tmp}}/train/project", "--supervisely_project: .* lies in .*, among the images", id="in images"
    ),
    pytest.param(f"{PROJECT} {{tmp}}/train", "--supervisely_project: .* lies in .*, among the images", id="the images"),
    pytest.param(f"{PROJECT} {{tmp}}/w.pth", "--supervisely_project: .* is no folder", id="project is a file"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_mistakes(request_of, tmp_path, words, message):
    write_meta(tmp_path / "meta.json", ["a"])
    with pytest.raises(SettingsError, match=message):
        request_of(words)


def test_only_the_predicted_classes_must_be_in_the_project(request_of, tmp_path):
    write_meta(tmp_path / "meta.json", ["cup"])
    words = f"--weights_file {ZOO} --export_format supervisely --supervisely_meta_json {{tmp}}/meta.json"
    assert request_of(f"{words} --classes cup").project == tmp_path / "train_supervisely"
    with pytest.raises(SettingsError, match="class 'person' is not in the project"):
        request_of(words)


def test_the_project_that_is_there_must_know_the_classes_too(request_of, tmp_path):
    write_meta(tmp_path / "meta.json", ["a", "new"])
    (tmp_path / "train_supervisely").mkdir()
    write_meta(tmp_path / "train_supervisely" / "meta.json", ["a"])
    words = PROJECT.removesuffix(" --supervisely_project")
    assert request_of(words)
    with pytest.raises(
        SettingsError, match=r"train_supervisely.meta\.json: class 'new' is not .* put its meta.json there"
    ):
        request_of(words.replace("--classes a", "--classes a new"))


def test_published_weights_are_fetched_by_their_address(request_of, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        prediction, "load_network", lambda cfg, weights, *_, **__: loaded.append((cfg, weights)) or Model()
    )
    annotation = FolderAnnotation(request_of(f"--weights_file {ZOO} --classes cup --device cpu"))
    annotation.find_images()
    labeller = annotation.load_network()
    ((cfg, weights),) = loaded
    assert weights.endswith("137849600/model_final_f10217.pkl")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 80
    assert labeller.wanted == {"cup"}


def test_weights_of_other_classes(request_of, tmp_path, monkeypatch):
    write_weights(tmp_path / "w.pth", classes=["plant", "weed"])
    monkeypatch.setattr(prediction, "build_model", lambda cfg: nn.Linear(1, 1))
    annotation = FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes weed plant --device cpu"))
    annotation.find_images()
    with pytest.raises(SettingsError, match="plant, weed .in this order., not on weed, plant; give --classes plant we"):
        annotation.load_network()


class Model:
    def eval(self):
        return self


def test_an_annotation_that_may_be_of_two_images_skips_both(request_of, settings, capsys):
    shutil.copy(settings.traindir / "00.png", settings.traindir / "00.jpg")
    (settings.traindir / "00.json").write_text('{"shapes": [], "imagePath": ""}', encoding="utf-8")
    annotation = FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a"))
    annotation.find_images()
    assert (annotation.skipped, annotation.doubtful) == (0, ["00.jpg", "00.png"])
    assert len(annotation.images) == 13 and not annotation.is_complete
    assert "2 images not annotated, as a file may be of several images" in annotation.summary()
    assert "00.json: may be of 00.jpg or 00.png" in capsys.readouterr().err


def test_the_summary_counts(request_of):
    annotation = FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a"))
    annotation.find_images()

    def draw(folder, names):
        yield Annotation(names[0], 24, 32)
        yield UnreadableImage(names[1], "01.png: broken")

    annotation.write_pre_labels(draw)
    assert annotation.unreadable == ["01.png"]
    assert annotation.summary() == (
        "Pre-labelled: 1 image, 0 objects, 1 image without detections; 0 images skipped (annotated already); "
        "1 image unreadable\n"
        "Correct them before a run of MaskAL chooses these images: it takes the files for a person's annotations."
    )


PHOTO = '{"title": "00.png", "photoTakenTime": {}}'


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        pytest.param("00.json", "", id="labelme, of another program"),
        pytest.param("00.png.json", PROJECT, id="supervisely, a photo export"),
        pytest.param("00.xml", "--export_format cvat", id="cvat, of another program"),
        pytest.param("00.json", "--export_format darwin", id="darwin, a link to nowhere"),
    ],
)
def test_a_name_that_another_file_has_is_named_before_anything_is_predicted(
    request_of, settings, tmp_path, monkeypatch, capsys, taken, words
):
    write_meta(tmp_path / "meta.json", ["a"])
    path = settings.traindir / taken
    if "darwin" in words:
        path.symlink_to("nowhere")
    else:
        path.write_text(PHOTO if path.suffix == ".json" else "<other/>", encoding="utf-8")
    words = f"{words} {tmp_path}/project" if words == PROJECT else f"--weights_file {{tmp}}/w.pth --classes a {words}"
    given, asked = request_of(words), []

    def predict(folder, names):
        asked.extend(names)
        return (Annotation(name, 24, 32) for name in names)

    monkeypatch.setattr(FolderAnnotation, "load_network", lambda _: predict)
    monkeypatch.setattr(folder_job, "read_request", lambda _: given)
    assert auto_annotate.main(["--img_dir", ".", "--weights_file", "w.pth"]) == 1
    printed = capsys.readouterr()
    assert f"{path}: is no annotation, but has the name of the one of 00.png, which gets none" in printed.err
    assert "0 images skipped (annotated already); 1 image not annotated, as another file has that name" in printed.out
    assert asked == [f"{number:02d}.png" for number in range(1, 14)]


def test_a_name_that_a_pre_label_cannot_have_costs_no_other_image(request_of, settings, tmp_path, capsys):
    write_meta(tmp_path / "meta.json", ["a"])
    long = settings.traindir / f"{'x' * 248}.png"
    (settings.traindir / "00.png").rename(long)
    annotation = FolderAnnotation(request_of(f"{PROJECT} {tmp_path}/project"))
    annotation.find_images()
    assert annotation.images == [f"{number:02d}.png" for number in range(1, 14)] and not annotation.is_complete
    assert f"{long}: gets no annotation, whose name would be too long; shorten its own" in capsys.readouterr().err
    annotation.write_pre_labels(lambda folder, names: (Annotation(name, 24, 32) for name in names))
    assert "13 images" in (text := annotation.summary()) and "1 image not annotated, as another file" in text


COCO = (
    '{"images": [{"id": 1, "file_name": "13.png"}], "annotations": [{"image_id": 1, "category_id": 1}],'
    ' "categories": [{"id": 1, "name": "a"}]}'
)


@pytest.mark.parametrize("annotated", [[], ["00.json"]], ids=["nothing is annotated", "half converted"])
@pytest.mark.parametrize(
    ("words", "classes"),
    [
        pytest.param("--weights_file {tmp}/w.pth --classes b a", "b a", id="own classes"),
        pytest.param(f"--weights_file {ZOO} --classes cup bowl", "cup bowl", id="some of COCO's"),
        pytest.param(f"--weights_file {ZOO} --classes use_coco", "CLASS", id="use_coco"),
    ],
)
def test_an_export_that_is_not_converted_is_refused_before_anything_is_written(
    request_of, settings, monkeypatch, capsys, annotated, words, classes
):
    given, train = request_of(words), settings.traindir
    for name in annotated:
        (train / name).write_text('{"shapes": []}', encoding="utf-8")
    (train / "all.json").write_text(COCO, encoding="utf-8")
    before = {path.name: path.read_bytes() for path in train.iterdir()}
    monkeypatch.setattr(FolderAnnotation, "load_network", lambda _: pytest.fail("nothing is to be predicted"))
    monkeypatch.setattr(folder_job, "read_request", lambda _: given)
    assert auto_annotate.main(["--img_dir", ".", "--weights_file", "w.pth"]) == 2
    command = f"python -m active_learning.annotations convert {train} --to labelme --classes {classes} --out {train}"
    message = f"--img_dir: {train / 'all.json'}: is a COCO json file; convert it: {command}"
    assert message + ("_converted; or" if annotated else "; or") + " move it away" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in train.iterdir()} == before


def test_annotations_that_cannot_be_read_are_named_counted_and_kept(request_of, settings, monkeypatch, capsys):
    given, train = request_of("--weights_file {tmp}/w.pth --classes a"), settings.traindir
    contents = {"00.json": "", "01.json": '{"shapes": [', "02.json": '{"shapes": []}'}
    for name, content in contents.items():
        (train / name).write_text(content, encoding="utf-8")
    (train / "via.json").write_text('{"1": {"regions": [{"shape_attributes": {}}]}}', encoding="utf-8")
    monkeypatch.setattr(
        FolderAnnotation, "load_network", lambda _: lambda folder, names: (Annotation(name, 24, 32) for name in names)
    )
    monkeypatch.setattr(folder_job, "read_request", lambda _: given)
    assert auto_annotate.main(["--img_dir", ".", "--weights_file", "w.pth"]) == 1
    printed = capsys.readouterr()
    assert f"{train / '00.json'}: is empty; save the annotation again; skipped\n" in printed.err
    assert "the file is damaged or half-written: save the annotation again; skipped\n" in printed.err
    assert f"{train / 'via.json'}: is a file of the VGG Image Annotator; it is not read" in printed.err
    assert "Pre-labelled: 11 images" in printed.out
    counts = "1 image skipped (annotated already); 2 images not annotated, as their files cannot be read"
    assert counts in printed.out
    assert {name: (train / name).read_text(encoding="utf-8") for name in contents} == contents


@pytest.mark.parametrize(
    ("there", "given"),
    [
        pytest.param("annotate/00.png", "annotate", id="the annotate folder"),
        pytest.param("annotate/00.png", "", id="the folder around it"),
        pytest.param("annotate/00.png", "..", id="a folder around both"),
        pytest.param("annotate/field/00.png", "annotate/field", id="a folder in the annotate folder"),
        pytest.param("annotate/field/00.png", "annotate", id="folders in the annotate folder"),
        pytest.param("annotate/field/00.png", "field", id="a sub-folder of images"),
    ],
)
def test_images_that_a_run_awaits_get_no_pre_labels_that_it_would_take_for_a_persons_work(
    request_of, settings, there, given
):
    copy = settings.traindir / there
    original = settings.traindir / copy.relative_to(settings.traindir / "annotate")
    for path in (copy, original):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(settings.traindir / "01.png", path)
    folder = settings.traindir / given
    request = request_of(f"--weights_file {{tmp}}/w.pth --classes a --img_dir {folder}")
    with pytest.raises(SettingsError, match="has asked a person to annotate") as refused:
        FolderAnnotation(request).find_images()
    assert "00.png" in str(refused.value)
    original.unlink()
    FolderAnnotation(request_of(f"--weights_file {{tmp}}/w.pth --classes a --img_dir {copy.parent}")).find_images()


@pytest.mark.parametrize("given", ["annotate", ""])
def test_an_image_is_awaited_though_its_copy_was_turned_or_saved_again(request_of, settings, given):
    (settings.traindir / "annotate").mkdir()
    Image.new("RGB", (9, 9)).save(settings.traindir / "annotate" / "00.png")
    folder = settings.traindir / given
    with pytest.raises(MaskALError, match="has asked a person to annotate"):
        FolderAnnotation(request_of(f"--weights_file {{tmp}}/w.pth --classes a --img_dir {folder}")).find_images()


class StopError(Exception):
    """The machine goes down."""


@pytest.mark.parametrize("moment", range(7), ids="file {}".format)  # of the project's meta.json and three a image
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_image_is_in_the_project_wherever_the_program_stopped(request_of, tmp_path, monkeypatch, moment, after):
    write_meta(tmp_path / "meta.json", ["a"])
    rename, calls = file_moves.rename_new, []

    def stops(source, target):
        calls.append(target)
        if not after and len(calls) == moment + 1:
            raise StopError
        rename(source, target)
        if len(calls) == moment + 1:
            raise StopError

    def pre_label() -> None:
        annotation = FolderAnnotation(request_of(f"{PROJECT} {tmp_path}/project"))
        annotation.find_images()
        annotation.write_pre_labels(lambda folder, names: (Annotation(name, 24, 32) for name in names[:2]))

    monkeypatch.setattr(file_moves, "rename_new", stops)
    with pytest.raises(StopError):
        pre_label()
    pre_label()
    beside = {path.name for path in (tmp_path / "train").glob("*.json")}
    assert len(beside) >= 2
    assert {path.name for path in (tmp_path / "project/ds/ann").iterdir()} >= beside
    assert {f"{path.name}.json" for path in (tmp_path / "project/ds/img").iterdir()} >= beside


def test_a_folder_without_images(request_of, settings):
    for path in settings.traindir.iterdir():
        path.unlink()
    with pytest.raises(MaskALError, match="holds no image; correct --img_dir"):
        FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a")).find_images()


def test_names_that_the_tool_cannot_hold_are_found_before_the_network_is_loaded(request_of, settings):
    (settings.traindir / "00.png").rename(settings.traindir / "0\x07.png")
    FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a")).find_images()
    with pytest.raises(MaskALError, match=r"CVAT's xml files cannot hold: '0.x07\.png'; rename them"):
        FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a --export_format cvat")).find_images()


def test_nothing_to_pre_label_needs_no_network(request_of, settings, monkeypatch):
    monkeypatch.setattr(network_config, "network_config", lambda *_: pytest.fail("nothing is to be predicted"))
    for path in settings.traindir.glob("*.png"):
        path.with_suffix(".json").write_text('{"shapes": []}', encoding="utf-8")
    annotation = FolderAnnotation(request_of("--weights_file {tmp}/w.pth --classes a"))
    annotation.find_images()
    annotation.write_pre_labels(annotation.load_network())
    assert annotation.summary().endswith("14 images skipped (annotated already)")
