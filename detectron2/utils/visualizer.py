"""Drawing instances on images, with matplotlib.

Positions are in pixels of the image as given; `scale` enlarges the picture, not the coordinates. Colours are what
matplotlib takes: names, or RGB tuples from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, unique
from pathlib import Path
from typing import Any

import matplotlib.colors as mplc
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from detectron2.data.catalog import Metadata
from detectron2.structures import BoxMode, Instances, PolygonMasks
from detectron2.utils.colormap import colormap, random_color
from detectron2.utils.file_io import write_whole
from detectron2.utils.fonts import font_families, without_glyph_warnings
from detectron2.utils.generic_mask import GenericMask, as_numpy, inner_point, without_specks

Color = Any


@unique
class ColorMode(Enum):
    """How instances are coloured."""

    IMAGE = 0  # every instance another colour
    SEGMENTATION = 1  # shades of the class's colour, `thing_colors` in the metadata
    IMAGE_BW = 2  # as IMAGE, with everything but the masks in grey


class VisImage:
    """A picture being drawn: `ax` is matplotlib's axes, with one unit a pixel of the image."""

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        """`img` is HxWx3, RGB from 0 to 255; the picture is `scale` times as wide and high."""
        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.fig = Figure(frameon=False)
        self.dpi = self.fig.get_dpi()
        # a hundredth of a pixel more, as matplotlib cuts sizes off rather than rounding them
        self.fig.set_size_inches((self.width * scale + 0.01) / self.dpi, (self.height * scale + 0.01) / self.dpi)
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes((0.0, 0.0, 1.0, 1.0))
        self.ax.axis("off")
        self._background: Any = None
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Replace the image behind what is drawn."""
        if self._background is not None:
            self._background.remove()
        extent = (0, self.width, self.height, 0)
        pixels = np.clip(img, 0, 255).astype(np.uint8)
        self._background = self.ax.imshow(pixels, extent=extent, interpolation="nearest", zorder=-1)

    def save(self, filepath: str | Path) -> None:
        """Write the picture; the format follows from the suffix, png without one."""
        path = Path(filepath)
        kind = path.suffix.lstrip(".").lower() or "png"
        with without_glyph_warnings():
            write_whole(path, lambda file: self.fig.savefig(file, format=kind))

    def get_image(self) -> np.ndarray:
        """The picture so far: HxWx3 uint8, RGB."""
        with without_glyph_warnings():
            self.canvas.draw()
        return np.array(self.canvas.buffer_rgba())[..., :3]


class Visualizer:
    """Draws instances, boxes, masks and text on one image; every draw method returns the `output` it drew on."""

    def __init__(
        self, img_rgb: np.ndarray, metadata: Any = None, scale: float = 1.0, instance_mode: ColorMode = ColorMode.IMAGE
    ) -> None:
        """`img_rgb` is HxWx3 from 0 to 255; `metadata` may hold `thing_classes` and `thing_colors` (RGB, 0 to 255)."""
        self.img = np.clip(np.asarray(img_rgb), 0, 255).astype(np.uint8)
        self.metadata = Metadata() if metadata is None else metadata
        self.output = VisImage(self.img, scale=scale)
        self._instance_mode = instance_mode
        self._default_font_size = max(np.sqrt(self.output.height * self.output.width) / 90, 10 / scale)
        # its own generator: the same instances give the same picture
        self._rng = np.random.default_rng(0)

    def draw_instance_predictions(self, predictions: Instances) -> VisImage:
        """Draw what `predictions` has of pred_boxes, scores, pred_classes and pred_masks."""
        fields = predictions.get_fields()
        if "pred_keypoints" in fields:
            raise NotImplementedError("keypoints are not drawn; remove the field pred_keypoints")
        classes = as_numpy(fields["pred_classes"]).astype(int).tolist() if "pred_classes" in fields else None
        scores = as_numpy(fields["scores"]).tolist() if "scores" in fields else None
        masks = self._convert_masks(fields["pred_masks"]) if "pred_masks" in fields else None
        grey = self._instance_mode is ColorMode.IMAGE_BW
        if grey:
            self.output.reset_image(self._grey_but(masks or []))
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=self._labels(classes, scores),
            masks=masks,
            assigned_colors=self._class_colors(classes),
            alpha=0.3 if grey else 0.5,
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the `annotations` of a data set dictionary: bbox with bbox_mode, segmentation, category_id, iscrowd."""
        annotations = dic.get("annotations") or []
        if any("keypoints" in annotation for annotation in annotations):
            raise NotImplementedError(f"{dic.get('file_name', 'data set dictionary')}: keypoints are not drawn")
        classes = [annotation["category_id"] for annotation in annotations]
        notes = [" (crowd)" if annotation.get("iscrowd") else "" for annotation in annotations]
        return self.overlay_instances(
            boxes=[BoxMode.convert(list(a["bbox"]), a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations],
            labels=[*map(str.__add__, self._labels(classes, None) or [], notes)],
            masks=[annotation.get("segmentation") for annotation in annotations],
            assigned_colors=self._class_colors(classes),
        )

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances, large ones below small ones.

        Args:
            boxes: Boxes or Nx4, (x0, y0, x1, y1).
            labels: N texts.
            masks: BitMasks, PolygonMasks, NxHxW, or a list of what GenericMask takes (None for an instance without).
            keypoints: must be None.
            assigned_colors: N colours; a different one for each instance if None.
            alpha: opacity of the masks, 0 to 1.

        Raises ValueError if lengths differ, NotImplementedError for keypoints.
        """
        if keypoints is not None:
            raise NotImplementedError("keypoints are not drawn; leave the argument out")
        corners = None if boxes is None else as_numpy(getattr(boxes, "tensor", boxes)).astype(float).reshape(-1, 4)
        shapes = None if masks is None else self._convert_masks(masks)
        count = _common_length(boxes=corners, labels=labels, masks=shapes, assigned_colors=assigned_colors)
        distinct = np.resize(colormap(rgb=True, maximum=1), (count, 3))
        colors = distinct if assigned_colors is None else assigned_colors
        for i in _largest_first(corners, shapes, count):
            mask = None if shapes is None else shapes[i]
            box = None if corners is None else corners[i]
            if mask is not None:
                self._draw_outlines(mask.outlines(), colors[i], alpha)
            if box is not None:
                self.draw_box(box, edge_color=colors[i])
            if labels is not None:
                self._draw_label(labels[i], box, mask, colors[i])
        return self.output

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write on a dark plate whose top is at `position` (x, y); the colour is lightened to be readable there."""
        self.output.ax.text(
            *position,
            text,
            size=(font_size or self._default_font_size) * self.output.scale,
            family=font_families([text]),
            bbox={"facecolor": "black", "alpha": 0.7, "pad": 1.5, "edgecolor": "none"},
            verticalalignment="top",
            horizontalalignment=horizontal_alignment,
            color=_lightened(color),
            zorder=10,
            rotation=rotation,
            clip_on=True,
            parse_math=False,
        )
        return self.output

    def draw_box(
        self, box_coord: Sequence[float], alpha: float = 0.5, edge_color: Color = "g", line_style: str = "-"
    ) -> VisImage:
        """Outline (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = (float(value) for value in box_coord)
        style = {"edgecolor": edge_color, "alpha": alpha, "linestyle": line_style, "linewidth": self._line_width(4)}
        self.output.ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))
        return self.output

    def _line_width(self, fraction: float) -> float:
        """Points: a fraction of the font's size, at least one in the picture of scale 1."""
        return max(self._default_font_size / fraction, 1) * self.output.scale

    def draw_circle(self, circle_coord: tuple[float, float], color: Color, radius: float = 3) -> VisImage:
        """Fill a circle around (x, y)."""
        self.output.ax.add_patch(Circle(circle_coord, radius=radius, fill=True, color=color))
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: Color,
        linestyle: Any = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a line through the points of the given x and y."""
        width = self._line_width(3) if linewidth is None else linewidth * self.output.scale
        self.output.ax.add_line(Line2D(x_data, y_data, linewidth=width, color=color, linestyle=linestyle))
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: Color = None,
        *,
        edge_color: Color = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float = 10,
    ) -> VisImage:
        """Fill an HxW mask with its holes left open; connected parts below `area_threshold` pixels are left out."""
        color = random_color(rgb=True, maximum=1) if color is None else color
        mask = GenericMask(without_specks(binary_mask, area_threshold), self.output.height, self.output.width)
        self._draw_outlines(mask.outlines(), color, alpha, edge_color)
        if text is not None and mask.area() > 0:
            self.draw_text(text, inner_point(mask.mask), color=color)
        return self.output

    def draw_soft_mask(
        self, soft_mask: np.ndarray, color: Color = None, *, text: str | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Tint the image by an HxW mask of opacities from 0 to 1, times `alpha`."""
        color = random_color(rgb=True, maximum=1) if color is None else color
        tint = np.full((*soft_mask.shape, 4), mplc.to_rgba(color), dtype=np.float32)
        tint[..., 3] = np.clip(soft_mask, 0, 1) * alpha
        self.output.ax.imshow(tint, extent=(0, self.output.width, self.output.height, 0))
        if text is not None and (soft_mask > 0.5).any():
            self.draw_text(text, inner_point(soft_mask > 0.5), color=color)
        return self.output

    def draw_polygon(self, segment: np.ndarray, color: Color, edge_color: Color = None, alpha: float = 0.5) -> VisImage:
        """Fill a polygon of Nx2 (x, y) points."""
        return self._draw_outlines([np.asarray(segment, dtype=np.float64).reshape(-1, 2)], color, alpha, edge_color)

    def get_output(self) -> VisImage:
        return self.output

    def _convert_masks(self, masks: Any) -> list[GenericMask | None]:
        height, width = self.output.height, self.output.width
        each = masks.polygons if isinstance(masks, PolygonMasks) else getattr(masks, "tensor", masks)
        return [mask if isinstance(mask, GenericMask | None) else GenericMask(mask, height, width) for mask in each]

    def _labels(self, classes: Sequence[int] | None, scores: Sequence[float] | None) -> list[str] | None:
        """Texts such as "healthy 93%"; class numbers where there are no names, None where both are missing."""
        names = getattr(self.metadata, "thing_classes", None)
        texts = None if classes is None else [names[number] if names else str(number) for number in classes]
        if scores is None:
            return texts
        percents = [f"{score:.0%}" for score in scores]
        return percents if texts is None else [" ".join(pair) for pair in zip(texts, percents, strict=True)]

    def _class_colors(self, classes: Sequence[int] | None) -> list[Color] | None:
        """A shade of its class's colour for each instance, in SEGMENTATION mode."""
        if self._instance_mode is not ColorMode.SEGMENTATION or classes is None:
            return None
        table = getattr(self.metadata, "thing_colors", None) or colormap(rgb=True)
        colors = np.array([table[index % len(table)] for index in classes]).reshape(-1, 3) / 255
        return list(np.clip(colors + self._rng.uniform(-0.2, 0.2, colors.shape), 0, 1))

    def _grey_but(self, masks: Sequence[GenericMask | None]) -> np.ndarray:
        """The image in grey, with its colours inside the masks."""
        grey = np.repeat(self.img.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        for mask in masks:
            if mask is not None:
                np.copyto(grey, self.img, where=mask.mask[..., None].astype(bool))
        return grey

    def _draw_outlines(
        self, outlines: Sequence[np.ndarray], color: Color, alpha: float, edge_color: Color = None
    ) -> VisImage:
        """Fill Nx2 outlines as one shape by the non-zero rule, which leaves holes open."""
        if not outlines:
            return self.output
        rings = [Outline(np.vstack((points, points[:1])), closed=True) for points in outlines]
        edge = mplc.to_rgba(color if edge_color is None else edge_color, 1.0)
        style = {"facecolor": mplc.to_rgba(color, alpha), "edgecolor": edge, "linewidth": self._line_width(15)}
        self.output.ax.add_patch(PathPatch(Outline.make_compound_path(*rings), **style))
        return self.output

    def _draw_label(self, text: str, box: np.ndarray | None, mask: GenericMask | None, color: Color) -> None:
        """Write at the box's corner, else inside the mask; an instance without either is not labelled."""
        if box is None:
            if mask is not None and mask.area() > 0:
                self.draw_text(text, inner_point(mask.mask), color=color)
            return
        x0, y0, _, y1 = box.tolist()
        image_height = self.output.height
        size = self._default_font_size * float(np.clip((y1 - y0) / image_height * 4, 0.6, 1))
        line_height = 2 * size / 72 * self.output.dpi
        # a text inside a small box would hide what it names
        position = (x0, y1) if y1 - y0 < 2 * line_height and y1 + line_height < image_height else (x0, y0)
        self.draw_text(text, position, font_size=size, color=color, horizontal_alignment="left")


def _largest_first(boxes: np.ndarray | None, masks: Sequence[GenericMask | None] | None, count: int) -> list[int]:
    if boxes is not None:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    else:
        areas = np.array([0 if mask is None else mask.area() for mask in masks or [None] * count])
    return np.argsort(-areas, kind="stable").tolist()


def _common_length(**lists: Any) -> int:
    """The one length of those that are not None; 0 if all are."""
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"overlay_instances: lengths differ: {lengths}")
    return next(iter(lengths.values()), 0)


def _lightened(color: Color) -> tuple[float, ...]:
    """The colour mixed with white until it reads well on black."""
    rgb = np.asarray(mplc.to_rgb(color))
    luminance = min(float(rgb @ (0.299, 0.587, 0.114)), 0.6)
    return tuple(rgb + (1 - rgb) * (0.6 - luminance) / (1 - luminance))
