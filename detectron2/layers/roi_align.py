"""RoIAlign (He et al. 2017, Mask R-CNN, section 3) as a module."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import roi_align

from detectron2.layers.cpu import roi_align as cpu
from detectron2.utils.errors import InputError


class ROIAlign(nn.Module):
    """Pool RoIs of feature maps to one size: each bin is the mean of bilinear interpolations at its sampling points.

    Args:
        output_size: (height, width) in bins, or one number for both.
        spatial_scale: feature pixels per box unit (1 / stride).
        sampling_ratio: sampling points along each side of a bin; 0 takes as many as the bin is pixels wide.
        aligned: pixel (i, j) has its centre at (i + 0.5, j + 0.5); False shifts RoIs by half a pixel.
    """

    cpu_kernels = True

    def __init__(
        self, output_size: int | tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__()
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """NCHW maps and Kx5 rois (batch index, x0, y0, x1, y1) -> K x C x output_size."""
        if rois.dim() != 2 or rois.shape[1] != 5:
            raise InputError(f"ROIAlign: rois have shape {tuple(rois.shape)}, expected (K, 5)")
        pool = cpu.roi_align if self.cpu_kernels else roi_align
        rois = rois.to(input.dtype)
        return pool(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
