"""ResNet and ResNeXt (He et al. 2016, arXiv 1512.03385; Xie et al. 2017, arXiv 1611.05431), plain or deformable
(Dai et al. 2017, arXiv 1703.06211; modulated: Zhu et al. 2018, arXiv 1811.11168).

Stages are named as in the detection literature: ``stem`` (stride 4), ``res2`` (4), ``res3`` (8), ``res4`` (16),
``res5`` (32, or 16 when dilated).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.layers.weight_init import c2_msra_fill
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY
from detectron2.utils.errors import InputError

__all__ = [
    "BasicBlock", "BasicStem", "BottleneckBlock", "DeformBottleneckBlock", "ResNet", "ResNetBlockBase",
    "build_resnet_backbone", "make_stage",
]  # fmt: skip

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BASIC_DEPTHS = (18, 34)
BASIC_NEEDS = {"RES2_OUT_CHANNELS": 64, "RES5_DILATION": 1, "NUM_GROUPS": 1}
PER_BLOCK = "_per_block"

ResNetBlockBase = CNNBlockBase


def _conv_norm(in_channels: int, out_channels: int, kernel: int, norm: Any, stride: int = 1, **kwargs: Any) -> Conv2d:
    """A bias-free convolution of "same" padding with its norm, initialised for the ReLU that follows."""
    kwargs |= {"stride": stride, "padding": kwargs.get("dilation", 1) * (kernel // 2), "bias": False}
    conv = Conv2d(in_channels, out_channels, kernel, norm=get_norm(norm, out_channels), **kwargs)
    c2_msra_fill(conv)
    return conv


class _ResidualBlock(CNNBlockBase):
    """relu(branch(x) + shortcut(x)); the shortcut is a 1x1 convolution where the number of channels changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Any) -> None:
        super().__init__(in_channels, out_channels, stride)
        changes = in_channels != out_channels
        self.shortcut = _conv_norm(in_channels, out_channels, 1, norm, stride) if changes else None

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        # in place, as no layer needs the branch's output for its gradient
        return F.relu_(self.branch(x).add_(identity))


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions, the block of ResNet-18 and -34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, out_channels, 3, norm, stride)
        self.conv2 = _conv_norm(out_channels, out_channels, 3, norm)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(_ResidualBlock):
    """1x1 (reduce), 3x3 (grouped, dilated), 1x1 (expand): the block of ResNet-50 and deeper, and of ResNeXt.

    ``stride_in_1x1`` puts the stride on the first 1x1 (original MSRA weights), not the 3x3 (torchvision's, ResNeXt's).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Any = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv_norm(in_channels, bottleneck_channels, 1, norm, stride_1x1)
        self.conv2 = _conv_norm(
            bottleneck_channels, bottleneck_channels, 3, norm, stride_3x3, groups=num_groups, dilation=dilation
        )
        self.conv3 = _conv_norm(bottleneck_channels, out_channels, 1, norm)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3(F.relu_(self.middle(F.relu_(self.conv1(x)))))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(x)


class DeformBottleneckBlock(BottleneckBlock):
    """A bottleneck block with a deformable 3x3 convolution: ``conv2_offset`` moves each of its nine sampling points.

    Args:
        kwargs: of :class:`BottleneckBlock`.
        deform_modulated: also learn a weight from 0 to 1 for each point.
        deform_num_groups: groups of channels with offsets of their own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, **kwargs)
        points, conv = 9 * deform_num_groups, self.conv2
        # Channels: (dy, dx) of each point, group by group, then the points' weights.
        self._parts = (2 * points, points) if deform_modulated else (2 * points,)
        geometry: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
        self.conv2_offset = Conv2d(conv.in_channels, sum(self._parts), 3, **geometry)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)  # type: ignore[arg-type]

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        # In float32: there is no 16-bit kernel for the CPU, and offsets would be too coarse.
        offsets, *weights = self.conv2_offset(x).float().split(self._parts, dim=1)
        conv, mask = self.conv2, weights[0].sigmoid() if weights else None
        bias = None if conv.bias is None else conv.bias.float()  # there is one once the norm was folded into it
        geometry: Any = (conv.stride, conv.padding, conv.dilation)
        moved = deform_conv2d(x.float(), offsets, conv.weight.float(), bias, *geometry, mask).to(x.dtype)
        return moved if conv.norm is None else conv.norm(moved)


class BasicStem(CNNBlockBase):
    """7x7 convolution of stride 2 and 3x3 max pooling of stride 2."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv_norm(in_channels, out_channels, 7, norm, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class ResNet(Backbone):
    """A stem and stages of residual blocks.

    Args:
        stem: a block with a ``stride``.
        stages: the blocks of each; they become ``res2``, ``res3``, ...; those behind the last wanted one are dropped.
        num_classes: adds global pooling and the classifier ``linear``; None for a plain feature extractor.
        out_features: of ``stem``, ``res2``, ..., ``linear``; the last of the network when None.
        freeze_at: see :meth:`freeze`.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Sequence[nn.Module]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        names = [f"res{i + 2}" for i in range(len(stages))]
        known = ["stem", *names] + ["linear"] * (num_classes is not None)
        self._out_features = list(out_features) if out_features else known[-1:]
        unknown = [name for name in self._out_features if name not in known]
        if unknown:
            raise InputError(f"ResNet has no features {unknown}; out_features can be of {known}")
        # Stages that no output needs would cost memory and break distributed training.
        needed = len(names) if num_classes is not None else max(map(known.index, self._out_features))
        self.stem = stem
        self.num_classes = num_classes
        self.stage_names = tuple(names[:needed])
        self._out_feature_strides = {"stem": int(stem.stride)}  # type: ignore[arg-type]
        self._out_feature_channels = {"stem": int(stem.out_channels)}  # type: ignore[arg-type]
        for before, name, blocks in zip(known, self.stage_names, stages, strict=False):
            self._add_stage(before, name, blocks)
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.linear = nn.Linear(self._out_feature_channels[names[-1]], num_classes)
            nn.init.normal_(self.linear.weight, std=0.01)  # Goyal et al. 2017, section 5.1
            self._out_feature_channels["linear"] = num_classes
        self.freeze(freeze_at)

    def _add_stage(self, before: str, name: str, blocks: Sequence[nn.Module]) -> None:
        if not blocks or not all(isinstance(block, CNNBlockBase) for block in blocks):
            raise TypeError(f"a ResNet stage is a non-empty list of CNNBlockBase, not {blocks!r}")
        self.add_module(name, nn.Sequential(*blocks))
        strides = [int(block.stride) for block in blocks]  # type: ignore[arg-type]
        self._out_feature_strides[name] = self._out_feature_strides[before] * math.prod(strides)
        self._out_feature_channels[name] = int(blocks[-1].out_channels)  # type: ignore[arg-type]

    @property
    def stages(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.stage_names]

    def output_shape(self) -> dict[str, ShapeSpec]:
        strides: dict[str, Any] = self._out_feature_strides  # the classifier has none
        channels = self._out_feature_channels
        return {name: ShapeSpec(channels=channels[name], stride=strides.get(name)) for name in self._out_features}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if x.dim() != 4:
            raise InputError(f"ResNet takes (N, C, H, W) images, got shape {tuple(x.shape)}")
        found: dict[str, torch.Tensor] = {}
        for name in ("stem", *self.stage_names):
            x = getattr(self, name)(x)
            found[name] = x
        if self.num_classes is not None:
            found["linear"] = self.linear(self.avgpool(x).flatten(1))
        return {name: found[name] for name in self._out_features}

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Take the first ``freeze_at`` parts out of training: 1 is the stem, 2 also res2, and so on.

        Their parameters get no gradient and their batch norms become FrozenBatchNorm2d.
        """
        parts = [[self.stem], *(stage.children() for stage in self.stages)]
        for part in parts[: max(freeze_at, 0)]:
            for block in part:
                block.freeze()  # type: ignore[operator]
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase], num_blocks: int, *, in_channels: int, out_channels: int, **kwargs: Any
    ) -> list[CNNBlockBase]:
        """The blocks of one stage, which all get ``kwargs``; of ``<name>_per_block`` each its value of ``<name>``."""
        shared = {key: value for key, value in kwargs.items() if not key.endswith(PER_BLOCK)}
        varied = {key.removesuffix(PER_BLOCK): value for key, value in kwargs.items() if key.endswith(PER_BLOCK)}
        for name, values in varied.items():
            if len(values) != num_blocks or name in shared:
                raise InputError(f"make_stage: {name}{PER_BLOCK}={values!r} needs {num_blocks} values, and no {name}")
        blocks = []
        for i in range(num_blocks):
            own = {name: values[i] for name, values in varied.items()}
            blocks.append(block_class(in_channels=in_channels, out_channels=out_channels, **shared, **own))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """The four stages of the published ResNets of depth 18, 34, 50, 101 or 152.

        Args:
            block_class: BasicBlock or BottleneckBlock by depth when None.
            kwargs: given to :meth:`make_stage`, not those that the depth decides (strides, channels).
        """
        block_class = block_class or (BasicBlock if depth in BASIC_DEPTHS else BottleneckBlock)
        width = 64 if depth in BASIC_DEPTHS else 256
        return _stages(depth, [block_class] * 4, 64, width, width // 4, **kwargs)


make_stage = ResNet.make_stage


def _stages(
    depth: int,
    block_classes: Sequence[type[CNNBlockBase]],
    in_channels: int,
    width: int,
    bottleneck: int,
    last_dilation: int = 1,
    deform_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> list[list[CNNBlockBase]]:
    """Stages res2 to res5; res2 has ``width`` channels, ``bottleneck`` within its blocks, each later one twice those.

    ``last_dilation`` 2 of res5 replaces its stride; ``deform_options`` are for the deformable stages only.
    """
    if depth not in BLOCKS_PER_STAGE:
        raise InputError(f"no ResNet of depth {depth} is known; choose one of {sorted(BLOCKS_PER_STAGE)}")
    stages = []
    for i, (num_blocks, block_class) in enumerate(zip(BLOCKS_PER_STAGE[depth], block_classes, strict=True)):
        own, dilation = dict(kwargs), last_dilation if i == 3 else 1
        if issubclass(block_class, BottleneckBlock):
            own["bottleneck_channels"] = bottleneck * 2**i
        if dilation != 1:
            own["dilation"] = dilation
        if issubclass(block_class, DeformBottleneckBlock):
            own |= deform_options or {}
        strides = [1 if i == 0 or dilation == 2 else 2] + [1] * (num_blocks - 1)
        channels = {"in_channels": in_channels, "out_channels": width * 2**i}
        stages.append(make_stage(block_class, num_blocks, stride_per_block=strides, **channels, **own))
        in_channels = width * 2**i
    return stages


def _check_resnet_config(options: CfgNode) -> None:
    """Raise ValueError for MODEL.RESNETS options that do not fit together."""
    if options.DEPTH in BASIC_DEPTHS and any(options.DEFORM_ON_PER_STAGE):
        raise InputError(f"MODEL.RESNETS.DEFORM_ON_PER_STAGE: depth {options.DEPTH} has no deformable blocks")
    if options.RES5_DILATION not in (1, 2):
        raise InputError(f"MODEL.RESNETS.RES5_DILATION is {options.RES5_DILATION}; it can be 1 or 2")
    wrong = [f"{key} {options[key]}" for key, value in BASIC_NEEDS.items() if options[key] != value]
    if options.DEPTH in BASIC_DEPTHS and wrong:
        needed = ", ".join(f"{key} {value}" for key, value in BASIC_NEEDS.items())
        raise InputError(f"MODEL.RESNETS: depth {options.DEPTH} needs {needed}; found {', '.join(wrong)}")


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """The ResNet or ResNeXt of ``MODEL.RESNETS``, frozen up to ``MODEL.BACKBONE.FREEZE_AT``."""
    options = cfg.MODEL.RESNETS
    _check_resnet_config(options)
    stem = BasicStem(in_channels=input_shape.channels or 3, out_channels=options.STEM_OUT_CHANNELS, norm=options.NORM)
    kwargs: dict[str, Any] = {"norm": options.NORM}
    block_classes: list[type[CNNBlockBase]] = [BasicBlock] * 4
    if options.DEPTH not in BASIC_DEPTHS:
        block_classes = [DeformBottleneckBlock if deform else BottleneckBlock for deform in options.DEFORM_ON_PER_STAGE]
        kwargs |= {"num_groups": options.NUM_GROUPS, "stride_in_1x1": options.STRIDE_IN_1X1}
    stages = _stages(
        options.DEPTH,
        block_classes,
        options.STEM_OUT_CHANNELS,
        options.RES2_OUT_CHANNELS,
        options.NUM_GROUPS * options.WIDTH_PER_GROUP,
        options.RES5_DILATION,
        {"deform_modulated": options.DEFORM_MODULATED, "deform_num_groups": options.DEFORM_NUM_GROUPS},
        **kwargs,
    )
    return ResNet(stem, stages, out_features=options.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
