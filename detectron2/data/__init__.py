"""Data sets by name, mapped to what the network takes, in loaders."""

from detectron2.data import datasets, detection_utils, samplers, transforms
from detectron2.data.build import *
from detectron2.data.catalog import *
from detectron2.data.common import *
from detectron2.data.dataset_mapper import DatasetMapper
