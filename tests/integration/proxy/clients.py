"""What tests of real clients share: a proxy that says what it was asked for, an origin, and a way to run a program.

`NAME` is a name that nobody but the proxy resolves: a client that gets to it has left the name to the proxy. Commands
are taken from docs/proxy-clients.md (`example`), so that what stands there works.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.certificates import CertificateFiles, write_self_signed
from proxy import server
from proxy.resolver import SystemResolver
from tests.integration.proxy.world import SECONDS, Proxy, running_proxy

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/proxy-clients.md"
NAME = "origin.example"
USERS = {"anna": "secret"}
PAGE = "hello"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the proxy understood it, and what it answered."""

    protocol: str
    command: str
    target: str
    user: str = ""
    reply: str = "SUCCEEDED"


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended: its status, and all that it printed."""

    status: int
    said: str


def _resolve(name: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    if name not in (NAME, "localhost"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@contextlib.asynccontextmanager
async def watched(folder: Path, **settings: Any) -> AsyncIterator[tuple[Proxy, list[Seen]]]:
    """A proxy that resolves NAME to 127.0.0.1, and what it saw, in the order of its ends: there when it is closed."""
    log, seen = folder / "access.jsonl", list[Seen]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "open_resolver", lambda settings: SystemResolver(_resolve))
        async with running_proxy(access_log=str(log), **settings) as proxy:
            yield proxy, seen
    fields = Seen.__dataclass_fields__
    for line in log.read_text().splitlines():
        record = json.loads(line)
        seen.append(Seen(**{field: record[field] for field in fields}))


def example(text: str, proxy: Proxy | int, port: int) -> list[str]:
    """A command that DOCUMENT has, as words, with the ports of this test."""
    return shlex.split(written(text, proxy, port))


def written(text: str, proxy: Proxy | int, port: int) -> str:
    """What DOCUMENT has, where the proxy's port is 1080 and the destination's 8080, with the ports of this test."""
    assert text in DOCUMENT.read_text(encoding="utf-8"), f"{DOCUMENT.name} does not have: {text}"
    ports = {"1080": str(proxy.port if isinstance(proxy, Proxy) else proxy), "8080": str(port)}
    return re.sub(r"\b[18]080\b", lambda found: ports[found[0]], text)


def certificate(folder: Path) -> CertificateFiles:
    """Files of a certificate for NAME and the loopback, and of the authority that vouches for it."""
    return write_self_signed(folder / "tls", [NAME, "localhost", "127.0.0.1"])


@contextlib.asynccontextmanager
async def origin(files: CertificateFiles | None = None) -> AsyncIterator[int]:
    """An HTTP server on 127.0.0.1, with `files` an HTTPS server, whose every page is PAGE. Gives its port."""
    context = None
    if files is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.key)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            async with asyncio.timeout(SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n{PAGE}".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that only looks whether somebody is there
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[int]:
    """Sends datagrams back. Gives its port."""

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(data, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def closed_port() -> int:
    """A port of 127.0.0.1 that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _surroundings() -> dict[str, str]:
    """The environment, but for what it says about proxies."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


async def run(
    *command: str,
    folder: Path | None = None,
    said: str = "",
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Done:
    """Run a program in `folder` to its end, with `said` as its input, for at most so many seconds."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=_surroundings() | {"LC_ALL": "C"} | dict(environment or {}),
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(said.encode()), seconds)
    finally:
        if process.returncode is None:  # it hangs, and so may what it started: both are in its group
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, output.decode(errors="replace"))
