"""The network configuration: a tree of defaults, YAML files that override it, and classes built from it."""

from detectron2.config.config import CfgNode, get_cfg, global_cfg, set_global_cfg
from detectron2.config.configurable import configurable
