"""What flows between the parts of a detector: boxes, masks, batches of images, and instances that carry them."""

from detectron2.structures.boxes import *
from detectron2.structures.image_list import ImageList
from detectron2.structures.instances import Instances
from detectron2.structures.masks import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask
