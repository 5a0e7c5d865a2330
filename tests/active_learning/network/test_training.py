from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network import resume_point, training, training_hooks
from active_learning.network.network_config import network_config, training_config
from active_learning.network.resume_point import remove_resume_points
from active_learning.network.training import MaskALTrainer, register_dataset, train
from active_learning.network.weights_files import save_weights
from active_learning.system import disk_space
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.utils import comm
from tests.active_learning.network.conftest import CLASSES, NETWORK
from tests.processes import spawn


@pytest.fixture(scope="session")
def network_file(tmp_path_factory):
    """A thin network: a third of the time of a step, and checkpoints of 4 MB instead of 90."""
    path = tmp_path_factory.mktemp("thin network") / "thin.yaml"
    thin = "DEPTH: 50, STEM_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 8, RES2_OUT_CHANNELS: 32"
    path.write_text(NETWORK.replace("DEPTH: 18, RES2_OUT_CHANNELS: 64", thin), encoding="utf-8")
    return path


@pytest.fixture
def make_training(make_settings, dataset, tmp_path):
    """(config, arguments of train) for such settings."""

    def make(weights="", **keys):
        settings = make_settings(**keys)
        cfg = training_config(
            network_config(settings, settings.experiments()[0]),
            settings,
            image_count=7,
            class_images={"square": 3, "disc": 3},
            train_dataset=dataset,
            val_dataset=dataset,
            weights=weights,
            output_dir=tmp_path / "out",
        )
        return cfg, {"best_model": tmp_path / "best.pth", "best_ap": 0.0, "final_model": tmp_path / "final.pth"}

    return make


@pytest.fixture
def validation_scores(monkeypatch):
    """Mask APs that the validations give in turn."""

    def use(*scores):
        left = list(scores)
        monkeypatch.setattr(
            training_hooks, "run_inference", lambda *_: {"segm": {"AP": left.pop(0)}, "bbox": {"AP": 1.0}}
        )
        return left

    return use


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["amp", "fp32"])
def test_on_cuda(make_training, tmp_path, precision):
    """With workers, which are forked where CUDA is in use already, and validation; then once more from a checkpoint."""
    cfg, arguments = make_training(cuda_visible_devices="0", precision=precision, num_workers=2)
    for _ in range(2):
        assert 0 <= train(cfg, **arguments) <= 100
        assert all(weight.isfinite().all() for weight in weights_of(tmp_path / "final.pth").values())


def weights_of(path):
    return torch.load(path, weights_only=True)["model"]


def test_training_writes_what_it_should(make_training, tmp_path):
    cfg, arguments = make_training()
    best_ap = train(cfg, **arguments)
    assert 0 <= best_ap <= 100
    assert (tmp_path / "final.pth").is_file()
    assert (tmp_path / "best.pth").is_file() == (best_ap > 0)
    assert torch.load(tmp_path / "final.pth", weights_only=True)["classes"] == list(CLASSES)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.json").read_text(encoding="utf-8").splitlines()]
    written = {key for line in lines for key in line}
    assert {"total_loss", "loss_mask", "loss_rpn_cls", "lr", "time", "data_time"} <= written | {"time"}
    assert "segm/AP" in written
    assert list((tmp_path / "out").glob("events.out.tfevents*"))
    assert not list((tmp_path / "out").glob("*.pth"))


def test_gradients_take_no_memory_beside_a_forward_pass_or_a_validation(make_training, monkeypatch):
    held, losses_of = [], SimpleTrainer.losses_of

    def hold(model):
        held.append(any(parameter.grad is not None for parameter in model.parameters()))

    def validate(model, *_):
        hold(model)
        return {"segm": {"AP": 1.0}}

    monkeypatch.setattr(SimpleTrainer, "losses_of", lambda self, batch: hold(self.model) or losses_of(self, batch))
    monkeypatch.setattr(training_hooks, "run_inference", validate)
    cfg, arguments = make_training(train_iterations_base=4)
    train(cfg, **arguments)
    assert held == [False] * 6


def test_validations_share_loader_and_evaluator(make_training, monkeypatch):
    cfg, arguments = make_training(train_iterations_base=6)
    used = []
    score = {"segm": {"AP": 1.0}}
    monkeypatch.setattr(training_hooks, "run_inference", lambda _, cfg, *given: used.append(given) or score)
    train(cfg, **arguments)
    assert len(used) == 3
    assert all(loader is used[0][0] and evaluator is used[0][1] for loader, evaluator in used)


def test_only_better_weights_are_kept(make_training, validation_scores, tmp_path):
    saved = []
    cfg, arguments = make_training(train_iterations_base=8)
    validation_scores(10.0, 30.0, math.nan, 20.0)
    original = training_hooks.save_weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_hooks, "save_weights", lambda *given: saved.append(given[1]) or original(*given))
        assert train(cfg, **arguments) == 30.0
    assert saved == [tmp_path / "best.pth"] * 2
    assert torch.load(tmp_path / "best.pth", weights_only=True)["classes"] == list(CLASSES)


def test_best_score_carries_over(make_training, validation_scores, tmp_path):
    cfg, arguments = make_training()
    validation_scores(10.0, 30.0)
    assert train(cfg, **{**arguments, "best_ap": 40.0}) == 40.0
    assert not (tmp_path / "best.pth").exists()


@pytest.mark.parametrize(
    ("others", "best", "kept"),
    [
        pytest.param("easy", 90.0, "of before", id="the same images"),
        pytest.param("hard", 45.0, "from here on", id="others, on which it gets better"),
        pytest.param("hardest", 40.0, "of the loop before", id="others, on which it gets no better"),
    ],
)
def test_the_best_of_an_interrupted_training_counts_on_its_own_validation_images(
    make_training, validation_scores, tmp_path, others, best, kept
):
    cfg, arguments = make_training(train_iterations_base=6)
    arguments["best_before"] = tmp_path / "loop_before.pth"
    arguments["best_before"].write_bytes(b"best of the loop before")
    validation_scores(90.0, *{"easy": (5.0, 6.0), "hard": (44.0, 45.0), "hardest": (5.0, 6.0)}[others])
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **{**arguments, "best_ap": 50.0}, measured_on="easy")
    at_first = (tmp_path / "best.pth").read_bytes()
    assert train(cfg, **{**arguments, "best_ap": 40.0}, measured_on=others) == best
    now = (tmp_path / "best.pth").read_bytes()
    is_kept = {"of before": now == at_first, "of the loop before": now == b"best of the loop before"}
    assert [name for name, holds in is_kept.items() if holds] == [kept] * (kept != "from here on")


@pytest.mark.parametrize("is_first", [True, False], ids=["the first loop", "a later one"])
@pytest.mark.parametrize(
    ("scores", "best"), [((40.0, 41.0), 41.0), ((10.0, 11.0), None)], ids=["it gets better", "it gets no better"]
)
def test_the_best_of_an_interrupted_training_counts_while_its_weights_are_there(
    make_training, validation_scores, tmp_path, is_first, scores, best
):
    """A setting that was edited and set back: the training in between has begun to keep its own."""
    cfg, arguments = make_training(train_iterations_base=8)
    before = tmp_path / "before.pth"
    before.write_bytes(b"before")
    arguments |= {"best_ap": 0.0} if is_first else {"best_ap": 30.0, "best_before": before}
    validation_scores(35.0, 45.0, *scores)
    for learning_rate, step in ((None, 5), (0.002, 1)):
        other, _ = make_training(train_iterations_base=8, **({"learning_rate": learning_rate} if learning_rate else {}))
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(step, patch)
            with pytest.raises(InterruptedByTestError):
                train(other, **arguments)
    cfg, _ = make_training(train_iterations_base=8)
    best = best or (11.0 if is_first else 30.0)
    assert train(cfg, **arguments) == best
    is_own = best != 30.0
    assert ((tmp_path / "best.pth").read_bytes() != b"before") == is_own
    assert not is_own or set(torch.load(tmp_path / "best.pth", weights_only=True)) == {"model", "classes"}


@pytest.mark.parametrize(
    ("change", "goes_on", "text"),
    [
        (lambda folder: None, True, ""),
        (lambda folder: (folder / "start.pth").unlink(), True, ""),  # it is not needed any more
        (lambda folder: save_weights(nn.Linear(1, 1), folder / "start.pth"), False, "started from other weights"),
    ],
    ids=["as it was", "gone with its drive", "others"],
)
def test_an_interrupted_training_goes_on_from_its_own_start_weights(
    make_training, validation_scores, tmp_path, caplog, monkeypatch, change, goes_on, text
):
    cfg, arguments = make_training(weights=str(tmp_path / "start.pth"), train_iterations_base=4)
    save_weights(MaskALTrainer.build_model(cfg), tmp_path / "start.pth")
    validation_scores(*[1.0] * 9)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    change(tmp_path)
    monkeypatch.setattr(training.logger, "propagate", True)
    monkeypatch.setattr(MaskALTrainer, "load_weights", lambda self: None)
    steps = count_steps(monkeypatch)
    train(cfg, **arguments)
    assert steps[0] == (2 if goes_on else 0)
    assert not text or text in caplog.text


def test_mixed_precision_trains_on_the_cpu(make_training, validation_scores, tmp_path):
    validation_scores(1.0, 1.0)
    cfg, arguments = make_training(precision="amp")
    train(cfg, **arguments)
    weights = weights_of(tmp_path / "final.pth")
    assert all(value.isfinite().all() for value in weights.values())
    assert weights["roi_heads.box_head.fc1.weight"].dtype == torch.float32


class InterruptedByTestError(Exception):
    pass


def interrupt_at(iteration, monkeypatch):
    original = MaskALTrainer.run_step

    def run_step(self):
        if self.iter == iteration:
            raise InterruptedByTestError
        original(self)

    monkeypatch.setattr(MaskALTrainer, "run_step", run_step)


def test_interrupted_training_goes_on(make_training, validation_scores, tmp_path):
    cfg, arguments = make_training(train_iterations_base=6)
    scores = validation_scores(25.0, 5.0, 6.0)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    best = (tmp_path / "best.pth").read_bytes()
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        original = MaskALTrainer.run_step
        patch.setattr(MaskALTrainer, "run_step", lambda self: steps.append(self.iter) or original(self))
        assert train(cfg, **arguments) == 25.0
    assert steps == [2, 3, 4, 5]
    assert scores == []
    assert (tmp_path / "best.pth").read_bytes() == best
    remove_resume_points(tmp_path / "out")
    assert not (tmp_path / "out" / "resume").exists()


def count_steps(patch):
    steps = []
    original = MaskALTrainer.run_step
    patch.setattr(MaskALTrainer, "run_step", lambda self: steps.append(self.iter) or original(self))
    return steps


@pytest.mark.parametrize("start", ["", "final.pth"], ids=["from none", "from what it writes over"])
def test_a_finished_training_that_was_not_noted_is_not_redone(
    make_training, validation_scores, tmp_path, monkeypatch, start
):
    """Where no weights have been best yet, a loop starts from those that were trained last."""
    cfg, arguments = make_training(weights=str(tmp_path / start) if start else "")
    if start:
        save_weights(MaskALTrainer.build_model(cfg), tmp_path / start)
    validation_scores(25.0, 30.0, 30.0)
    train(cfg, **arguments)
    final = (tmp_path / "final.pth").read_bytes()
    if not start:
        (tmp_path / "final.pth").unlink()
    steps = count_steps(monkeypatch)
    assert train(cfg, **arguments) == 30.0
    assert steps == []
    assert (tmp_path / "final.pth").read_bytes() == final


@pytest.mark.parametrize(("damaged", "first_step"), [(1, 4), (2, 0)], ids=["the last", "both"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    make_training, validation_scores, tmp_path, monkeypatch, caplog, damaged, first_step
):
    cfg, arguments = make_training(train_iterations_base=8)
    validation_scores(*[1.0] * 9)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(7, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    points = sorted((tmp_path / "out" / "resume").glob("*.pth"))
    assert [point.stem[-1] for point in points] == ["3", "5"]
    points[-1].write_bytes(points[-1].read_bytes()[:5000])
    if damaged == 2:
        points[0].write_bytes(b"")
    monkeypatch.setattr(training.logger, "propagate", True)
    steps = count_steps(monkeypatch)
    train(cfg, **arguments)
    assert steps[0] == first_step
    assert caplog.text.count("this checkpoint is damaged") == damaged


def test_best_weights_begin_as_those_of_the_loop_before(make_training, validation_scores, tmp_path):
    """And stay this training's own where it goes on after an interruption."""
    before = tmp_path / "before.pth"
    before.write_bytes(b"before")
    cfg, arguments = make_training(train_iterations_base=6)
    arguments |= {"best_ap": 20.0, "best_before": before}
    validation_scores(10.0, 30.0)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(2, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    assert arguments["best_model"].read_bytes() == b"before"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(4, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    better = arguments["best_model"].read_bytes()
    assert better != b"before"
    validation_scores(5.0)
    assert train(cfg, **arguments) == 30.0
    assert arguments["best_model"].read_bytes() == better


def test_a_full_disk_is_reported_before_training(make_training, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10})())
    cfg, arguments = make_training()
    with pytest.raises(MaskALError, match=r"out: .* MB are needed for the weights.*10 bytes left; .*weightsroot"):
        train(cfg, **arguments)


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        (
            {"train_batch_size": 4},
            "lower train_batch_size from 4 to 2 .*that fits.",
        ),
        ({"train_batch_size": 3}, "lower train_batch_size from 3 to 1 .*that fits."),
        ({"train_batch_size": 1, "precision": "fp32"}, "set precision: amp"),
        (
            {"train_batch_size": 1, "precision": "amp", "image_max_size": 1333, "image_min_size": 800},
            "lower image_max_size from 1333 to 999 and image_min_size from 800 to 600",
        ),
    ],
)
def test_too_little_gpu_memory_is_reported_with_the_setting_to_lower(make_training, monkeypatch, keys, remedy):
    def run_step(self):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(DefaultTrainer, "run_step", run_step)  # MaskALTrainer's explains what this one raises
    cfg, arguments = make_training(**keys)
    with pytest.raises(MaskALError, match=f"CUDA out of memory in training.*: {remedy}. .*Tried to allocate 2.00 GiB."):
        train(cfg, **arguments)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "GET was unable to find an engine to execute this computation",
            "CUDA out of memory in training, or this PyTorch has no code for this GPU .* set precision: amp",
        ),
        (
            "Unable to find a valid cuDNN algorithm to run convolution",
            "CUDA out of memory in training, or this PyTorch has no code for this GPU .* set precision: amp",
        ),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory in training. In .*set precision: amp"),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "CUDA out of memory in training. In "),
        (
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
            r"The machine's memory \(not the GPU's\) was too small in training. In .*: lower num_workers \(0\); or end",
        ),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH", "The GPU failed in training: .*no code for this GPU"),
    ],
    ids=["cuDNN 8", "cuDNN 7", "cuBLAS", "GPU", "machine", "architecture"],
)
def test_the_words_of_libraries_are_told_apart(make_training, monkeypatch, words, said):
    def run_step(self):
        raise RuntimeError(f"{words}\nmore")

    monkeypatch.setattr(DefaultTrainer, "run_step", run_step)
    cfg, arguments = make_training(train_batch_size=1, precision="fp32", num_workers=0)
    with pytest.raises(MaskALError, match=f"^{said}"):
        train(cfg, **arguments)


def test_a_failure_of_the_gpu_is_reported_with_its_remedy(make_training, monkeypatch):
    def run_step(self):
        raise RuntimeError("CUDA error: device-side assert triggered\nmore")

    monkeypatch.setattr(DefaultTrainer, "run_step", run_step)
    cfg, arguments = make_training()
    with pytest.raises(MaskALError, match="The GPU failed in training: CUDA error: device-side assert triggered; "):
        train(cfg, **arguments)


@pytest.mark.parametrize(
    ("longest", "repeated"),
    [
        pytest.param(600, [2, 3, 4, 5], id="with-each-evaluation"),
        pytest.param(0, [3, 4, 5], id="long-between-evaluations"),
    ],
)
def test_interrupted_training_equals_an_uninterrupted_one(
    make_training, validation_scores, tmp_path, monkeypatch, longest, repeated
):
    monkeypatch.setattr(resume_point, "LONGEST", longest)
    steps = count_steps(monkeypatch)
    finals = []
    for stop_at in (None, 3):
        remove_resume_points(tmp_path / "out")
        cfg, arguments = make_training(train_iterations_base=6)
        validation_scores(1.0, 2.0, 3.0)
        if stop_at is not None:
            with pytest.MonkeyPatch.context() as patch:
                interrupt_at(stop_at, patch)
                with pytest.raises(InterruptedByTestError):
                    train(cfg, **arguments)
        torch.manual_seed(9)
        steps.clear()
        train(cfg, **arguments)
        finals.append(weights_of(tmp_path / "final.pth"))
    assert steps == repeated
    whole, resumed = finals
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_what_a_gpu_reports_late_is_explained(make_training, validation_scores, monkeypatch):
    """Its losses are fetched while later iterations go on, as by a hook."""
    cfg, arguments = make_training()
    validation_scores(1.0, 1.0)
    error = FloatingPointError("the loss became nan in iteration 1")
    monkeypatch.setattr(training_hooks.ProgressBar, "after_step", lambda self: (_ for _ in ()).throw(error))
    with pytest.raises(
        MaskALError, match=r"^the loss became nan in iteration 1\. In MaskAL's settings: lower learning_rate"
    ):
        train(cfg, **arguments)


def test_checkpoints_after_damaged_ones_are_kept(make_training, validation_scores, tmp_path, monkeypatch):
    cfg, arguments = make_training(train_iterations_base=8)
    validation_scores(*[1.0] * 20)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(7, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    for point in (tmp_path / "out" / "resume").glob("*.pth"):
        point.write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(5, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    steps = count_steps(monkeypatch)
    train(cfg, **arguments)
    assert steps == [4, 5, 6, 7]


def test_another_training_does_not_take_up_the_resume_point(make_training, validation_scores):
    cfg, arguments = make_training(train_iterations_base=6)
    validation_scores(*[1.0] * 9)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(InterruptedByTestError):
            train(cfg, **arguments)
    other, arguments = make_training(train_iterations_base=6, seed=1)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        original = MaskALTrainer.run_step
        patch.setattr(MaskALTrainer, "run_step", lambda self: steps.append(self.iter) or original(self))
        train(other, **arguments)
    assert steps[0] == 0


def test_same_seed_same_training(make_training, validation_scores, tmp_path):
    finals = []
    for seed in (0, 0, 1):
        remove_resume_points(tmp_path / "out")
        cfg, arguments = make_training(train_iterations_base=2, seed=seed)
        validation_scores(1.0, 1.0)
        train(cfg, **arguments)
        finals.append(weights_of(tmp_path / "final.pth"))
    first, second, other = finals
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_training_starts_from_the_weights(make_training, validation_scores, tmp_path):
    cfg, arguments = make_training(train_iterations_base=1)
    validation_scores(1.0, 1.0)
    train(cfg, **arguments)
    final = tmp_path / "final.pth"
    cfg, _ = make_training(weights=str(final), seed=5)
    trainer = MaskALTrainer(cfg, training.KeepBest(cfg, tmp_path / "best.pth", 0.0))
    trainer.load_weights()
    assert all(torch.equal(value, trainer.model.state_dict()[key]) for key, value in weights_of(final).items())


@pytest.mark.parametrize("content", [None, b"junk"], ids=["missing", "broken"])
def test_start_weights_that_cannot_be_read(make_training, tmp_path, content):
    path = tmp_path / "start.pth"
    if content:
        path.write_bytes(content)
    cfg, arguments = make_training(weights=str(path))
    with pytest.raises(MaskALError, match=r"start\.pth: cannot be read as weights"):
        train(cfg, **arguments)


def test_weights_of_another_network_are_refused(make_training, tmp_path):
    path = tmp_path / "start.pth"
    other = {"backbone.fpn_lateral2.weight": torch.zeros(3, 3), "head.weight": torch.zeros(2)}
    torch.save({"model": other}, path)
    cfg, arguments = make_training(weights=str(path))
    with pytest.raises(
        MaskALError, match=r"start\.pth: does not fit the network: (\d+) of the \1 weights of its backb"
    ):
        train(cfg, **arguments)


def test_weights_of_other_classes_are_taken(make_training, validation_scores, tmp_path):
    validation_scores(1.0, 1.0, 1.0)
    cfg, arguments = make_training(train_iterations_base=1)
    train(cfg, **arguments)
    weights = torch.load(tmp_path / "final.pth", weights_only=True)
    stem, classes = "backbone.bottom_up.stem.conv1.weight", "roi_heads.box_predictor.cls_score.weight"
    own_classes = weights["model"][classes].shape
    weights["model"] |= {stem: weights["model"][stem] + 1, classes: torch.zeros(9, 32)}
    weights["classes"] = [f"other {number}" for number in range(8)]
    torch.save(weights, tmp_path / "start.pth")
    cfg, arguments = make_training(weights=str(tmp_path / "start.pth"), train_iterations_base=1)
    train(cfg, **arguments)
    final = torch.load(tmp_path / "final.pth", weights_only=True)
    assert final["classes"] == list(CLASSES)
    trained = final["model"]
    assert trained[classes].shape == own_classes
    torch.testing.assert_close(trained[stem], weights["model"][stem], rtol=0, atol=0.1)


def test_divergence_names_iteration_and_remedy(make_training):
    cfg, arguments = make_training(warmup_iterations=0, train_iterations_base=6)
    cfg.SOLVER.BASE_LR = 1e30  # the settings allow none that diverges as surely
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    words = r"(?s)iteration [1-5]\b.* at the images .*\.png.*In MaskAL's settings: lower learning_rate \(1e\+30\)"
    with pytest.raises(MaskALError, match=words):
        train(cfg, **arguments)


def test_checkpoints_are_kept_where_asked_for(make_training, validation_scores, tmp_path):
    validation_scores(1.0, 1.0)
    cfg, arguments = make_training(checkpoint_period=3)
    train(cfg, **arguments)
    assert "model_0000002.pth" in {path.name for path in (tmp_path / "out").glob("*.pth")}
    kept = torch.load(tmp_path / "out" / "model_0000002.pth", weights_only=True)
    assert (kept["classes"], kept["iteration"]) == (list(CLASSES), 2)


@pytest.mark.parametrize(
    ("processes", "device", "batch", "reason"),
    [
        (1, "cpu", 1, ""),
        (2, "cuda", 4, ""),
        (2, "cuda", 3, "train_batch_size 3 is not a multiple of 2"),
        (2, "cpu", 4, "Training is on the CPU"),
    ],
)
def test_who_trains(make_training, monkeypatch, processes, device, batch, reason):
    cfg, _ = make_training()
    cfg.MODEL.DEVICE, cfg.SOLVER.IMS_PER_BATCH = device, batch
    monkeypatch.setattr(training.comm, "get_world_size", lambda: processes)
    assert training._why_single_process(cfg) == reason


def test_who_does_not_train_waits(make_training, monkeypatch, caplog, tmp_path):
    cfg, arguments = make_training()
    monkeypatch.setattr(training.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(training.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(training.logger, "propagate", True)
    assert train(cfg, **{**arguments, "best_ap": 7.0}) == 7.0
    assert not (tmp_path / "out").exists()
    assert "Training is on the CPU: one of 2 processes trains, the others wait" in caplog.text


def _train_in_a_process(rank, rendezvous, folder, json_file, cfg):
    """As on two GPUs, on the CPU."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    try:
        comm.create_local_process_group(2)
        register_dataset("tiny_shapes", json_file, json_file.parent, ["square", "disc", "never"])
        models = []
        monkeypatch = pytest.MonkeyPatch()
        monkeypatch.setattr(training, "_why_single_process", lambda cfg: "")
        monkeypatch.setattr(MaskALTrainer, "after_train", lambda self: models.append(self.model))
        best_ap = train(cfg, best_model=folder / "best.pth", best_ap=3.5, final_model=folder / "final.pth")
        monkeypatch.undo()
        weights = {name: value.detach() for name, value in models[0].module.named_parameters()}
        torch.save((best_ap, weights), folder / f"{rank}.pth")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_train_one_network(make_training, image_folder, tmp_path):
    cfg, _ = make_training(train_iterations_base=2)
    rendezvous = (tmp_path / "rendezvous").as_uri()
    arguments = (rendezvous, tmp_path, image_folder / "dataset.json", cfg)
    spawn(_train_in_a_process, args=arguments, nprocs=2)
    (best, first), (best_of_second, second) = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert best == best_of_second == 3.5
    assert all(torch.equal(first[name], second[name]) for name in first)
    written = weights_of(tmp_path / "final.pth")
    assert all(torch.equal(first[name], written[name]) for name in first)


def test_registering_again_replaces(image_folder):
    register_dataset("again", image_folder / "dataset.json", image_folder, ["x"])
    register_dataset("again", image_folder / "dataset.json", image_folder, ["square", "disc", "never"])
    assert len(DatasetCatalog.get("again")) == 7
    assert list(MetadataCatalog.get("again").thing_classes) == ["square", "disc", "never"]
