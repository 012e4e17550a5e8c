from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from client.messages import PATH, Accepted, Hello, Message, Ping, Pong, decode, encode
from client.origin import GREETING, serve_origin
from client.settings import OriginSettings
from sidedoor.settings import UsageError
from tests.integration.client.world import NAME, World


def url(messenger: World, path: str) -> str:
    return f"https://{NAME}:{messenger.port}{path}"


def session(messenger: World) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(messenger.files.ca))
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt install curl)")
async def test_curl_gets_the_greeting(messenger: World) -> None:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--cacert", str(messenger.files.ca), url(messenger, "/"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, GREETING)


async def test_the_receiver_that_is_away_gets_what_waits(messenger: World) -> None:
    async with session(messenger) as http, http.ws_connect(url(messenger, PATH)) as sender:
        await sender.send_bytes(encode(Message("carol", "dave", 1, 1, 1, 0.0, b"hello")))
        assert decode(await sender.receive_bytes()) == Accepted(1, session=1)
        async with http.ws_connect(url(messenger, PATH)) as receiver:
            await receiver.send_bytes(encode(Hello("dave", receiver=1)))
            record = decode(await receiver.receive_bytes())
            assert isinstance(record, Message)
            assert record.body == b"hello"
            await receiver.send_bytes(encode(Ping(3)))
            assert decode(await receiver.receive_bytes()) == Pong(3)


@pytest.mark.parametrize("payload", [b"\xff", encode(Pong(1))], ids=["no record", "not for a peer to say"])
async def test_who_misbehaves_is_told_and_closed(messenger: World, payload: bytes) -> None:
    async with session(messenger) as http, http.ws_connect(url(messenger, PATH)) as websocket:
        await websocket.send_bytes(payload)
        frame = await websocket.receive(timeout=5)
        assert frame.type is aiohttp.WSMsgType.CLOSE
        assert websocket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_text_is_misbehaviour(messenger: World) -> None:
    async with session(messenger) as http, http.ws_connect(url(messenger, PATH)) as websocket:
        await websocket.send_str("hello")
        frame = await websocket.receive(timeout=5)
        assert frame.type is aiohttp.WSMsgType.CLOSE


async def test_a_busy_port_is_one_clear_error(messenger: World, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        files = messenger.files
        settings = OriginSettings(listen=(listen,), certificate=str(files.certificate), key=str(files.key))
        with pytest.raises(UsageError, match=f"cannot listen on {listen}: Address already in use"):
            await serve_origin(settings)
