from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.engine import (
    DefaultPredictor,
    DefaultTrainer,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from detectron2.engine.hooks import PreciseBN
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter


@META_ARCH_REGISTRY.register()
class EchoForTests(nn.Module):
    """Detects nothing: gives back what it was given."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return batch


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return {"loss_fit": (self.layer(x) - 2 * x).square().mean()}


class Trainer(DefaultTrainer):
    """Everything by default but the model, the data and the evaluation."""

    @classmethod
    def build_model(cls, cfg):
        torch.manual_seed(3)
        return Regression()

    @classmethod
    def build_train_loader(cls, cfg):
        return [torch.ones(2, 1)]

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {"fit": {"error": abs(model.layer.weight.item() - 1)}}


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.SOLVER.MAX_ITER = 6
    cfg.SOLVER.STEPS = (4,)
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.CHECKPOINT_PERIOD = 3
    cfg.TEST.EVAL_PERIOD = 2
    return cfg


def test_trainer_runs_hooks_and_returns_the_last_evaluation(cfg, tmp_path):
    trainer = Trainer(cfg)
    results = trainer.train()
    assert results["fit"]["error"] >= 0
    assert trainer.storage.latest()["fit/error"][1] == 6
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        "model_0000002.pth",
        "model_0000005.pth",
        "model_final.pth",
    }
    assert (tmp_path / "last_checkpoint").read_text(encoding="utf-8") == "model_final.pth"
    assert (tmp_path / "metrics.json").is_file()


def test_a_trainer_and_its_model_are_freed_with_the_last_reference(cfg):
    """Without the garbage collector, which may come long after the next training has filled the GPU."""
    trainer = Trainer(cfg)
    held = [weakref.ref(one) for one in (trainer, trainer.model, trainer.optimizer)]
    trainer.train()
    gc.disable()
    try:
        del trainer
        assert [one() for one in held] == [None] * 3
    finally:
        gc.enable()


def test_checkpoint_keys(cfg, tmp_path):
    Trainer(cfg).train()
    checkpoint = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert {"model", "optimizer", "scheduler", "iteration"} <= set(checkpoint)
    assert checkpoint["iteration"] == 5


@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "amp"])
def test_resumed_training_equals_an_uninterrupted_one(cfg, tmp_path, amp):
    cfg.SOLVER.AMP.ENABLED = amp
    whole = Trainer(cfg)
    whole.train()
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth", encoding="utf-8")
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 3
    resumed.train()
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(whole.optimizer.param_groups[0]["lr"])


def test_checkpoint_of_an_upstream_trainer_resumes(cfg, tmp_path):
    """Detectron2 0.6 keeps optimizer and schedule inside `trainer`."""
    source = Trainer(cfg)
    source.train()
    source.iter = 2
    state = {"model": source.model.state_dict(), "trainer": source.state_dict(), "iteration": 2}
    torch.save(state, tmp_path / "upstream.pth")
    (tmp_path / "last_checkpoint").write_text("upstream.pth", encoding="utf-8")
    trainer = Trainer(cfg)
    trainer.resume_or_load()
    assert trainer.start_iter == 3
    momentum = trainer.optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, source.optimizer.state_dict()["state"][0]["momentum_buffer"])
    assert trainer.scheduler.last_epoch == source.scheduler.last_epoch


def test_without_resume_the_weights_are_loaded(cfg, tmp_path):
    Trainer(cfg).train()
    weights = tmp_path / "start.pth"
    torch.save({"model": {"layer.weight": torch.tensor([[7.0]]), "layer.bias": torch.tensor([1.0])}}, weights)
    cfg.MODEL.WEIGHTS = str(weights)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0
    assert trainer.model.layer.weight.item() == 7.0


def test_hooks_come_in_the_standard_order(cfg):
    names = [type(hook).__name__ for hook in Trainer(cfg).build_hooks() if hook]
    assert names == ["IterationTimer", "LRScheduler", "PeriodicCheckpointer", "EvalHook", "PeriodicWriter"]


def test_precise_statistics_are_those_that_are_saved_and_evaluated(cfg, tmp_path):
    cfg.TEST.PRECISE_BN.ENABLED, cfg.TEST.PRECISE_BN.NUM_ITER = True, 2
    cfg.freeze()
    assert not any(isinstance(hook, PreciseBN) for hook in Trainer(cfg).build_hooks())  # no batch norm

    class NormTrainer(Trainer):
        @classmethod
        def build_model(cls, cfg):
            model = Regression()
            model.layer = nn.Sequential(nn.BatchNorm1d(1), model.layer)
            return model

        @classmethod
        def build_train_loader(cls, cfg):
            return [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]])]

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"mean": model.layer[0].running_mean.item()}

    trainer = NormTrainer(cfg)
    trainer.train()
    assert [type(hook).__name__ for hook in trainer.build_hooks()][1:4] == [
        "LRScheduler",
        "PreciseBN",
        "PeriodicCheckpointer",
    ]
    assert [mean for mean, _ in trainer.storage.history("mean").values()] == [3.0, 3.0, 3.0]
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert saved["layer.0.running_mean"].item() == 3.0


def test_parts_of_the_trainer_can_be_exchanged(cfg):
    trainer = Trainer(cfg)
    model, loader = Regression(), [torch.zeros(1, 1)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer.model, trainer.data_loader, trainer.optimizer = model, loader, optimizer
    assert trainer.model is model
    assert trainer.data_loader is loader
    assert trainer.optimizer is optimizer


def test_expected_results_are_checked(cfg):
    cfg.TEST.EXPECTED_RESULTS = [["fit", "error", 1e6, 0.1]]
    with pytest.raises((SystemExit, AssertionError, ValueError)):
        Trainer(cfg).train()


def test_evaluator_must_be_named(cfg, caplog):
    with pytest.raises(NotImplementedError, match=r"'some_set'.*build_evaluator"):
        DefaultTrainer.build_evaluator(cfg, "some_set")
    cfg.DATASETS.TEST = ("some_set",)
    assert DefaultTrainer.test(cfg, nn.Linear(1, 1)) == {}
    assert "Not evaluated: DefaultTrainer does not say how to evaluate 'some_set'" in caplog.text
    with pytest.raises(ValueError, match="2 evaluators are given for 1 test datasets"):
        DefaultTrainer.test(cfg, nn.Linear(1, 1), [None, None])


def test_single_process_model_is_not_wrapped():
    model = nn.Linear(1, 1)
    assert create_ddp_model(model) is model


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"config_file": "", "num_gpus": 1, "resume": False, "eval_only": False, "opts": []}),
        (
            "--config-file a.yaml --num-gpus 2 --resume --eval-only SOLVER.BASE_LR 0.1",
            {
                "config_file": "a.yaml",
                "num_gpus": 2,
                "resume": True,
                "eval_only": True,
                "opts": ["SOLVER.BASE_LR", "0.1"],
            },
        ),
        (
            "--num-machines 3 --machine-rank 1 --dist-url tcp://a:1",
            {"num_machines": 3, "machine_rank": 1, "dist_url": "tcp://a:1"},
        ),
    ],
    ids=["defaults", "one machine", "several machines"],
)
def test_command_line(line, expected):
    arguments = vars(default_argument_parser().parse_args(line.split()))
    assert {key: arguments[key] for key in expected} == expected


def test_setup_makes_the_folder_and_seeds(cfg, tmp_path):
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    cfg.SEED = 11
    samples = []
    for _ in range(2):
        default_setup(cfg, SimpleNamespace(config_file="", eval_only=False))
        samples.append((torch.rand(1).item(), np.random.rand()))
    assert samples[0] == samples[1]
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert config == cfg.dump()
    assert "CPU_KERNELS" not in config  # upstream could not read it
    assert "Command line arguments" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


def test_writers(tmp_path):
    writers = default_writers(str(tmp_path / "deep" / "out"), 10)
    assert [type(writer) for writer in writers] == [CommonMetricPrinter, JSONWriter, TensorboardXWriter]
    for writer in writers:
        writer.close()
    assert (tmp_path / "deep" / "out" / "metrics.json").is_file()


@pytest.mark.parametrize("workers", [0, 8])
def test_schedule_without_need_of_scaling_is_kept(cfg, workers):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = workers
    assert DefaultTrainer.auto_scale_workers(cfg, workers or 4) is cfg


def test_schedule_scales_with_the_processes(cfg):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    cfg.SOLVER.IMS_PER_BATCH = 16
    cfg.SOLVER.MAX_ITER = 900
    cfg.SOLVER.STEPS = (600, 800)
    cfg.SOLVER.CHECKPOINT_PERIOD = 50
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 4)
    solver = scaled.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER) == (8, 0.05, 1800)
    assert (solver.STEPS, solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD) == ((1200, 1600), 4, 100)
    assert (scaled.TEST.EVAL_PERIOD, solver.REFERENCE_WORLD_SIZE) == (4, 4)
    assert scaled.is_frozen()
    assert cfg.SOLVER.IMS_PER_BATCH == 16


def test_batch_must_divide_among_the_reference_processes(cfg):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 3
    with pytest.raises(ValueError, match="no multiple"):
        DefaultTrainer.auto_scale_workers(cfg, 4)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_predictor_resizes_and_orders_channels(cfg, order):
    cfg.MODEL.META_ARCHITECTURE = "EchoForTests"
    cfg.INPUT.FORMAT = order
    cfg.INPUT.MIN_SIZE_TEST = 20
    image = np.zeros((10, 30, 3), dtype=np.uint8)
    image[..., 0] = 9
    given = DefaultPredictor(cfg)(image)
    assert (given["height"], given["width"]) == (10, 30)
    assert given["image"].shape == (3, 20, 60)
    assert given["image"][:, 0, 0].tolist() == ([9, 0, 0] if order == "BGR" else [0, 0, 9])


@pytest.mark.parametrize(
    ("kind", "given"), [(np.uint8, torch.uint8), (np.float64, torch.float32), (bool, torch.float32)]
)
def test_predictor_gives_the_model_bytes_or_float32(cfg, kind, given):
    cfg.MODEL.META_ARCHITECTURE = "EchoForTests"
    assert DefaultPredictor(cfg)(np.ones((10, 30, 3), dtype=kind))["image"].dtype is given


def test_predictor_refuses_other_formats(cfg):
    cfg.MODEL.META_ARCHITECTURE = "EchoForTests"
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(ValueError, match="'L'"):
        DefaultPredictor(cfg)


@pytest.mark.parametrize(
    "names",
    [
        "launch DEFAULT_TIMEOUT default_argument_parser default_setup default_writers DefaultPredictor DefaultTrainer",
        "TrainerBase SimpleTrainer AMPTrainer HookBase create_ddp_model hooks",
        "CallbackHook IterationTimer PeriodicWriter PeriodicCheckpointer BestCheckpointer LRScheduler EvalHook",
    ],
    ids=["running", "loop", "hooks"],
)
def test_the_engine_has_the_names_of_its_public_surface(names: str):
    import detectron2.engine as engine

    assert set(names.split()) <= set(dir(engine))
    assert callable(engine.launch)
    assert not issubclass(engine.DefaultTrainer, engine.SimpleTrainer)
