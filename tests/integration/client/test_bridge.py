"""The obfuscated route and its bridge, on real sockets; what probes of the bridge get to see."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client import bridge as bridge_module
from client.bridge import serve_bridge
from client.obfuscation import ClientCodec
from client.routes.settings import ObfuscatedRoute
from client.settings import BridgeSettings, OriginAddress
from sidedoor.settings import UsageError
from tests.integration.client.dials import QUICK, failing, listener, of, resets, silent, stages
from tests.integration.client.world import NAME, Log, World, free_port, send_steadily

KEY, OTHER_KEY = "5a" * 32, "a5" * 32
KEY_BYTES = bytes.fromhex(KEY)


class Recording:
    """A relay in front of a port that keeps what went each way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.up, self.down = bytearray(), bytearray()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Recording]:
        async with await asyncio.start_server(self._accepted, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass(reader, far_writer, self.up), name="up")
            group.create_task(_pass(far_reader, writer, self.down), name="down")


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            kept.extend(data)
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def bridge(target_port: int, log: Log | None = None, **more: int) -> AsyncIterator[int]:
    """A bridge to that port of `localhost`; yields its own."""
    port = free_port()
    settings = BridgeSettings(
        listen=(f"127.0.0.1:{port}",), key=KEY, target=OriginAddress("127.0.0.1", target_port), **more
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve_bridge(settings, log or Log(), ready=ready), name="bridge")
        await ready.wait()
        yield port
        task.cancel()


def obfuscated(port: int, key: str = KEY) -> ObfuscatedRoute:
    return ObfuscatedRoute(host="127.0.0.1", port=port, key=key)


async def test_records_go_through_and_nothing_shows(messenger: World) -> None:
    async with bridge(messenger.port) as port, Recording(port).serving() as recording:
        assert await stages(of(messenger, obfuscated(recording.port))) == ["dns", "tcp", "tls", "upgrade"]
    assert NAME.encode() not in recording.up
    assert b"\x16\x03\x01" not in recording.up[:64]
    for seen in (recording.up, recording.down):
        ones = int.from_bytes(seen, "big").bit_count()
        assert len(seen) > 1000
        assert 0.45 < ones / len(seen) / 8 < 0.55


async def test_messages_by_a_bridge(messenger: World) -> None:
    async with bridge(messenger.port) as port:
        route = obfuscated(port)
        sender = messenger.start_sender(messenger.settings({}, routes=(route,)))
        last = await send_steadily(sender, lambda: len(messenger.shown) < 30)
        assert await sender.drain(5.0)
        assert messenger.shown == list(range(1, last + 1))
        assert messenger.log.of("message_sent", route="obfuscated")


async def test_large_records_in_both_directions() -> None:
    """64 KB pieces of 3 MB to an echo, with back-pressure on every buffer of the way."""
    sent = random.Random(1).randbytes(3_000_000)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with listener(echo) as target, bridge(target) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        codec = ClientCodec(KEY_BYTES, random.SystemRandom(), time.time())

        async def write() -> None:
            for at in range(0, len(sent), 65536):
                writer.write(codec.seal(sent[at : at + 65536]))
                await writer.drain()
            writer.write_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(write(), name="write")
            received = bytearray()
            while data := await reader.read(65536):
                received += codec.open(data)
        writer.close()
    assert received == sent


# -- how it fails


async def test_another_key_is_silence(messenger: World) -> None:
    log = Log()
    async with bridge(messenger.port, log) as port:
        failed = await failing(of(messenger, obfuscated(port, OTHER_KEY), dial=QUICK))
    assert failed == ("tls", "generic_timeout_error")
    assert log.of("bridge_refused")[0]["reason"].startswith("not sealed with this key")


async def test_something_else_that_answers(messenger: World) -> None:
    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and some more of the kind\r\n")
            await reader.read()
        writer.close()

    async with listener(chat) as port:
        stage, failure = await failing(of(messenger, obfuscated(port)))
    assert (stage, failure) == ("tls", "unknown_failure: not sealed with this key, or changed on the way")


@pytest.mark.parametrize(("handle", "failure"), [(silent, "generic_timeout_error"), (resets, "connection_reset")])
async def test_no_bridge(messenger: World, handle: Any, failure: str) -> None:
    async with listener(handle) as port:
        assert await failing(of(messenger, obfuscated(port), dial=QUICK)) == ("tls", failure)


async def test_an_origin_that_refuses(messenger: World) -> None:
    async with bridge(free_port()) as port:
        assert await failing(of(messenger, obfuscated(port))) == ("tls", "eof_error")


# -- probes


async def answer_to(port: int, data: bytes) -> tuple[bytes, bool]:
    """What comes back within 0.3 s, and whether it is the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(0.3):
            return await reader.read(1), True
    except TimeoutError:
        return b"", False
    finally:
        writer.close()


@pytest.mark.parametrize("length", [0, 1, 31, 32, 51, 52, 53, 87, 88, 89, 221, 1000, 70_000])
async def test_a_probe_of_any_length_gets_silence(length: int) -> None:
    """Alice et al., "How China Detects and Blocks Shadowsocks", IMC 2020: servers that end at some lengths only."""
    async with bridge(free_port()) as port:
        assert await answer_to(port, random.Random(length).randbytes(length)) == (b"", False)


async def test_a_replayed_stream_gets_silence_and_reaches_no_origin() -> None:
    reached: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readexactly(5))
        writer.write(b"welcome")
        writer.close()

    async with listener(note) as target, bridge(target) as port:
        stream = ClientCodec(KEY_BYTES, random.SystemRandom(), time.time()).seal(b"hello")
        assert (await answer_to(port, stream))[0] != b""
        assert await answer_to(port, stream) == (b"", False)
        assert await answer_to(port, stream[:100]) == (b"", False)
        old = ClientCodec(KEY_BYTES, random.SystemRandom(), time.time() - 3600).seal(b"hello")
        assert await answer_to(port, old) == (b"", False)
    assert reached == [b"hello"]


async def test_a_probe_that_ends_gets_an_end() -> None:
    async with bridge(free_port()) as port:
        for data in (b"", b"x" * 40, b"x" * 400):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


async def test_silence_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "SILENCE_SECONDS", (0.1, 0.1))
    async with bridge(free_port()) as port:
        for data in (b"", b"x" * 400):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            assert await reader.read() == b"", "an end, not a reset"
            writer.close()


async def test_connections_over_the_limit_are_closed() -> None:
    async with bridge(free_port(), limit_connections=1) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        first.close()
        second.close()


async def test_an_address_that_is_taken(messenger: World) -> None:
    taken = BridgeSettings(
        listen=(f"127.0.0.1:{messenger.port}",), key=KEY, target=OriginAddress("127.0.0.1", messenger.port)
    )
    with pytest.raises(UsageError, match="cannot listen on"):
        await serve_bridge(taken)
