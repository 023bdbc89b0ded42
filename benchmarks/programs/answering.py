"""Asks a worker's Kubernetes at its address on the gateway host, as the gateway would."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

PAUSE = 0.02  # seconds between tries, at first
SLACK = 0.02  # share of the time that it has taken so far, by which it may be wrong later
TIMEOUT = 0.3  # seconds for each
_NETWORK = 0x40000000  # CLONE_NEWNET


class Answering:
    """Asks from within the network of process `pid`."""

    def __init__(
        self, pid: int, address: str, few: AbstractContextManager[object] | None = None
    ) -> None:
        """`few` lets only so many ask at the same time, where many wait for the same moment: their
        handshakes would keep each other from an answer in time."""
        self._pid, self._address = pid, address
        self._few = few or contextlib.nullcontext()
        self._context = ssl._create_unverified_context()

    def first_after(self, start: float, patience: float) -> float:
        """When the first answer after `start` came, both monotonic times; after `patience` seconds
        it gives up, and says that time."""
        # a thread of its own, since it stays in that network
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._ask_on, start, start + patience).result()

    def _ask_on(self, start: float, deadline: float) -> float:
        with open(f"/proc/{self._pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _NETWORK):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        while time.monotonic() < deadline:
            with self._few, contextlib.suppress(OSError):
                if self._answers():
                    break
            time.sleep(max(PAUSE, SLACK * (time.monotonic() - start)))
        return time.monotonic()

    def _answers(self) -> bool:
        with socket.create_connection((self._address, 6443), TIMEOUT) as plain:
            plain.settimeout(TIMEOUT)
            with self._context.wrap_socket(plain) as asked:
                asked.sendall(b"GET /version HTTP/1.0\r\n\r\n")
                return bool(asked.recv(1))
