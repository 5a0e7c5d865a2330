"""PathManager: opens local files, web addresses and detectron2:// names alike.

What comes from the web is downloaded once, with a progress bar, into $FVCORE_CACHE or else ~/.torch/iopath_cache.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, PathHandler, file_lock, get_cache_dir
from iopath.common.file_io import PathManager as PathManagerBase

from detectron2.utils.download import cached_name, download

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def write_whole(file: Path, write: Callable[[Path], Any]) -> None:
    """Replace `file` by what `write` writes into the path that it gets, or leave it as it was where that fails."""
    temporary = file.with_name(file.name + ".tmp")
    try:
        write(temporary)
        temporary.replace(file)
    except BaseException:  # what is half written would fill a full disk even more
        temporary.unlink(missing_ok=True)
        raise


def cached_file(address: str, cache_dir: str | None = None) -> Path:
    """Where what comes from a web address is kept, be it there or not."""
    return Path(get_cache_dir(cache_dir)) / cached_name(address)


class CachedURLHandler(HTTPURLHandler):
    """Downloads to the cache, once for all processes; a failure names where the file can be put by hand."""

    def _get_local_path(self, path: str, force: bool = False, cache_dir: str | None = None, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        cached = cached_file(path, cache_dir)
        if cached.is_file() and not force:
            return str(cached)
        try:
            with file_lock(str(cached)):
                # another process may have fetched it while this one waited for the lock
                if force or not cached.is_file():
                    download(path, cached)
        except OSError as error:
            remedy = f"Without a network, fetch that address on another machine and save it as {cached}"
            if error.errno in DISK_FAULTS:
                remedy = f"Make room in {cached.parent}, or name another folder in the environment's FVCORE_CACHE"
            raise OSError(f"cannot download {path}: {error}. {remedy}") from error
        return str(cached)


class PublishedFileHandler(PathHandler):
    """Reads PREFIX + name from the web address of that name."""

    PREFIX = ""

    def _address(self, name: str) -> str:
        raise NotImplementedError

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(self._address(path[len(self.PREFIX) :]), force=force, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return Path(self._get_local_path(path, **kwargs)).is_file()

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if not set(mode) <= set("rbt"):
            raise ValueError(f"{path} can only be read, not opened in mode '{mode}'")
        return Path(self._get_local_path(path)).open(mode, buffering, **kwargs)


class Detectron2Handler(PublishedFileHandler):
    """Resolves detectron2://NAME, the address suffix of published weights."""

    PREFIX = "detectron2://"
    BASE_URL = "https://dl.fbaipublicfiles.com/detectron2/"

    def _address(self, name: str) -> str:
        return self.BASE_URL + name


PathManager = PathManagerBase()
PathManager.register_handler(CachedURLHandler())
PathManager.register_handler(Detectron2Handler())
