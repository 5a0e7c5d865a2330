"""A trained network from a config file and weights, and drawing what it sees."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.network_file import add_dropout_config
from active_learning.network.prediction import load_all_weights
from active_learning.system.log import print_note
from demo.prediction_files import UsageError
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.data import Metadata, MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.structures import Instances
from detectron2.utils.memory import is_cuda_out_of_memory
from detectron2.utils.visualizer import ColorMode, VisImage, Visualizer

# What a config that contradicts itself, or asks for what is not there, may end in.
UNBUILDABLE = (AssertionError, AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)

LEGIBLE, LARGEST_SCALE = 400, 4  # a picture's shorter side in pixels, if enlarging so far reaches it


def as_bgr(picture: VisImage) -> np.ndarray:
    """HxWx3 uint8, as OpenCV takes it."""
    return np.ascontiguousarray(picture.get_image()[:, :, ::-1])


class TrainedNetwork:
    """Predicts on images with the network of a config, and draws the predictions with the names of the classes."""

    def __init__(self, cfg: CfgNode, classes: Sequence[str] = ()) -> None:
        """
        Args:
            cfg: of `read_config`.
            classes: their names; else those of the config's data set, else numbers.

        Raises:
            UsageError: the network cannot be built, or its weights are not there, do not fit or are of other classes.
        """
        self.classes = class_names(cfg, classes)
        self._predictor = _load_predictor(cfg, classes)

    def __call__(self, image: np.ndarray) -> Instances:
        """What it sees in an image of HxWx3 uint8 BGR, on the CPU.

        Raises MaskALError if the GPU's memory is too small.
        """
        try:
            return self._predictor(image)["instances"].to("cpu")
        except RuntimeError as error:
            if not is_cuda_out_of_memory(error):
                raise
            height, width = image.shape[:2]
            raise MaskALError(
                f"The GPU's memory is too small for an image of {height}x{width} (height x width): "
                "add MODEL.DEVICE cpu, or a smaller INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST, to --opts"
            ) from error

    def draw(self, image: np.ndarray, instances: Instances) -> VisImage:
        """`image` as for prediction; a small one becomes a larger picture, as its labels would hide it."""
        scale = min(math.ceil(LEGIBLE / min(image.shape[:2])), LARGEST_SCALE)
        return self._visualizer(image, ColorMode.IMAGE, scale).draw_instance_predictions(instances)

    def draw_frame(self, image: np.ndarray, instances: Instances) -> np.ndarray:
        """As `image`, HxWx3 uint8 BGR, in colours of classes: those of instances would change from frame to frame."""
        visualizer = self._visualizer(image, ColorMode.SEGMENTATION, scale=1)
        return as_bgr(visualizer.draw_instance_predictions(instances))

    def _visualizer(self, image: np.ndarray, mode: ColorMode, scale: int) -> Visualizer:
        metadata = Metadata(thing_classes=self.classes)
        return Visualizer(image[:, :, ::-1], metadata, scale=scale, instance_mode=mode)

    def count(self, instances: Instances) -> str:
        """Such as "3 objects (2 healthy, 1 damaged)"."""
        number = len(instances)
        if number == 0:
            return "0 objects"
        counts = Counter(instances.pred_classes.tolist())
        named = ", ".join(f"{n} {self.classes[index]}" for index, n in counts.most_common())
        return f"{number} object{'' if number == 1 else 's'} ({named})"


def read_config(name: str, *, threshold: float, classes: Sequence[str] = (), opts: Sequence[str] = ()) -> CfgNode:
    """The config of a file, or of the model zoo with its published weights; `opts` (KEY VALUE ...) replace its values.

    Args:
        threshold: detections with a lower score are left out.
        classes: as many as the network has; sets MODEL.ROI_HEADS.NUM_CLASSES.

    Raises:
        UsageError: it cannot be found or read, or is of a network that predicts no objects.
    """
    cfg = get_cfg()
    add_dropout_config(cfg)
    _merge_file(cfg, name)
    _merge_options(cfg, opts)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    if classes:
        _set_class_count(cfg, len(classes), given="MODEL.ROI_HEADS.NUM_CLASSES" in opts)
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        raise UsageError(f"--config-file {name}: a ProposalNetwork predicts no objects; give a Mask or Faster R-CNN")
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        print_note("There is no CUDA GPU: predicting on the CPU, which is slow.")
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg


def _merge_file(cfg: CfgNode, name: str) -> None:
    try:
        in_zoo = not Path(name).is_file()
        cfg.merge_from_file(model_zoo.get_config_file(name) if in_zoo else name)
        if in_zoo:
            cfg.MODEL.WEIGHTS = _published_weights(name) or cfg.MODEL.WEIGHTS
    except RuntimeError as error:
        raise UsageError(f"--config-file {name}: there is no such file, and {error}") from error
    except (OSError, KeyError, ValueError, AssertionError) as error:
        raise UsageError(f"--config-file {name}: {_said(error)}") from error


def _published_weights(name: str) -> str | None:
    try:
        return model_zoo.get_checkpoint_url(name)
    except RuntimeError:  # none were published: the config's own may be trained ones
        return None


def _merge_options(cfg: CfgNode, opts: Sequence[str]) -> None:
    try:
        cfg.merge_from_list(list(opts))
    except (KeyError, ValueError, AssertionError, SyntaxError) as error:
        flag = next((text for text in opts if text.startswith("--")), None)
        hint = f" (--opts takes all that follows: put {flag} before it)" if flag else ""
        raise UsageError(f"--opts {' '.join(opts)}: {_said(error)}{hint}") from error


def _said(error: Exception) -> str:
    """The message; KeyError puts its own in quotes."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _set_class_count(cfg: CfgNode, count: int, *, given: bool) -> None:
    heads = cfg.MODEL.ROI_HEADS
    if given and count != heads.NUM_CLASSES:
        raise UsageError(
            f"--classes: {count} names for the {heads.NUM_CLASSES} classes of MODEL.ROI_HEADS.NUM_CLASSES; "
            "give each class its name"
        )
    heads.NUM_CLASSES = count


def class_names(cfg: CfgNode, given: Sequence[str] = ()) -> list[str]:
    """The given names, else those in the metadata of the config's data sets, else "class 0", "class 1", ..."""
    if given:
        return list(given)
    count = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        names = MetadataCatalog.get(dataset).get("thing_classes", ())
        # Configs for one's own classes often keep COCO's data sets; then its names would be wrong.
        if len(names) == count:
            return list(names)
    print_note("The names of the classes are unknown; give them with --classes.")
    return [f"class {index}" for index in range(count)]


def _load_predictor(cfg: CfgNode, classes: Sequence[str]) -> DefaultPredictor:
    weights = cfg.MODEL.WEIGHTS
    if not weights:
        raise UsageError("The config names no weights; add --opts MODEL.WEIGHTS FILE with those of a trained network")
    untrained = cfg.clone()
    untrained.defrost()
    untrained.MODEL.WEIGHTS = ""
    try:
        predictor = DefaultPredictor(untrained)
    except UNBUILDABLE as error:
        raise UsageError(f"The network of the config cannot be built: {_said(error)}") from error
    try:
        load_all_weights(predictor.model, os.fspath(weights), classes)
    except SettingsError as error:
        raise UsageError(f"MODEL.WEIGHTS {error}") from error
    except MaskALError as error:
        raise UsageError(
            f"MODEL.WEIGHTS {error} (here: {cfg.MODEL.ROI_HEADS.NUM_CLASSES} classes); "
            "correct --opts MODEL.WEIGHTS FILE, --classes or --config-file"
        ) from error
    return predictor
