"""R-CNN instance segmentation with the public interface of Detectron2 0.6, in pure Python on PyTorch."""

__version__ = "0.6"
