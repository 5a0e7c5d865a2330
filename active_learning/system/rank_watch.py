"""Ranks that watch each other: where one of them ends, the others end too, with its name and its reason.

A process whose neighbour is gone may wait for it in NCCL for as long as the run's timeout, which is a year. So each
worker holds a connection to the main process, and a thread of each listens: the system closes a connection with its
process, whatever that was doing, and keepalive finds machines that are gone. Waiting for days costs nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from active_learning.errors import FailedElsewhere, MaskALError, RankEndedError, first_line
from active_learning.system.exit_code import FAILURE, report
from active_learning.system.interruption import INTERRUPTED, SECONDS_TO_END
from active_learning.system.log import logger

SECONDS_TO_HEAR = 3.0  # that another rank has ended, where an exchange with it has failed
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # seconds, seconds, tries: 35 s in all
VANISHED = "its process was ended from outside (often the machine's memory was full), or its machine is gone"


@dataclass(frozen=True)
class Ended:
    """How a rank has failed."""

    name: str
    reason: str
    exit_code: int = FAILURE

    def __str__(self) -> str:
        return f"{self.name} has ended, and with it the run: {self.reason}. The same command goes on"


class RankWatch:
    """This rank's connections, each to one other: the main process has one to each worker, a worker one to it.

    Args:
        name: of this rank, for the others' messages.
        end: ends this process at once with an exit code.
    """

    def __init__(self, name: str, end: Callable[[int], object] = os._exit) -> None:
        self.name = name
        self._end = end
        self._connections: list[Connection] = []
        self._heard = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self.ended: Ended | None = None

    @property
    def connected(self) -> bool:
        """Whether this rank would learn of another's end."""
        return bool(self._connections)

    def listen(self, connection: Connection, name: str) -> None:
        """Hears in a thread how the rank at the other end ends; its name is for the case that it cannot report."""
        _keep_alive(connection)
        self._connections.append(connection)
        threading.Thread(target=self._hear, args=(connection, name), daemon=True).start()

    def _hear(self, connection: Connection, name: str) -> None:
        try:
            heard = connection.recv()
        except (EOFError, OSError):
            heard = Ended(name, VANISHED)
        if heard is not None:  # else it has done its work
            self._take(heard)

    def _take(self, ended: Ended) -> None:
        """Hands the first failure on, and ends this process where it does not end by itself."""
        with self._lock:
            if self.ended is not None or self._closed.is_set():
                return
            self.ended = ended
        self._heard.set()
        self._send(ended)
        if not self._closed.wait(SECONDS_TO_END):
            report(str(ended))
            self._end(ended.exit_code)

    def _send(self, message: Ended | None) -> None:
        for connection in self._connections:
            with suppress(OSError):  # its rank has gone before
                connection.send(message)

    def ended_behind(self, error: BaseException) -> Ended | None:
        """Whose end has made an exchange between ranks fail; None where the error is this rank's own."""
        if not _is_of_an_exchange(error):
            return None
        self._heard.wait(SECONDS_TO_HEAR)
        return self.ended

    def close(self, own: Ended | None = None) -> None:
        """This rank ends: as it should, or by a failure of its own."""
        with self._lock:
            self._closed.set()
        if self.ended is None:
            self._send(own)


@contextmanager
def watched_ranks(rank: int, size: int, gather: Callable[[Any], list[Any]]) -> Iterator[None]:
    """Inside it every rank learns of the others' ends; all of them enter it.

    Args:
        gather: gives every rank what each has given it, in rank order.

    Raises:
        RankEndedError: another rank has ended, which is why this one failed.
    """
    watch = _connected(rank, size, gather)
    own: Ended | None = None
    try:
        yield
    except FailedElsewhere:  # the main process has ended all of them
        raise
    except BaseException as error:
        if ended := watch.ended_behind(error):
            raise RankEndedError(str(ended), ended.exit_code) from error
        own = Ended(watch.name, *_reason(error))
        raise
    finally:
        watch.close(own)


def _reason(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted", INTERRUPTED
    if isinstance(error, MaskALError):
        return str(error).rstrip("."), error.exit_code
    return f"{type(error).__name__}: {first_line(error)}", FAILURE


def _is_of_an_exchange(error: BaseException) -> bool:
    import torch.distributed as dist

    cause: BaseException | None = error
    while cause is not None:
        named = isinstance(cause, RuntimeError) and any(name in str(cause) for name in ("gloo", "NCCL"))
        if named or isinstance(cause, dist.DistError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _connected(rank: int, size: int, gather: Callable[[Any], list[Any]]) -> RankWatch:
    """A port and a password are made by the main process; whoever connects without the password is refused."""
    watch = RankWatch(_name(rank))
    # by torchrun alone: a cluster's script may have set such names for other programs
    one_machine = "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["LOCAL_WORLD_SIZE"] == str(size)
    listener, password = None, secrets.token_bytes(32)
    if rank == 0:
        listener = Listener(("127.0.0.1" if one_machine else "", 0), "AF_INET", size, authkey=password)
    place = (listener.address[1], password) if listener else None
    names, places = zip(*gather((watch.name, place)), strict=True)
    if listener:
        threading.Thread(target=_accept, args=(watch, listener, names), daemon=True).start()
        return watch
    port, password = places[0]
    host = "127.0.0.1" if one_machine else os.environ["MASTER_ADDR"]
    try:
        connection = Client((host, port), "AF_INET", authkey=password)
        connection.send(rank)
        watch.listen(connection, names[0])
    except (OSError, EOFError, AuthenticationError) as error:
        text = "%s cannot be watched (%s:%d: %s): should it end, this process may wait on"
        logger.warning(text, names[0], host, port, error)
    return watch


def _accept(watch: RankWatch, listener: Listener, names: Sequence[str]) -> None:
    joined = 1  # the main process itself
    with listener:
        while joined < len(names):
            try:
                connection = listener.accept()
                watch.listen(connection, names[connection.recv()])
                joined += 1
            except (OSError, EOFError, AuthenticationError) as error:
                logger.warning("A process that wanted to join the run was refused: %s", error)


def _name(rank: int) -> str:
    import torch

    device = "processor"
    if torch.cuda.is_available():
        index = torch.cuda.current_device()
        device = f"GPU {index}, {torch.cuda.get_device_name(index)},"
    return f"Rank {rank} ({device} of {socket.gethostname()})"


def _keep_alive(connection: Connection) -> None:
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):  # named otherwise on other systems
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
