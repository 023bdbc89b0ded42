"""HTTP through an SSH connection that is already there: no local port, nothing to clean up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import paramiko
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager

SOURCE = ("127.0.0.1", 0)  # what sshd's log shows as the origin


def session_over(transport: paramiko.Transport, timeout: float = 30.0) -> requests.Session:
    """A session whose `http://HOST:PORT` is HOST:PORT as seen from the transport's far end.

    It speaks plain HTTP only: the channel is what is encrypted. `timeout` seconds bound the
    opening of a channel, and each wait for an answer where the caller names no other.
    """
    session = requests.Session()
    session.trust_env = False  # neither proxies nor ~/.netrc have a say inside the channel
    session.adapters.clear()
    session.mount("http://", _ChannelAdapter(transport, timeout))
    return session


def _connection_class(transport: paramiko.Transport, wait: float) -> type[HTTPConnection]:
    class ChannelConnection(HTTPConnection):
        """A connection whose socket is a direct-tcpip channel."""

        def _new_conn(self) -> Any:
            target = (self.host, self.port)
            try:
                channel = transport.open_channel("direct-tcpip", target, SOURCE, timeout=wait)
            except (paramiko.SSHException, EOFError, OSError) as error:
                reason = f"through the SSH connection: {error or type(error).__name__}"
                raise NewConnectionError(self, reason) from error
            channel.settimeout(wait)
            return channel

    return ChannelConnection


class _ChannelAdapter(HTTPAdapter):
    """Hands requests a pool manager whose connections are channels."""

    def __init__(self, transport: paramiko.Transport, timeout: float) -> None:
        self._connection = _connection_class(transport, timeout)
        self._wait = timeout
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        connection = self._connection

        class ChannelPool(HTTPConnectionPool):
            ConnectionCls = cast(Any, connection)

        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": ChannelPool}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        wait = self._wait if timeout is None else timeout
        return super().send(request, stream, wait, verify, cert, None)
