"""Scripts as users of Detectron2 write them, on a tiny network and data set: they must run as they are."""

# ruff: noqa: N817, PTH103, PTH113, PTH118, PTH123, PTH208

from __future__ import annotations

import copy
import json
import os
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
from detectron2.config import CfgNode as CN
from detectron2.config import configurable, get_cfg
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.engine import DefaultPredictor, DefaultTrainer, HookBase
from detectron2.evaluation import COCOEvaluator, inference_on_dataset, print_csv_format
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads, build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.structures import BoxMode
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from detectron2.utils.logger import setup_logger
from detectron2.utils.visualizer import ColorMode, Visualizer


def get_shape_dicts(img_dir):
    dataset_dicts = []
    with open(os.path.join(img_dir, "dataset.json"), encoding="utf-8") as f:
        content = json.load(f)
    for image, anno in zip(content["images"], content["annotations"], strict=True):
        x, y, w, h = anno["bbox"]
        record = {
            "file_name": os.path.join(img_dir, image["file_name"]),
            "image_id": image["id"],
            "height": image["height"],
            "width": image["width"],
            "annotations": [
                {
                    "bbox": [x, y, x + w, y + h],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "segmentation": anno["segmentation"],
                    "category_id": anno["category_id"] - 1,
                }
            ],
        }
        dataset_dicts.append(record)
    return dataset_dicts


def my_mapper(dataset_dict):
    dataset_dict = copy.deepcopy(dataset_dict)
    image = utils.read_image(dataset_dict["file_name"], format="BGR")
    augs = [T.Resize((64, 64)), T.RandomBrightness(0.8, 1.2), T.RandomFlip(prob=0.5, horizontal=True, vertical=False)]
    image, transforms = T.apply_transform_gens(augs, image)
    dataset_dict["image"] = torch.as_tensor(image.transpose(2, 0, 1).astype("float32"))
    annos = [
        utils.transform_instance_annotations(obj, transforms, image.shape[:2])
        for obj in dataset_dict.pop("annotations")
        if obj.get("iscrowd", 0) == 0
    ]
    instances = utils.annotations_to_instances(annos, image.shape[:2])
    dataset_dict["instances"] = utils.filter_empty_instances(instances)
    return dataset_dict


@ROI_HEADS_REGISTRY.register()
class ScaledLossROIHeads(StandardROIHeads):
    """Weighs its losses."""

    @configurable
    def __init__(self, *, loss_scale, **kwargs):
        super().__init__(**kwargs)
        self.loss_scale = loss_scale

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg, input_shape)
        ret["loss_scale"] = cfg.MODEL.ROI_HEADS.LOSS_SCALE
        return ret

    def forward(self, images, features, proposals, targets=None):
        instances, losses = super().forward(images, features, proposals, targets)
        return instances, {k: v * self.loss_scale for k, v in losses.items()}


class ValidationLoss(HookBase):
    def __init__(self, cfg, period):
        self.cfg = cfg.clone()
        self.period = period
        self._loader = iter(build_detection_train_loader(self.cfg, mapper=my_mapper))

    def after_step(self):
        if (self.trainer.iter + 1) % self.period:
            return
        with torch.no_grad():
            loss_dict = self.trainer.model(next(self._loader))
        loss_dict_reduced = {"val_" + k: v.item() for k, v in comm.reduce_dict(loss_dict).items()}
        if comm.is_main_process():
            self.trainer.storage.put_scalars(
                total_val_loss=sum(loss_dict_reduced.values()), smoothing_hint=False, **loss_dict_reduced
            )


class MyTrainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        if output_folder is None:
            output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        return COCOEvaluator(dataset_name, cfg, True, output_folder)

    @classmethod
    def build_train_loader(cls, cfg):
        return build_detection_train_loader(cfg, mapper=my_mapper)

    def build_hooks(self):
        hooks = super().build_hooks()
        hooks.insert(-1, ValidationLoss(self.cfg, 2))
        return hooks


@pytest.fixture
def shapes(mixed_images):
    for split in ("train", "val"):
        DatasetCatalog.register("shapes_" + split, lambda: get_shape_dicts(str(mixed_images)))
        MetadataCatalog.get("shapes_" + split).set(thing_classes=["square", "disc"])
    yield
    for split in ("train", "val"):
        DatasetCatalog.remove("shapes_" + split)
        MetadataCatalog.remove("shapes_" + split)


@pytest.fixture
def cfg(shapes, tmp_path):
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"))
    cfg.MODEL.ROI_HEADS.LOSS_SCALE = 0.5
    cfg.MODEL.TINY = CN()
    cfg.MODEL.TINY.CHANNELS = 32
    cfg.DATASETS.TRAIN = ("shapes_train",)
    cfg.DATASETS.TEST = ("shapes_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 16
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 32
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 8
    cfg.MODEL.FPN.OUT_CHANNELS = cfg.MODEL.TINY.CHANNELS
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [24], [32], [48]]
    cfg.merge_from_list(["MODEL.ROI_BOX_HEAD.FC_DIM", "32", "MODEL.ROI_MASK_HEAD.CONV_DIM", 16])
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_HEADS.NAME = "ScaledLossROIHeads"
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.BASE_LR = 0.00025
    cfg.SOLVER.MAX_ITER = 4
    cfg.SOLVER.STEPS = []
    cfg.TEST.EVAL_PERIOD = 2
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    return cfg


def test_the_tutorial_from_registering_to_evaluating(cfg):
    setup_logger()
    shapes_metadata = MetadataCatalog.get("shapes_train")
    dataset_dicts = DatasetCatalog.get("shapes_train")
    for d in dataset_dicts[:2]:
        img = cv2.imread(d["file_name"])
        visualizer = Visualizer(img[:, :, ::-1], metadata=shapes_metadata, scale=0.5)
        out = visualizer.draw_dataset_dict(d)
        assert out.get_image()[:, :, ::-1].shape == (d["height"] // 2, d["width"] // 2, 3)

    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    trainer = MyTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert set(results) == {"bbox", "segm"}
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json"), encoding="utf-8") as f:
        metrics = [json.loads(line) for line in f]
    assert any("total_val_loss" in m and "val_loss_mask" in m for m in metrics)

    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.01
    predictor = DefaultPredictor(cfg)
    assert predictor.metadata.thing_classes == ["square", "disc"]
    for d in DatasetCatalog.get("shapes_val")[:2]:
        im = cv2.imread(d["file_name"])
        outputs = predictor(im)
        instances = outputs["instances"].to("cpu")
        assert instances.pred_masks.shape == (len(instances), d["height"], d["width"])
        v = Visualizer(im[:, :, ::-1], metadata=shapes_metadata, scale=2, instance_mode=ColorMode.IMAGE_BW)
        out = v.draw_instance_predictions(instances)
        assert out.get_image().shape == (2 * d["height"], 2 * d["width"], 3)

    evaluator = COCOEvaluator("shapes_val", output_dir=cfg.OUTPUT_DIR)
    val_loader = build_detection_test_loader(cfg, "shapes_val")
    found = inference_on_dataset(predictor.model, val_loader, evaluator)
    print_csv_format(found)
    assert found["bbox"].keys() == results["bbox"].keys() >= {"AP", "AP50", "APl"}
    assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "coco_instances_results.json"))


def test_a_resumed_tutorial_goes_on(cfg):
    MyTrainer(cfg).train()
    cfg.SOLVER.MAX_ITER = 6
    trainer = MyTrainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 4
    trainer.train()
    assert trainer.iter == 6


def test_the_scaled_head_scales_its_losses(cfg):
    losses = []
    for scale in (0.5, 1.0):
        cfg.MODEL.ROI_HEADS.LOSS_SCALE = scale
        torch.manual_seed(0)
        np.random.seed(0)
        model = build_model(cfg)
        batch = next(iter(build_detection_train_loader(cfg, mapper=my_mapper)))
        with EventStorage():
            losses.append(model(batch))
    assert losses[0]["loss_cls"].item() == pytest.approx(0.5 * losses[1]["loss_cls"].item())
    assert losses[0]["loss_rpn_cls"].item() == pytest.approx(losses[1]["loss_rpn_cls"].item())


def test_a_loop_of_ones_own(cfg):
    model = build_model(cfg)
    model.train()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, optimizer=optimizer, scheduler=scheduler)
    start_iter = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False).get("iteration", -1) + 1
    max_iter = cfg.SOLVER.MAX_ITER
    periodic_checkpointer = PeriodicCheckpointer(checkpointer, 2, max_iter=max_iter)
    data_loader = build_detection_train_loader(cfg)
    with EventStorage(start_iter) as storage:
        for data, iteration in zip(data_loader, range(start_iter, max_iter), strict=False):
            storage.iter = iteration
            loss_dict = model(data)
            losses = sum(loss_dict.values())
            assert torch.isfinite(losses).all(), loss_dict
            loss_dict_reduced = {k: v.item() for k, v in comm.reduce_dict(loss_dict).items()}
            if comm.is_main_process():
                storage.put_scalars(total_loss=sum(loss_dict_reduced.values()), **loss_dict_reduced)
            optimizer.zero_grad()
            losses.backward()
            optimizer.step()
            storage.put_scalar("lr", optimizer.param_groups[0]["lr"], smoothing_hint=False)
            scheduler.step()
            periodic_checkpointer.step(iteration)
    assert {"model_0000001.pth", "model_0000003.pth", "model_final.pth"} <= set(os.listdir(cfg.OUTPUT_DIR))
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 3


class AccumulatingTrainer(MyTrainer):
    """Two batches a step."""

    def run_step(self):
        assert self.model.training
        self.optimizer.zero_grad()
        for _ in range(2):
            data = next(self._trainer._data_loader_iter)
            loss_dict: dict[str, Any] = self.model(data)
            (sum(loss_dict.values()) / 2).backward()
        self._trainer._write_metrics(loss_dict, 0.0)
        self.optimizer.step()


def test_a_step_of_ones_own(cfg):
    cfg.DATASETS.TEST = ()
    trainer = AccumulatingTrainer(cfg)
    trainer.train()
    assert len(trainer.storage.history("total_loss").values()) == 4
