"""The relay of the benchmark: bytes as they were, later, in order, with both ends' ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from benchmarks.programs.relay import address, serve

DELAY = 0.02
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def through_relay(far: Talk, near: Talk, delay: float = DELAY) -> Any:
    """What `near` returns when it talks to `far` through a relay."""

    async def talk() -> Any:
        server = await asyncio.start_server(far, "127.0.0.1", 0)
        relay = await serve(("127.0.0.1", 0), server.sockets[0].getsockname()[:2], delay)
        streams = await asyncio.open_connection(*relay.sockets[0].getsockname()[:2])
        try:
            return await near(*streams)
        finally:
            streams[1].close()
            relay.close()
            server.close()

    return asyncio.run(talk())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_every_byte_arrives_in_order() -> None:
    sent = bytes(range(256)) * 20_000

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        writer.write_eof()
        return await reader.read()

    assert through_relay(echo, near) == sent


@pytest.mark.parametrize("trips", [1, 3])
def test_each_exchange_takes_a_round_trip_and_the_first_two(trips: int) -> None:
    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        started = time.monotonic()
        for _ in range(trips):
            writer.write(b"?")
            await reader.readexactly(1)
        return time.monotonic() - started

    assert through_relay(echo, near) >= (trips + 1) * 2 * DELAY


def test_the_far_end_speaks_first() -> None:
    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\n")
        writer.close()

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()

    assert through_relay(far, near) == b"SSH-2.0\n"


def test_the_far_end_answers_after_the_near_ends_last_word() -> None:
    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(b"to " + asked)
        writer.close()

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"you")
        writer.write_eof()
        return await reader.read()

    assert through_relay(far, near) == b"to you"


def test_the_far_end_hears_that_the_near_one_has_gone() -> None:
    gone = asyncio.Event()

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    async def near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"bye")
        writer.close()
        return await asyncio.wait_for(gone.wait(), 30)

    assert through_relay(far, near)


def test_a_connection_to_nobody_ends() -> None:
    async def talk() -> bytes:
        nobody = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = nobody.sockets[0].getsockname()[:2]
        nobody.close()
        await nobody.wait_closed()
        relay = await serve(("127.0.0.1", 0), target, DELAY)
        reader, writer = await asyncio.open_connection(*relay.sockets[0].getsockname()[:2])
        answer = await reader.read()
        writer.close()
        relay.close()
        return answer

    assert asyncio.run(talk()) == b""


def test_addresses() -> None:
    assert address("127.0.0.1:22") == ("127.0.0.1", 22)
