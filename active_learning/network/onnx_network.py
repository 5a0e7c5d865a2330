"""A Mask R-CNN as an ONNX graph: what `prediction.detect` does to one image, with operators that runtimes share.

H, W: of the image. h, w: of the image as the network gets it. L: levels of proposals, A: anchors a pixel, P: candidates
of a level. R: proposals. K: classes, B: boxes of a proposal, K or 1 for all classes. n: detections. S: side of a mask.
Boxes are (x0, y0, x1, y1) in pixels; sizes are () int64.

All shapes up to the suppression of proposals follow from H and W alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from active_learning.network.onnx_graph import DOUBLE, FLOAT, INT64, Graph, Value
from active_learning.network.onnx_layers import Layers, Maps
from detectron2.config import CfgNode

LOWEST = -1e30  # a logit that no candidate has
# Of Pillow's weights of pixels, which have 22 bits.
ONE, HALF_OF_BITS = 2**22, 2**11
BLOCKS = 16  # in which an axis is resized
PILLOW, FIRST_THAT_MAY_GO_DOWN_FIRST = int(PIL.__version__.split(".")[0]), 13


@dataclass(frozen=True)
class Size:
    height: Value
    width: Value

    def corners(self, graph: Graph) -> Value:
        """(width, height, width, height) as float32: where boxes are clipped."""
        return graph.stack(self.width, self.height, self.width, self.height).cast(FLOAT)


@dataclass(frozen=True)
class Detections:
    """Boxes (n, 4) and scores (n,) float32, classes (n,) int64, masks (n, S, S) float32: probabilities in the box."""

    boxes: Value
    scores: Value
    classes: Value
    masks: Value


class OnnxNetwork:
    """Adds a network to a graph.

    Args:
        model: of `inference_copy`, on the processor.
    """

    def __init__(self, graph: Graph, model: Any, cfg: CfgNode) -> None:
        self.graph, self.model, self.cfg = graph, model, cfg
        self.layers = Layers(graph, model)

    def detections(self, image: Value, size: Size) -> Detections:
        """Of an image (H, W, 3) uint8 in INPUT.FORMAT, best first.

        Raises:
            MaskALError: a part of the network is not exported.
        """
        pixels, own_size = resized(self.graph, image, size, self.cfg)
        pixels = self._normalised(pixels, own_size)
        maps = self.layers.backbone(self.model.backbone, pixels, self.cfg.MODEL.FPN.FUSE_TYPE)
        proposals = self._proposals(maps, own_size)
        boxes, scores, classes = self._detected(maps, proposals, own_size)
        scaled = self._clip(boxes * (size.corners(self.graph) / own_size.corners(self.graph)), size)
        there = _places(self.graph, _has_area(scaled, 0.0))  # what lay beside the image is left out
        boxes, classes = boxes.rows(there), classes.rows(there)
        return Detections(scaled.rows(there), scores.rows(there), classes, self._masks(maps, boxes, classes))

    def _normalised(self, pixels: Value, size: Size) -> Value:
        """(3, h, w) -> (1, 3, ...), padded at the right and bottom to what suits the backbone."""
        mean, std = (buffer.numpy() for buffer in (self.model.pixel_mean, self.model.pixel_std))
        pixels, stride = (pixels - mean) / std, self.model.backbone.size_divisibility
        if stride > 1:
            missing = [(side + (stride - 1)) / stride * stride - side for side in (size.height, size.width)]
            none = self.graph.constant(np.zeros(4, np.int64))
            pixels = self.graph.add("Pad", pixels, self.graph.join([none, self.graph.stack(*missing)]))
        return pixels.unsqueeze(0)

    def _clip(self, boxes: Value, size: Size) -> Value:
        return self.graph.add("Min", self.graph.add("Max", boxes, 0.0), size.corners(self.graph))

    def _proposals(self, maps: Maps, size: Size) -> Value:
        """(R, 4), best first: the best candidates of each level, without those that overlap a better one."""
        graph, rpn = self.graph, self.model.proposal_generator
        count, kept = rpn.pre_nms_topk[False], rpn.post_nms_topk[False]
        levels = [self._candidates(maps[name], level, count) for level, name in enumerate(rpn.in_features)]
        boxes = self._clip(graph.join([boxes for boxes, _ in levels]), size)  # (L, P, 4)
        logits = graph.join([logits for _, logits in levels])  # (L * P,)
        # A place in the order serves as score: it has no ties, and is above 0 as all runtimes take it.
        places = np.arange(count, 0, -1, dtype=np.float32) / count
        ranks = graph.where(_has_area(boxes, rpn.min_box_size), places, np.float32(0)).unsqueeze(1)
        most = graph.constant(np.array([count]))
        found = graph.add("NonMaxSuppression", boxes, ranks, most, overlap_limit(rpn.nms_thresh), _floats(0))
        rows = found.rows(0, axis=1) * count + found.rows(2, axis=1)
        best = self._best(logits.rows(rows), kept)[1]
        number = graph.add("Min", rows.side(0), kept)
        return boxes.reshape(-1, 4).rows(rows.rows(best.part(0, number)))

    def _best(self, logits: Value, count: int) -> list[Value]:
        """The `count` highest of a vector, and their places; LOWEST, beyond its end, where it has fewer."""
        filled = self.graph.join([logits, self.graph.constant(np.full(count, LOWEST, np.float32))])
        return self.graph.add_all("TopK", 2, filled, self.graph.constant(np.array([count])), axis=0)

    def _candidates(self, feature: Value, level: int, count: int) -> tuple[Value, Value]:
        """The `count` best of a level, boxes (1, P, 4) and logits (P,); boxes without area fill up."""
        graph, rpn = self.graph, self.model.proposal_generator
        hidden = self.layers(rpn.rpn_head.conv, feature)
        logits = self.layers(rpn.rpn_head.objectness_logits, hidden).transpose(0, 2, 3, 1).reshape(-1)
        deltas = self.layers(rpn.rpn_head.anchor_deltas, hidden).transpose(0, 2, 3, 1).reshape(-1, 4)
        best, places = self._best(logits, count)
        nothing = graph.constant(np.zeros((count, 4), np.float32))
        anchors = graph.join([_anchors(graph, feature, rpn.anchor_generator, level), nothing])
        deltas = graph.join([deltas, nothing])
        return corrected(graph, deltas.rows(places), anchors.rows(places), rpn.box2box_transform).unsqueeze(0), best

    def _detected(self, maps: Maps, proposals: Value, size: Size) -> tuple[Value, Value, Value]:
        """Boxes in pixels of the resized image, scores and classes: an object is detected once, whatever its class."""
        graph, predictor = self.graph, self.model.roi_heads.box_predictor
        features = self._box_features(maps, proposals)
        logits, classes = self.layers(predictor.cls_score, features), predictor.num_classes
        scores = graph.add("Sigmoid", logits) if predictor.use_sigmoid_ce else graph.add("Softmax", logits, axis=1)
        scores = scores.rows(np.arange(classes), axis=1).reshape(1, 1, -1)
        deltas = self.layers(predictor.bbox_pred, features).reshape(-1, predictor.bbox_pred.out_features // 4, 4)
        boxes = self._clip(corrected(graph, deltas, proposals.unsqueeze(1), predictor.box2box_transform), size)
        boxes = graph.add("Expand", boxes, np.array([1, classes, 4])).reshape(1, -1, 4)
        most = predictor.test_topk_per_image
        limits = np.array([most if most >= 0 else 2**31 - 1]), overlap_limit(predictor.test_nms_thresh)
        found = graph.add("NonMaxSuppression", boxes, scores, *limits, _floats(predictor.test_score_thresh))
        pairs = found.rows(2, axis=1)  # row and class of a proposal, row by row
        return boxes.reshape(-1, 4).rows(pairs), scores.reshape(-1).rows(pairs), graph.add("Mod", pairs, classes)

    def _box_features(self, maps: Maps, boxes: Value) -> Value:
        heads = self.model.roi_heads
        if hasattr(heads, "res5"):
            return self.graph.add("ReduceMean", self._regions(maps, boxes), axes=[2, 3], keepdims=0)
        return self.layers(heads.box_head, pooled(self.graph, heads.box_pooler, maps, heads.box_in_features, boxes))

    def _regions(self, maps: Maps, boxes: Value) -> Value:
        """Of a C4 network: what both its heads get."""
        heads = self.model.roi_heads
        return self.layers(heads.res5, pooled(self.graph, heads.pooler, maps, heads.in_features, boxes))

    def _masks(self, maps: Maps, boxes: Value, classes: Value) -> Value:
        graph, heads = self.graph, self.model.roi_heads
        if hasattr(heads, "res5"):
            regions = self._regions(maps, boxes)
        else:
            regions = pooled(graph, heads.mask_pooler, maps, heads.mask_in_features, boxes)
        logits = self.layers(heads.mask_head, regions)  # (n, K or 1, S, S)
        rows = graph.count(0, classes.side(0))
        channels = classes if heads.mask_head.predictor.out_channels > 1 else classes * 0
        places = graph.join([rows.unsqueeze(1), channels.unsqueeze(1)], axis=1)
        return graph.add("Sigmoid", graph.add("GatherND", logits, places))


def resized(graph: Graph, image: Value, size: Size, cfg: CfgNode) -> tuple[Value, Size]:
    """(H, W, 3) uint8 -> (3, h, w) float32 as Pillow resizes it, to the last bit, and its size.

    Pillow's bilinear resizing of whole numbers takes the mean of the pixels below a triangle, first along rows, then
    along columns, and rounds after each. What loses most of its height is the other way round.
    """
    pixels = image.cast(FLOAT).transpose(2, 0, 1)
    if cfg.INPUT.MIN_SIZE_TEST == 0:
        return pixels, size
    new = _size_for_network(graph, size, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)

    def across(pixels: Value) -> Value:
        return _resized_along(graph, pixels, 2, size.width, new.width)

    def down(pixels: Value) -> Value:
        return _resized_along(graph, pixels, 1, size.height, new.height)

    if PILLOW < FIRST_THAT_MAY_GO_DOWN_FIRST:
        return down(across(pixels)), new
    loses_height = size.height - new.height > graph.add("Max", size.width - new.width, 0) * 2
    return graph.choose(loses_height, lambda: across(down(pixels)), lambda: down(across(pixels))), new


def _resized_along(graph: Graph, pixels: Value, axis: int, old: Value, new: Value) -> Value:
    """Pixels (3, height, width) whose axis 1 or 2 becomes `new` long: block by block, a product of matrices each.

    A block needs its own part of the old pixels alone: in one product nearly all weights would be 0.
    """
    parts, reach = [], old / new + 2
    for block in range(BLOCKS):
        start, end = new * block / BLOCKS, new * (block + 1) / BLOCKS
        first = graph.add("Max", start * old / new - reach, 0)
        last = graph.add("Min", end * old / new + reach, old)
        own, weights = pixels.part(first, last, axis), _triangles(graph, old, new, (first, last), (start, end))
        pairs = [(part, own) if axis == 1 else (own, part.transpose(1, 0)) for part in weights]
        parts.append(_mean(graph, *(graph.add("MatMul", *pair) for pair in pairs)))
    return graph.join(parts, axis)


def _triangles(
    graph: Graph, old: Value, new: Value, old_range: tuple[Value, Value], new_range: tuple[Value, Value]
) -> tuple[Value, Value]:
    """The weight of each old pixel in each new one, of ranges of both, in 22 bits: their higher and their lower half,
    float32 of (new pixels, old pixels).

    A triangle reaches from its middle as far as one old or one new pixel, whichever is larger. In whole numbers, of
    which 2 * old * new are the side of the image, nothing is rounded. They are small: some runtimes have 32 bits.
    """
    middles = ((graph.count(*new_range) * 2 + 1) * old).unsqueeze(1)
    pixels = ((graph.count(*old_range) * 2 + 1) * new).unsqueeze(0)
    heights = graph.add("Max", graph.add("Max", old, new) * 2 - graph.add("Abs", pixels - middles), 0)
    whole = graph.add("ReduceSum", heights, np.array([1]), keepdims=1)
    higher = heights * HALF_OF_BITS / whole
    rest = heights * HALF_OF_BITS - higher * whole
    lower = (rest * (2 * HALF_OF_BITS) + whole) / (whole * 2)
    return higher.cast(FLOAT), lower.cast(FLOAT)


def _mean(graph: Graph, higher: Value, lower: Value) -> Value:
    """The sums of weighted pixels, rounded. Each half of them is a whole number that float32 holds, TF32 as well."""
    pixels = graph.add("Floor", higher / float(HALF_OF_BITS))
    rest = (higher - pixels * float(HALF_OF_BITS)) * float(HALF_OF_BITS) + lower
    return pixels + graph.add("Floor", (rest + ONE / 2) / float(ONE))


def _size_for_network(graph: Graph, size: Size, shorter: int, longest: int) -> Size:
    """As `ResizeShortestEdge.get_output_shape` calculates it, step by step in float64: halves then round alike."""
    height, width = size.height.cast(DOUBLE), size.width.cast(DOUBLE)
    side = graph.constant(np.float64(shorter))
    scale = side / graph.add("Min", height, width)
    lies = height < width
    height, width = graph.where(lies, side, height * scale), graph.where(lies, width * scale, side)
    longer, limit = graph.add("Max", height, width), graph.constant(np.float64(longest))
    shrink = graph.where(longer > limit, limit / longer, np.float64(1))
    sides = (graph.add("Max", (one * shrink + np.float64(0.5)).cast(INT64), 1) for one in (height, width))
    return Size(*sides)


def _floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def overlap_limit(threshold: float) -> npt.NDArray[np.float32]:
    """Suppression's threshold (1,), rounded down: torchvision compares an overlap with a float64 on a processor, so
    that one of float32(0.2), which is above 0.2, is too much."""
    rounded = np.float32(threshold)
    return _floats(float(np.nextafter(rounded, np.float32(-1)) if float(rounded) > threshold else rounded))


def _places(graph: Graph, condition: Value) -> Value:
    """Where a vector of bools is true. As numbers, since TensorRT looks for those that are not zero."""
    return graph.add("NonZero", condition.cast(FLOAT)).reshape(-1)


def _has_area(boxes: Value, least: float) -> Value:
    """Whether both sides of boxes (..., 4) are longer than `least` pixels."""
    start, end = boxes.halves()
    return (end - start).smallest(-1) > float(least)


def _anchors(graph: Graph, feature: Value, generator: Any, level: int) -> Value:
    """(h' * w' * A, 4) of a feature map (1, C, h', w'), as DefaultAnchorGenerator has them."""
    stride, cell = float(generator.strides[level]), generator.cell_anchors[level].cpu().numpy()
    rows, columns = ((graph.count(0, feature.side(axis)).cast(FLOAT) + generator.offset) * stride for axis in (2, 3))
    down = rows.unsqueeze(1, 2, 3) * _floats(0, 1, 0, 1)
    across = columns.unsqueeze(1, 2) * _floats(1, 0, 1, 0)
    anchors: Value = down + across + cell
    return anchors.reshape(-1, 4)


def corrected(graph: Graph, deltas: Value, boxes: Value, transform: Any) -> Value:
    """Boxes (..., 4) corrected by deltas (..., 4), as Box2BoxTransform.apply_deltas."""
    weights = _floats(*transform.weights)
    start, end = boxes.halves()
    size = end - start
    shift, growth = deltas.halves()
    centre = start + 0.5 * size + shift / weights[:2] * size
    half = 0.5 * size * graph.add("Exp", graph.add("Min", growth / weights[2:], np.float32(transform.scale_clamp)))
    return graph.join([centre - half, centre + half], axis=-1)


def pooled(graph: Graph, pooler: Any, maps: Maps, names: Sequence[str], boxes: Value) -> Value:
    """(R, C, S, S) features of boxes (R, 4), each from the level that suits its size: ROIPooler."""
    levels = list(zip([maps[name] for name in names], pooler.level_poolers, strict=True))
    if len(levels) == 1:
        return _aligned(graph, *levels[0], boxes)
    start, end = boxes.halves()
    areas = graph.add("ReduceProd", end - start, axes=[-1], keepdims=0)
    ratios = graph.add("Sqrt", areas) / float(pooler.canonical_box_size) + 1e-8
    borders = [2.0 ** (level - pooler.canonical_level) for level in range(pooler.min_level + 1, pooler.max_level + 1)]
    own = graph.add("Sum", *((ratios >= border).cast(FLOAT) for border in borders))
    rows = [_places(graph, own.equals(float(level))) for level in range(len(levels))]
    parts = [_aligned(graph, *level, boxes.rows(own_rows)) for level, own_rows in zip(levels, rows, strict=True)]
    order = graph.join(rows)
    places = graph.add("ScatterElements", order, order, graph.count(0, order.side(0)), axis=0)
    return graph.join(parts).rows(places)


def _aligned(graph: Graph, feature: Value, align: Any, boxes: Value) -> Value:
    """RoIAlign of boxes (R, 4) from a map (1, C, h', w')."""
    height, width = align.output_size
    image = boxes.rows(0, axis=1).cast(INT64) * 0  # all are of the first, and only, image
    options = {"output_height": height, "output_width": width, "sampling_ratio": align.sampling_ratio}
    mode = "half_pixel" if align.aligned else "output_half_pixel"
    options |= {"spatial_scale": align.spatial_scale, "coordinate_transformation_mode": mode}
    return graph.add("RoiAlign", feature, boxes, image, **options)


def pasted(graph: Graph, found: Detections, size: Size, mask_side: int) -> Value:
    """(n, H, W) bool, as `paste_masks_in_image`: masks in their boxes, where the probability is at least a half."""
    (x0, y0), (x1, y1) = ([part.rows(axis, axis=1) for axis in (0, 1)] for part in found.boxes.halves())
    down = _cell_weights(graph, y0, y1, size.height, mask_side)
    across = _cell_weights(graph, x0, x1, size.width, mask_side).transpose(0, 2, 1)
    return graph.add("MatMul", graph.add("MatMul", down, found.masks), across) >= 0.5


def _cell_weights(graph: Graph, start: Value, end: Value, length: Value, cells: int) -> Value:
    """(n, length, cells): of each cell of a mask at each pixel, bilinear."""
    start, end = start.unsqueeze(1), end.unsqueeze(1)
    pixels = (graph.count(0, length).cast(FLOAT) + 0.5).unsqueeze(0)
    places = (pixels - start) / (end - start) * float(cells) - 0.5
    distances = graph.add("Abs", places.unsqueeze(2) - np.arange(cells, dtype=np.float32))
    return graph.add("Relu", 1.0 - distances)
