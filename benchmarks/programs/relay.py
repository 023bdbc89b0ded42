"""A TCP relay that is far away: every byte takes `--delay` seconds each way.

    relay.py --listen ADDRESS:PORT --to ADDRESS:PORT --delay SECONDS

The three packets that open a connection take their time as well: the far end sees it after three
delays, and what the near end sends is on its way after two. Prints its port once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import deque

Address = tuple[str, int]


class End(asyncio.Protocol):
    """One end of a connection; what it receives goes out at `other`, `delay` seconds later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: End
        # None stands for the end of the stream
        self.under_way: deque[tuple[float, bytes | None]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.other.transport and self.other.transport.is_closing():
            transport.close()
        self.other.arrive()

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def eof_received(self) -> bool:
        self._send(None)
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self.loop.call_later(self.delay, self.other.close)

    def pause_writing(self) -> None:
        """Too much waits to go out here."""
        if self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def _send(self, item: bytes | None) -> None:
        due = self.loop.time() + self.delay
        self.under_way.append((due, item))
        self.loop.call_at(due, self.arrive)

    def arrive(self) -> None:
        """Hand over what has been under way for long enough."""
        there = self.other.transport
        if there is None or there.is_closing():
            return
        now = self.loop.time()
        while self.under_way and self.under_way[0][0] <= now:
            item = self.under_way.popleft()[1]
            if item is None:
                with contextlib.suppress(OSError):  # it may have just gone
                    there.write_eof()
            else:
                there.write(item)

    def close(self) -> None:
        """The other end has gone, and this one hears of it."""
        self.other.arrive()
        if self.transport:
            self.transport.close()


class Near(End):
    """The end of whoever connected; the far one is connected when the first packets are there."""

    def __init__(self, target: Address, delay: float) -> None:
        super().__init__(delay)
        self.target = target
        self.other = End(delay)
        self.other.other = self
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        self.transport.pause_reading()
        self.loop.call_later(2 * self.delay, self.transport.resume_reading)
        self.task = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        await asyncio.sleep(3 * self.delay)
        try:
            await self.loop.create_connection(lambda: self.other, *self.target)
        except OSError:
            self.close()


async def serve(listen: Address, target: Address, delay: float) -> asyncio.Server:
    """A relay that takes connections."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Near(target, delay), *listen, backlog=512)


def address(text: str) -> Address:
    """HOST:PORT as a pair."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _main(options: argparse.Namespace) -> None:
    server = await serve(options.listen, options.to, options.delay)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Relay until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--to", type=address, required=True)
    parser.add_argument("--delay", type=float, required=True, help="seconds each way")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
