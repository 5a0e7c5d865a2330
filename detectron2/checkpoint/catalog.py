"""catalog://ImageNetPretrained/... names of ImageNet weights from the first Detectron."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathHandler, PathManager

__all__ = ["ModelCatalog", "ModelCatalogHandler"]

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
        """The web address of, for example, "ImageNetPretrained/MSRA/R-50".

        Raises:
            RuntimeError: the name is unknown.
        """
        if name not in _IMAGENET_WEIGHTS:
            nearest = difflib.get_close_matches(name, _IMAGENET_WEIGHTS, n=3, cutoff=0.0)
            raise RuntimeError(f"no weights are catalogued as '{name}'; nearest names: {', '.join(nearest)}")
        return _BASE_URL + _IMAGENET_WEIGHTS[name]


class ModelCatalogHandler(PathHandler):
    """Resolves catalog://NAME through ModelCatalog."""

    PREFIX = "catalog://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(ModelCatalog.get(path[len(self.PREFIX) :]), force=force, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return Path(self._get_local_path(path, **kwargs)).is_file()

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return PathManager.open(self._get_local_path(path), mode, buffering, **kwargs)


PathManager.register_handler(ModelCatalogHandler())
