"""Points of a training from which it can go on after an interruption."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from active_learning.errors import first_line
from active_learning.network.weights_files import UNREADABLE, write_failure_explained
from active_learning.system.files import file_stamp, write_atomically
from active_learning.system.log import logger
from active_learning.system.saving import signature
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.utils import comm

KEPT = 2  # should the last be damaged, as by a power cut, the one before is there
LOADED, OTHER_START = "loaded", "another start"  # what may have come of a checkpoint
EARLIER = "seconds_before"  # the file that has those of a training before it was stopped
LONGEST = 600.0  # seconds without one: where an evaluation is hours away, a power cut shall not cost them


class ResumePoint(HookBase):
    """Keeps checkpoints of everything: with each evaluation, after the last iteration, and where LONGEST has passed.

    They belong to one config: a training with another one (another loop, other settings) does not use them. They
    stay until `remove_resume_points`, so that a training that was finished, but not noted as such, is not redone.

    Attributes:
        folder: they are in.
        start: a digest of the weights to start from, of which those are that can be gone on from; "" where the file is
            not there (any more).
        is_of_other_data: whether the one that was loaded was trained on other images or annotations.
    """

    def __init__(self, trainer: DefaultTrainer, cfg: CfgNode) -> None:
        self.damaged = False
        self.is_of_other_data = False
        self._data = _digest_of_data(cfg)
        self.start = file_stamp(Path(cfg.MODEL.WEIGHTS))
        self._seconds = 0.0  # of this training before it was stopped, without the pause
        self.folder = _folder(Path(cfg.OUTPUT_DIR))
        self._prefix = hashlib.sha256(_description(cfg).encode()).hexdigest()[:12]
        self._period = cfg.TEST.EVAL_PERIOD
        self._checkpointer = DetectionCheckpointer(
            trainer.checkpointer.model, str(self.folder), trainer=weakref.proxy(trainer)
        )

    def before_train(self) -> None:
        self._started = self._saved = time.monotonic()
        if comm.is_main_process() and self._seconds:
            write_atomically(self.folder / EARLIER, f"{self._seconds}\n")
        elif comm.is_main_process():
            (self.folder / EARLIER).unlink(missing_ok=True)  # of a training that was given up

    def state_dict(self) -> dict[str, Any]:
        seconds = self._seconds + time.monotonic() - self._started
        return {"seconds": seconds, "content": self._data, "start": self.start}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        seconds = float(state_dict["seconds"])
        if not 0 <= seconds < math.inf:
            raise ValueError(f"trainer.hooks.ResumePoint.seconds: {seconds} is no time")
        self._seconds = seconds
        self.is_of_other_data = state_dict.get("content", self._data) != self._data  # an earlier version has left none

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter or self._is_overdue():
            self.trainer.storage.settle()  # a loss that is not finite must stop the training before this is saved
            self._save(f"{self._prefix}_{self.trainer.iter:07d}")
            self._saved = time.monotonic()
            comm.synchronize()

    def _is_overdue(self) -> bool:
        """In a process alone: several would have to agree on the iteration, and to collect their states for it."""
        return comm.get_world_size() == 1 and time.monotonic() - self._saved >= LONGEST

    def _save(self, name: str) -> None:
        if not comm.is_main_process():
            return
        with write_failure_explained(self.folder / f"{name}.pth"):
            self.folder.mkdir(exist_ok=True)
            self._checkpointer.save(name)
        kept = self._points()[:KEPT]
        for old in set(self.folder.glob("*.pth")) - set(kept):
            old.unlink()

    def _points(self) -> list[Path]:
        """Of this config, the newest first."""
        return sorted(self.folder.glob(f"{self._prefix}_*.pth"), reverse=True)

    def load(self) -> bool:
        """Whether there was a whole point of this config; sets the trainer's `iter` to the last that was done.

        Where there were damaged ones alone (`damaged`), the trainer may hold parts of them: make another one.
        """
        points: list[Path] = comm.all_gather(self._points())[0]  # the first process renames damaged ones
        for point in points:
            found = comm.all_gather(self._load(point))
            if set(found) == {LOADED}:
                return True
            if OTHER_START in found:
                logger.warning("%s: is of a training that started from other weights; it begins anew", point)
                return False
            self.damaged = True
            if comm.is_main_process():  # else it would count among the newest, and push out those that follow
                with suppress(OSError):
                    point.rename(point.with_suffix(".damaged"))
        if self.damaged:
            logger.warning("%s: no checkpoint of this training is whole; it begins anew", self.folder)
        elif any(self.folder.glob("*.pth")):
            reason = "checkpoints of this training with other settings or in another folder"
            logger.warning("%s: holds %s; it begins anew", self.folder, reason)
        return False

    def _load(self, point: Path) -> str:
        """LOADED, OTHER_START, or "" for a damaged one."""
        try:
            content = torch.load(point, map_location="cpu", weights_only=True)
            _check(point, content, self._checkpointer.model)
            start = content["trainer"]["hooks"]["ResumePoint"].get("start", "")
            if self.start and start not in ("", self.start):  # "": an earlier version, or no file (any more)
                return OTHER_START
            self._checkpointer.load(str(point))
        except (*UNREADABLE, TypeError, IndexError) as error:
            logger.warning("%s: this checkpoint is damaged (%s); the one before is used", point, first_line(error))
            return ""
        return LOADED


def _check(point: Path, content: Any, model: nn.Module) -> None:
    """Raises ValueError, which names the value, for what loading would take as it is."""
    done, best_ap = content["trainer"]["iteration"], content["trainer"]["hooks"]["KeepBest"]["best_ap"]
    if type(done) is not int or done != int(point.stem.rsplit("_", 1)[1]):
        raise ValueError(f"trainer.iteration: {done!r} is not that of the file's name")
    if not isinstance(best_ap, (int, float)) or not 0 <= best_ap <= 100:
        raise ValueError(f"trainer.hooks.KeepBest.best_ap: {best_ap!r} is no AP from 0 to 100")
    needed = {name: weight.shape for name, weight in model.state_dict().items()}
    if {name: weight.shape for name, weight in content["model"].items()} != needed:
        raise ValueError("model: holds other weights than the network")
    for name, weight in content["model"].items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ValueError(f"model.{name}: holds numbers that are not finite")


def remove_resume_points(output_dir: Path) -> None:
    """Once it is noted that the training is done."""
    shutil.rmtree(_folder(output_dir), ignore_errors=True)


def seconds_before(output_dir: Path) -> float:
    """How long the training that has just ended had gone on before it was stopped the last time; 0 for one at a go."""
    file = _folder(output_dir) / EARLIER
    return float(file.read_text(encoding="utf-8")) if file.exists() else 0.0


def _folder(output_dir: Path) -> Path:
    return output_dir / "resume"


def _digest_of_data(cfg: CfgNode) -> str:
    """Of the json files that are trained on, and the sizes of their images: reading those would take minutes."""
    digest = hashlib.sha256()
    for name in cfg.DATASETS.TRAIN:
        data = MetadataCatalog.get(name)
        content = Path(data.json_file).read_bytes()
        digest.update(content)
        for image in json.loads(content)["images"]:
            found = signature(Path(data.image_root) / image["file_name"])
            digest.update(f" {found and found[2]}".encode())
    return digest.hexdigest()


def _description(cfg: CfgNode) -> str:
    """All that a training must have in common with the one it goes on with."""
    cfg = cfg.clone()
    cfg.MODEL.pop("CPU_KERNELS", None)  # only rounding depends on it
    cfg.INPUT.pop("MAX_PIXELS", None)  # only which images are refused
    if not cfg.INPUT.get("TILE_SIZE"):
        for key in ("TILE_SIZE", "TILE_OVERLAP"):  # of no effect, and unknown to earlier versions
            cfg.INPUT.pop(key, None)
    text: str = cfg.dump()
    return text
