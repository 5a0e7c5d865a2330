"""Fetching one file over the network: whole, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

logger = logging.getLogger(__name__)

_ATTEMPTS = 5
_TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS = 1.0
_CHUNK_BYTES = 1 << 18
_MAX_NAME_LENGTH = 200

# PyTorch's naming convention: resnet50-0676ba61.pth begins its SHA-256 after the dash. What follows the underscore in
# model_final_f10217.pkl is not the SHA-256 and nowhere documented, so such a file is checked by its length only.
_SHA256_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_NOT_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


class _BrokenTransferError(OSError):
    """The connection ended before the file did."""


@dataclass
class _Transfer:
    """How far the download of `url` into `temporary` came."""

    url: str
    temporary: Path
    bar: tqdm[Any]
    received: int = 0
    total: int | None = None
    # identifies the server's version of the file, to never join the halves of two
    validator: str | None = None

    def run(self) -> None:
        """Receive what is still missing. Raises OSError; _BrokenTransferError where another try may help."""
        with self._open() as response:
            self._place(response)
            with self.temporary.open("ab" if self.received else "wb") as file:
                self._receive(response, file)
        if self.total is not None and self.received != self.total:
            raise _BrokenTransferError(f"{self.received} of {self.total} bytes came")
        if self.received == 0:
            raise _BrokenTransferError("the file came empty")

    def _open(self) -> Any:
        headers = {"Accept-Encoding": "identity"}
        if self.received and self.validator:
            headers |= {"Range": f"bytes={self.received}-", "If-Range": self.validator}
        try:
            return urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=_TIMEOUT_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            # without a network the error is reported at once; one that was there may come back
            if (status or 0) >= 500 or (status is None and self.received):
                raise _BrokenTransferError(str(error)) from error
            raise OSError(str(error)) from error

    def _place(self, response: Any) -> None:
        """Take from the answer's head where its bytes belong and how many the whole file has."""
        etag = response.headers.get("ETag", "")
        place = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if place and int(place[1]) == self.received and etag in ("", self.validator):
            self.total = int(place[2])
        elif place or response.status == 206:
            self.received, self.validator = 0, None
            raise _BrokenTransferError("the server sent another part, or another version, than was requested")
        else:
            length = response.headers.get("Content-Length")
            self.received, self.total = 0, None if length is None else int(length)
            # a weak tag ("W/...") does not promise equal bytes
            self.validator = etag if etag.startswith('"') else None
        self.bar.reset(self.total)
        self.bar.update(self.received)

    def _receive(self, response: Any, file: IO[bytes]) -> None:
        while True:
            try:
                chunk = response.read(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenTransferError(f"the transfer broke off: {error}") from error
            if not chunk:
                break
            file.write(chunk)
            self.received += len(chunk)
            self.bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def download(url: str, destination: Path, *, progress: bool = True) -> None:
    """Fetch `url` into the file `destination`, which appears when it is complete, replacing what was there.

    A broken transfer is resumed where the server can, or else restarted; the length that the server announced must
    have come, and the content must fit a SHA-256 in the file's name (`name-<8 digits or more>.ext`). Only one process
    at a time may fetch a destination.

    Raises:
        OSError: it cannot be fetched, or what came is damaged; nothing is left behind.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(destination.name + ".tmp")
    logger.info("Downloading %s to %s", url, destination)
    try:
        with tqdm(unit="B", unit_scale=True, mininterval=0.5, desc=destination.name, disable=not progress) as bar:
            _run_persistently(_Transfer(url, temporary, bar))
        _check_sha256(Path(unquote(urlsplit(url).path)).name, temporary)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def _run_persistently(transfer: _Transfer) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return transfer.run()
        except _BrokenTransferError as error:
            if attempt == _ATTEMPTS:
                raise
            logger.warning("%s: %s; trying again (%d of %d)", transfer.url, error, attempt + 1, _ATTEMPTS)
            time.sleep(_PAUSE_SECONDS * attempt)
    return None


def _check_sha256(name: str, file: Path) -> None:
    expected = _SHA256_IN_NAME.search(name)
    if expected is None:
        return
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    if not digest.hexdigest().startswith(expected[1]):
        raise OSError(f"the content of {name} is damaged: its SHA-256 is {digest.hexdigest()}, not {expected[1]}...")


def cached_name(url: str) -> Path:
    """Where a file of the web belongs inside a cache folder: the path of its address, without the host."""
    address = urlsplit(url)
    parts = [_NOT_IN_FILE_NAMES.sub("_", part) for part in address.path.split("/") if part not in ("", ".", "..")]
    if not parts or address.path.endswith("/"):
        raise ValueError(f"{url} names no file")
    name = Path(parts[-1])
    if address.query or len(name.name) > _MAX_NAME_LENGTH:
        unique = hashlib.sha256(f"{address.path}?{address.query}".encode()).hexdigest()[:16]
        # the suffix is the kind of file
        name = Path(f"{name.stem[:100]}_{unique}{name.suffix[-20:]}")
    return Path(*parts[:-1], name)
