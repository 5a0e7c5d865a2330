from __future__ import annotations

import copy
import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network import mc_dropout
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.prediction import detect, read_input
from benchmarks.certainty_distribution import kolmogorov_smirnov, repeated, with_own_dropout_of_torch
from detectron2.modeling import build_model


@pytest.fixture
def cfg(make_cfg):
    return make_cfg(dropout_probability=0.5, precision="fp32")


@pytest.fixture
def model(cfg):
    """Untrained: its classes are nearly equally probable, so it detects in every proposal."""
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.5)
    return model


@pytest.fixture
def wide_image(tmp_path):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (100, 140, 3), dtype=np.uint8))
    return path


def run_passes(model, cfg, path, name="wide.png", *, passes=3, seed=0, **keys):
    sampler = MonteCarloDropout(model, cfg, passes=passes, seed=seed, **keys)
    return sampler.forward_passes(name, read_input(path, cfg))


def numbers(found):
    """All that was found, to compare bit by bit."""
    return [
        [
            (d.mask.x, d.mask.y, d.mask.pixels.shape, d.mask.pixels.tobytes(), d.box.tolist(), d.probabilities.tolist())
            for d in one_pass
        ]
        for one_pass in found.passes
    ] + [found.features.tolist()]


def whole(mask, height, width):
    pixels = np.zeros((height, width), dtype=bool)
    rows, columns = mask.pixels.shape
    pixels[mask.y : mask.y + rows, mask.x : mask.x + columns] = mask.pixels
    return pixels


def test_what_is_detected(model, cfg, wide_image):
    found = run_passes(model, cfg, wide_image, passes=5)
    assert (len(found.passes), found.image_height, found.image_width) == (5, 100, 140)
    assert any(found.passes)
    for detection in itertools.chain(*found.passes):
        assert detection.mask.pixels.dtype == bool
        assert detection.box.dtype == detection.probabilities.dtype == np.float64
        assert detection.probabilities.shape == (3,)
        assert (detection.box >= 0).all()
        assert (detection.box <= [140, 100, 140, 100]).all()
        assert whole(detection.mask, 100, 140).sum() == detection.mask.area
    for one_pass in found.passes:
        best = [detection.probabilities.max() for detection in one_pass]
        assert best == sorted(best, reverse=True)


def test_passes_differ_only_by_seed_and_name(model, cfg, wide_image):
    first = numbers(run_passes(model, cfg, wide_image))
    assert first[0] != first[1]
    torch.manual_seed(99)
    assert numbers(run_passes(model, cfg, wide_image)) == first
    assert numbers(run_passes(model, cfg, wide_image, "other.png"))[:3] != first[:3]
    assert numbers(run_passes(model, cfg, wide_image, seed=1))[:3] != first[:3]


def test_a_pass_does_not_depend_on_how_many_there_are(model, cfg, wide_image):
    many = run_passes(model, cfg, wide_image, passes=4, margin=None)
    assert numbers(run_passes(model, cfg, wide_image, passes=2, margin=None))[:2] == numbers(many)[:2]


def test_an_image_does_not_depend_on_those_before_it(model, cfg, wide_image, image_folder):
    paths = [wide_image, *(image_folder / f"{number}.png" for number in range(4))]
    alone = [numbers(run_passes(model, cfg, path, path.name)) for path in paths]
    sampler = MonteCarloDropout(model, cfg, passes=3, seed=0)
    reverse = [numbers(sampler.forward_passes(path.name, read_input(path, cfg))) for path in reversed(paths)]
    assert reverse[::-1] == alone


def test_what_is_left_out_changes_nothing_else(model, cfg, wide_image, monkeypatch):
    """The passes of the remaining proposals drop as if all were there."""
    monkeypatch.setattr(mc_dropout, "PILOT", 4)
    torch.manual_seed(2)  # some proposals become detections, some are left out
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=2.0)
    nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias[-1:], 8.0)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.01
    rows = []
    model.roi_heads.box_head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    every = run_passes(model, cfg, wide_image, margin=None)
    computed, rows[:] = sum(rows), []
    assert_alike(run_passes(model, cfg, wide_image, margin=4.0), every)
    assert computed == 20 + 3 * 20
    assert 20 + 3 * 4 <= sum(rows) < computed
    assert any(every.passes)


def test_certainty_is_distributed_as_with_the_dropout_of_torch(model, cfg, wide_image):
    """In small form: benchmarks/certainty_distribution.py does it with trained networks."""
    model.proposal_generator.post_nms_topk[False] = 5
    repetitions = 60
    keys = {"passes": 4 * repetitions, "seed": 0, "margin": None}
    ours = repeated(MonteCarloDropout(model, cfg, **keys), wide_image, repetitions)
    torchs = with_own_dropout_of_torch(MonteCarloDropout(model, cfg, **keys))
    theirs = repeated(torchs, wide_image, repetitions)
    assert ours.std() > 0.01
    assert kolmogorov_smirnov(ours, theirs) > 0.01
    assert kolmogorov_smirnov(ours, ours + ours.std()) < 0.01


def test_trunk_runs_once_an_image(model, cfg, wide_image):
    calls = []
    for name in ("backbone", "proposal_generator"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    run_passes(model, cfg, wide_image, passes=4)
    assert calls == ["backbone", "proposal_generator"]


@pytest.mark.parametrize("margin", [None, 4.0])
def test_without_dropping_a_pass_is_plain_inference(model, cfg, wide_image, margin):
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    plain = detect(model, read_input(wide_image, cfg))
    assert len(plain)
    for one_pass in run_passes(model, cfg, wide_image, margin=margin).passes:
        assert np.allclose([d.box for d in one_pass], plain.pred_boxes.tensor, atol=1e-3)
        assert np.allclose([d.probabilities for d in one_pass], plain.softmaxes, atol=1e-5)
        masks = np.stack([whole(d.mask, 100, 140) for d in one_pass])
        assert (masks != plain.pred_masks.numpy()).mean() < 1e-3


def test_the_network_stays_as_it_is(model, cfg, wide_image):
    model_input, weights = read_input(wide_image, cfg), copy.deepcopy(model.state_dict())
    before = detect(model, model_input)
    run_passes(model, cfg, wide_image)
    assert torch.equal(detect(model, model_input).scores, before.scores)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("features", "masks"), [(1, 256), (2**25, 1), (1, 3)], ids=["boxes", "masks", "both"])
def test_small_batches_detect_the_same(model, cfg, wide_image, monkeypatch, features, masks):
    expected = run_passes(model, cfg, wide_image)
    monkeypatch.setattr(mc_dropout, "BOX_FEATURES_AT_ONCE", features)
    monkeypatch.setattr(mc_dropout, "MASKS_AT_ONCE", masks)
    assert_alike(run_passes(model, cfg, wide_image), expected)


def assert_alike(found, expected):
    """Equal but for the last bits of float32."""
    for one_pass, wanted in zip(found.passes, expected.passes, strict=True):
        assert np.allclose([d.box for d in one_pass], [d.box for d in wanted], atol=1e-3)
        assert np.allclose([d.probabilities for d in one_pass], [d.probabilities for d in wanted], atol=1e-5)
        for one, other in zip(one_pass, wanted, strict=True):
            assert one.mask.iou(other.mask) > 0.99 or one.mask.area == other.mask.area == 0


def test_short_memory_is_met_with_fewer_passes_at_once(model, cfg, wide_image, monkeypatch, caplog):
    expected = run_passes(model, cfg, wide_image, passes=8)
    sampler = MonteCarloDropout(model, cfg, passes=8, seed=0)
    classify, sizes = sampler.heads.classify, []

    def short_of_memory(features, pooled, proposals):
        sizes.append(len(pooled))
        if len(pooled) > 2 * 20:  # two passes over 20 proposals
            raise torch.cuda.OutOfMemoryError("out of memory")
        return classify(features, pooled, proposals)

    monkeypatch.setattr(sampler.heads, "classify", short_of_memory)
    with caplog.at_level("WARNING"):
        found = sampler.forward_passes("wide.png", read_input(wide_image, cfg))
        sampler.forward_passes("wide.png", read_input(wide_image, cfg))
    assert_alike(found, expected)
    assert max(sizes[4:]) == 40
    assert [message for message in caplog.messages if "memory is short" in message] == caplog.messages[:1]


class Short:
    """Stands for a function on a GPU that has memory for `room` rows of its argument number `place`; room 0: never."""

    def __init__(self, function, room, place):
        self.function, self.room, self.place, self.sizes = function, room, place, []

    def __call__(self, *arguments):
        self.sizes.append(len(arguments[self.place]))
        if self.sizes[-1] > self.room:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return self.function(*arguments)


def test_boxes_are_pooled_in_parts_where_they_are_what_is_large(model, cfg, wide_image, monkeypatch, caplog):
    expected = run_passes(model, cfg, wide_image)
    sampler = MonteCarloDropout(model, cfg, passes=3, seed=0)
    short = Short(sampler.heads.box_features, room=6, place=1)
    monkeypatch.setattr(sampler.heads, "box_features", short)
    found = sampler.forward_passes("wide.png", read_input(wide_image, cfg))
    assert_alike(found, expected)
    assert (short.sizes, sampler.at_once) == ([20, 10, 5, 5, 5, 5], 3)
    assert "fewer boxes at once" in caplog.text


@pytest.mark.parametrize(("bound", "tried"), [(2**23, [8, 4, 2, 1, 1]), (1, [1, 1])], ids=["all", "one"])
def test_passes_are_not_halved_where_one_fills_the_bound(model, cfg, wide_image, monkeypatch, bound, tried):
    """How many passes a batch holds when the memory is never enough."""
    sizes = []

    def full(layers, image_key, streams, objects):
        sizes.append(len(streams[0].unique()))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(mc_dropout, "BOX_FEATURES_AT_ONCE", bound)
    monkeypatch.setattr(mc_dropout, "active_dropout", full)
    with pytest.raises(MaskALError, match=r"wide\.png: the GPU's memory is too small for choosing images"):
        run_passes(model, cfg, wide_image, passes=8)
    assert sizes == tried


def test_an_image_too_large_for_the_backbone_is_tried_twice(model, cfg, wide_image, monkeypatch):
    sampler = MonteCarloDropout(model, cfg, passes=10, seed=0)
    short = Short(None, room=0, place=0)
    monkeypatch.setattr(sampler.model.backbone, "forward", short)
    remedy = "In MaskAL's settings: lower image_max_size from 1333 to 999 and image_min_size from 64 to 48. Then start"
    with pytest.raises(MaskALError, match=rf"wide\.png: the GPU's memory is too small for choosing images\. {remedy}"):
        sampler.forward_passes("wide.png", read_input(wide_image, cfg))
    assert len(short.sizes) == 2


def test_nothing_proposed(model, cfg, wide_image):
    model.proposal_generator.post_nms_topk[False] = 0
    assert run_passes(model, cfg, wide_image, passes=2).passes == ((), ())


def test_nothing_detected(model, cfg, wide_image):
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    assert run_passes(model, cfg, wide_image, passes=2).passes == ((), ())


def test_features_leave_the_padding_out(model, cfg, tmp_path):
    """A grey image has the same features whatever its shape, up to what the border does."""
    for name, shape in (("square", (64, 64, 3)), ("wide", (70, 90, 3))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(shape, 120, dtype=np.uint8))
    square, wide = (run_passes(model, cfg, tmp_path / f"{name}.png").features for name in ("square", "wide"))
    assert square.shape == wide.shape == (4 * 32,)
    assert square.dtype == np.float32
    assert np.corrcoef(square, wide)[0, 1] > 0.9


CONDITIONS = [
    *("passes", "seed", "dropout_probability", "confidence_threshold", "nms_threshold", "network"),
    *("image_sizes", "mixed_precision"),
]


def test_conditions_keep_their_names_in_files(model, cfg):
    """A run that was begun with an earlier version is continued."""
    conditions = MonteCarloDropout(model, cfg, passes=2, seed=3).conditions
    assert list(conditions) == CONDITIONS
    assert json.loads(json.dumps(conditions)) == conditions
    assert (conditions["passes"], conditions["seed"], conditions["dropout_probability"]) == (2, 3, 0.5)


def test_what_the_networks_own_file_says_of_testing_is_a_condition(model, cfg):
    """What it says of training is none: an edit of it costs no pass."""
    before = MonteCarloDropout(model, cfg, passes=2, seed=3).conditions
    cfg.SOLVER.MOMENTUM = 0.5
    assert MonteCarloDropout(model, cfg, passes=2, seed=3).conditions == before
    for key in ("POST_NMS_TOPK_TEST", "NMS_THRESH"):
        edited = cfg.clone()
        edited.MODEL.RPN[key] = 0.25
        assert MonteCarloDropout(model, edited, passes=2, seed=3).conditions != before, key


def test_half_precision_detects_about_the_same(model, cfg, wide_image):
    exact = run_passes(model, cfg, wide_image, passes=1)
    cfg.SOLVER.AMP.ENABLED = True
    half = run_passes(model, cfg, wide_image, passes=1)
    assert np.allclose(half.features, exact.features, atol=0.1)
    assert len(half.passes[0]) == pytest.approx(len(exact.passes[0]), abs=3)


def test_no_dropout_layer_is_an_error(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    with pytest.raises(MaskALError, match="no dropout layer.*StandardROIHeads.*network_config"):
        MonteCarloDropout(build_model(cfg), cfg, passes=2, seed=0)


def test_broken_image_is_named(model, cfg, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(MaskALError, match=r"broken\.png: is no image or is damaged"):
        run_passes(model, cfg, path)


@pytest.mark.gpu
def test_on_cuda(make_cfg, wide_image):
    cfg = make_cfg(dropout_probability=0.5, cuda_visible_devices="0")
    model = build_model(cfg)
    first = run_passes(model, cfg, wide_image)
    assert any(first.passes)
    assert numbers(run_passes(model, cfg, wide_image)) == numbers(first)
