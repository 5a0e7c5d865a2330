"""Training and prediction: the loop and its hooks, command line, defaults, several processes."""

from detectron2.engine.defaults import *
from detectron2.engine.hooks import *
from detectron2.engine.launch import *
from detectron2.engine.train_loop import *
