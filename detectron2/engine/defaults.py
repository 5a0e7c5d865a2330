"""What most trainings and predictions need, put together from a config."""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import detectron2.data.transforms as T
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import hooks
from detectron2.engine.train_loop import AMPTrainer, HookBase, ScalerState, SimpleTrainer, TrainerBase
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format, verify_results
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.errors import InputError
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager, write_whole
from detectron2.utils.logger import setup_logger

__all__ = [
    "DefaultPredictor", "DefaultTrainer", "create_ddp_model", "default_argument_parser", "default_setup",
    "default_writers",
]  # fmt: skip

logger = logging.getLogger(__name__)

# What newer PyTorch calls broadcast_buffers.
_RENAMED = "forward_sync_buffers"


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Command line of a training script: config file, KEY VALUE overrides (`opts`), number of processes."""
    usage = f"Train on one GPU:\n  {Path(sys.argv[0]).name} --config-file cfg.yaml [KEY VALUE ...]"
    parser = argparse.ArgumentParser(epilog=epilog or usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine, one a GPU")
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    parser.add_argument("--dist-url", default="auto", help="where several machines meet: tcp://HOST:PORT")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that override the config file")
    return parser


def default_setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Start a job: output folder, log, config.yaml in the folder, random seeds, cuDNN and matmul settings."""
    rank = comm.get_rank()
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        PathManager.mkdirs(cfg.OUTPUT_DIR)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    logger.info("Process %d of %d\n%s", rank, comm.get_world_size(), collect_env_info())
    logger.info("Command line arguments: %s", args)
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        target = Path(cfg.OUTPUT_DIR) / "config.yaml"
        write_whole(target, lambda file: file.write_text(cfg.dump(), encoding="utf-8"))
        logger.info("The full config is in %s", target)
    seed_all_rng(cfg.SEED + rank if cfg.SEED >= 0 else None)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION:
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Writers to the log, to `metrics.json` and to TensorBoard files in `output_dir`."""
    PathManager.mkdirs(output_dir)
    metrics = JSONWriter(Path(output_dir) / "metrics.json")
    return [CommonMetricPrinter(max_iter), metrics, TensorboardXWriter(output_dir)]


def create_ddp_model(model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any) -> nn.Module:
    """The model itself in a single process, else wrapped in DistributedDataParallel (`kwargs` are its).

    Raises ValueError where a model on the CPU has SyncBN layers, which PyTorch has for GPUs only.
    """
    if comm.get_world_size() == 1:
        return model
    if next(model.parameters()).is_cuda:
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    else:
        _refuse_sync_bn(model)
    if "broadcast_buffers" in kwargs and _RENAMED in inspect.signature(DistributedDataParallel).parameters:
        kwargs[_RENAMED] = kwargs.pop("broadcast_buffers")
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        ddp.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return ddp


def _refuse_sync_bn(model: nn.Module) -> None:
    synced = [name for name, module in model.named_modules() if isinstance(module, nn.SyncBatchNorm)]
    if synced:
        raise ValueError(
            f"{len(synced)} SyncBN layers ('{synced[0]}', ...) cannot be trained by several processes on the CPU: set "
            "the NORM of MODEL.RESNETS, FPN, ROI_BOX_HEAD and ROI_MASK_HEAD to FrozenBN, GN or BN, or train on GPUs"
        )


class DefaultPredictor:
    """Predicts on one image at a time with the model and weights of a config.

    ``metadata`` is that of the config's first test data set.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg.clone()
        self.model = build_model(self.cfg).eval()
        if cfg.DATASETS.TEST:
            self.metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self.aug = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
        self.input_format = cfg.INPUT.FORMAT
        if self.input_format not in ("RGB", "BGR"):
            raise InputError(f"INPUT.FORMAT is '{self.input_format}'; it must be RGB or BGR")

    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """{"instances": Instances} in the coordinates of the image (HxWx3 uint8, BGR)."""
        with torch.no_grad():
            height, width = original_image.shape[:2]
            image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
            resized = self.aug.get_transform(image).apply_image(image)
            dtype = np.uint8 if resized.dtype == np.uint8 else np.float32  # bytes are uploaded as such
            tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=dtype))
            return self.model([{"image": tensor, "height": height, "width": width}])[0]


class _Progress:
    """Iteration, hooks, random generators, position in the data: what has no key of its own in a trainer's state."""

    def __init__(self, trainer: DefaultTrainer) -> None:
        self._trainer = weakref.proxy(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {**TrainerBase.state_dict(self._trainer), "processes": self._trainer._trainer.process_states()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._trainer.load_state_dict(state)


def _of_inner_trainer(name: str) -> Any:
    """A property that is read from and set on `_trainer`."""
    return property(lambda self: getattr(self._trainer, name), lambda self, value: setattr(self._trainer, name, value))


class DefaultTrainer(TrainerBase):
    """The usual training of a config: model, optimizer, schedule, data, hooks, evaluation.

    Override the `build_*` methods to change a part. Checkpoints have the keys model, optimizer, scheduler, iteration,
    trainer (what else a resumed training needs to equal an uninterrupted one) and, in mixed precision, grad_scaler.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        if not logging.getLogger("detectron2").hasHandlers():
            setup_logger()
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        trainer_type = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        ddp = create_ddp_model(model, broadcast_buffers=False)
        # The old gradients, as large as the weights, are gone when the forward pass fills the memory.
        self._trainer = trainer_type(ddp, data_loader, optimizer, zero_grad_before_forward=True)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        states: dict[str, Any] = {"optimizer": optimizer, "scheduler": self.scheduler, "trainer": _Progress(self)}
        if isinstance(self._trainer, AMPTrainer):
            states["grad_scaler"] = ScalerState(self._trainer.grad_scaler)
        self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, **states)
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self._last_eval_results: Mapping[str, Any] | None = None
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Load `cfg.MODEL.WEIGHTS`, or with `resume` the last checkpoint of OUTPUT_DIR where there is one.

        Resuming also restores optimizer, schedule, hooks, random generators and the position in the data, and goes on
        with the iteration after the checkpoint's. The losses are then those of an uninterrupted training.
        """
        resume = resume and self.checkpointer.has_checkpoint()
        checkpoint = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume:
            self.start_iter = checkpoint.get("iteration", self.iter) + 1

    def build_hooks(self) -> list[HookBase | None]:
        """Timer, learning rate, batch norms' statistics, checkpoints, evaluation, writers, in this order.

        Checkpoints come before the evaluation, so that a failing evaluation loses no training; writers come last.
        """
        cfg = self.cfg
        main, period = comm.is_main_process(), cfg.SOLVER.CHECKPOINT_PERIOD
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._precise_bn() if cfg.TEST.PRECISE_BN.ENABLED else None,
            hooks.PeriodicCheckpointer(self.checkpointer, period) if main else None,
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._test_and_keep_results),
            hooks.PeriodicWriter(self.build_writers(), period=20) if main else None,
        ]

    def _precise_bn(self) -> HookBase | None:
        """None where the network has no batch norm in training mode."""
        from fvcore.nn.precise_bn import get_bn_modules  # slow, and warns of what is old in it

        if not get_bn_modules(self.model):
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0  # the training's own workers are busy all the time; these would mostly wait
        loader = self.build_train_loader(cfg)
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)

    def _test_and_keep_results(self) -> Mapping[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """Train from `start_iter` to `max_iter`; returns the last evaluation's results (in the main process).

        Where `cfg.TEST.EXPECTED_RESULTS` is set, the results are compared with it.
        """
        super().train(self.start_iter, self.max_iter)
        if self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            if self._last_eval_results is None:
                raise RuntimeError("TEST.EXPECTED_RESULTS is set, but nothing was evaluated: set DATASETS.TEST")
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def after_step(self) -> None:
        if comm.get_world_size() > 1:
            self._gather_for_checkpoints()
        super().after_step()

    def _gather_for_checkpoints(self) -> None:
        """Checkpoints are written by the main process, which does not know the others' states."""
        done, periods = self.iter + 1, (self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.TEST.EVAL_PERIOD)
        saved = done >= self.max_iter or any(period > 0 and done % period == 0 for period in periods)
        if saved:
            self.storage.settle()  # in all processes: a loss that is not finite stops all of them
        self._trainer.gather_process_states(saved)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if "_trainer" in state_dict:
            self._trainer.load_state_dict(state_dict["_trainer"])
        if "processes" in state_dict:
            self._trainer.load_process_states(state_dict["processes"])

    data_loader = _of_inner_trainer("data_loader")
    model = _of_inner_trainer("model")
    optimizer = _of_inner_trainer("optimizer")

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The evaluator of a test dataset; a subclass must define it."""
        raise NotImplementedError(
            f"{cls.__name__} does not say how to evaluate '{dataset_name}': override build_evaluator, "
            "give test() the evaluators, or set DATASETS.TEST to ()"
        )

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None
    ) -> dict[str, Any]:
        """Evaluate on the config's test data sets, by one evaluator each, from `build_evaluator` where not given.

        Returns the results of the only data set, or {its name: results}; empty in processes other than the main one.
        """
        names = cfg.DATASETS.TEST
        given = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        if given is not None and len(given) != len(names):
            raise InputError(f"{len(given)} evaluators are given for {len(names)} test datasets")
        results: dict[str, Any] = {}
        for index, name in enumerate(names):
            try:
                evaluator = given[index] if given is not None else cls.build_evaluator(cfg, name)
            except NotImplementedError as error:
                # A training without an evaluator must not fail at its end.
                logger.warning("Not evaluated: %s", error)
                results[name] = {}
                continue
            results[name] = inference_on_dataset(model, cls.build_test_loader(cfg, name), evaluator) or {}
            if comm.is_main_process():
                logger.info("Results on %s:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """The config for `num_workers` processes, where SOLVER.REFERENCE_WORLD_SIZE is the number it was written for.

        Batch and learning rate grow with the number of processes, iteration counts shrink (linear scaling rule,
        Goyal et al. 2017, section 2.1). The same config where REFERENCE_WORLD_SIZE is 0 or equal to `num_workers`.
        """
        written_for = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if written_for in (0, num_workers):
            return cfg
        if cfg.SOLVER.IMS_PER_BATCH % written_for:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is no multiple of "
                f"SOLVER.REFERENCE_WORLD_SIZE {written_for}"
            )
        scale = num_workers / written_for
        cfg = cfg.clone()
        frozen = cfg.is_frozen()
        cfg.defrost()
        solver = cfg.SOLVER
        solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * scale)
        solver.BASE_LR *= scale
        for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
            solver[key] = round(solver[key] / scale)
        cfg.TEST.EVAL_PERIOD = round(cfg.TEST.EVAL_PERIOD / scale)
        solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
        solver.REFERENCE_WORLD_SIZE = num_workers
        if frozen:
            cfg.freeze()
        logger.info("The schedule is scaled from %d to %d processes:\n%s", written_for, num_workers, solver)
        return cfg
