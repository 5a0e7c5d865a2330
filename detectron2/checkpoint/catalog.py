"""catalog://ImageNetPretrained/... names of ImageNet weights from the first Detectron."""

from __future__ import annotations

import difflib

from detectron2.utils.file_io import PathManager, PublishedFileHandler

_BASE_URL = "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/"

# Their batch normalisation is folded into a scale and shift, so they fit FrozenBN (or GN) networks with PIXEL_STD 1.
_IMAGENET_WEIGHTS = {
    "ImageNetPretrained/MSRA/R-50": "MSRA/R-50.pkl",
    "ImageNetPretrained/MSRA/R-101": "MSRA/R-101.pkl",
    "ImageNetPretrained/FAIR/R-50-GN": "47261647/R-50-GN.pkl",
    "ImageNetPretrained/FAIR/R-101-GN": "47592356/R-101-GN.pkl",
    "ImageNetPretrained/FAIR/X-101-32x8d": "20171220/X-101-32x8d.pkl",
    "ImageNetPretrained/FAIR/X-101-64x4d": "FBResNeXt/X-101-64x4d.pkl",
    "ImageNetPretrained/FAIR/X-152-32x8d-IN5k": "25093814/X-152-32x8d-IN5k.pkl",
}


class ModelCatalog:
    """Addresses of published weights by name."""

    @staticmethod
    def get(name: str) -> str:
        """The web address of, for example, "ImageNetPretrained/MSRA/R-50"; RuntimeError for an unknown name."""
        if name not in _IMAGENET_WEIGHTS:
            nearest = difflib.get_close_matches(name, _IMAGENET_WEIGHTS, n=3, cutoff=0.0)
            raise RuntimeError(f"no weights are catalogued as '{name}'; nearest names: {', '.join(nearest)}")
        return _BASE_URL + _IMAGENET_WEIGHTS[name]


class ModelCatalogHandler(PublishedFileHandler):
    """Resolves catalog://NAME through ModelCatalog."""

    PREFIX = "catalog://"

    def _address(self, name: str) -> str:
        return ModelCatalog.get(name)


PathManager.register_handler(ModelCatalogHandler())
