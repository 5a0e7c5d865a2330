"""Saving a training run and loading weights, without running code from the file."""

from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from detectron2.checkpoint.catalog import ModelCatalog, ModelCatalogHandler
from detectron2.checkpoint.detection_checkpoint import DetectionCheckpointer
