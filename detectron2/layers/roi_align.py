"""RoIAlign (He et al. 2017, Mask R-CNN, section 3) as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from detectron2.layers.cpu.roi_align import MOST, Cells, WeightedSums

__all__ = ["ROIAlign", "roi_align"]


class ROIAlign(nn.Module):
    """Crop boxes from feature maps to one size by averaged bilinear samples.

    Args:
        output_size: (height, width) of a crop, in cells.
        spatial_scale: feature pixels per box unit (1 / stride).
        sampling_ratio: samples along each side of a cell; 0 takes as many as the cell is pixels wide.
        aligned: pixel (i, j) has its centre at (i + 0.5, j + 0.5); False shifts crops by half a pixel.
    """

    def __init__(
        self, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """NCHW maps and Kx5 rois (batch index, x0, y0, x1, y1) -> K x C x output_size."""
        if rois.dim() != 2 or rois.shape[1] != 5:
            raise ValueError(f"ROIAlign: rois have shape {tuple(rois.shape)}, expected (K, 5)")
        rois = rois.to(input.dtype)
        if input.device.type == "cpu" and input.dtype == torch.float32:
            cells = Cells.of(rois.detach(), self)
            if cells.weighted_pixels() <= MOST:
                crops: Tensor = WeightedSums.apply(input, cells)
                return crops
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
