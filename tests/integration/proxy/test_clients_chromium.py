"""Chromium through the proxy: what it makes of a page, over each protocol it speaks."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import Listener
from tests.integration.proxy.clients import (
    NAME,
    PAGE,
    USERS,
    Done,
    Seen,
    certificate,
    closed_port,
    example,
    origin,
    run,
    watched,
)
from tests.integration.proxy.world import Proxy

pytestmark = pytest.mark.programs("chromium")

SECONDS = 40.0
"""For one start and one page; a second is usual."""
QUIET = (
    "--no-sandbox",  # it refuses to be root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--ignore-certificate-errors",
)


@pytest.fixture
def home() -> Iterator[Path]:
    """Where it keeps everything, on a path that leaves room for the names of its sockets (108 bytes, unix(7)).

    Nothing that runs from there is left behind: its crash handler, for one, outlives it.
    """
    with tempfile.TemporaryDirectory(prefix="chromium-") as folder:
        yield Path(folder)
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    end_if_of(folder, entry)


def end_if_of(folder: str, entry: Path) -> None:
    """Kill the process of `entry` in /proc if `folder` is on its command line, and see it end."""
    handle = os.pidfd_open(int(entry.name))
    try:
        if folder.encode() in (entry / "cmdline").read_bytes():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], SECONDS)
    finally:
        os.close(handle)


async def chromium(line: str, proxy: Proxy, port: int, home: Path, scheme: str = "") -> Done:
    program, *arguments = example(line, proxy, port)
    if scheme:
        arguments[-1] = f"{scheme}://{NAME}:{port}/"
    places = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR")}
    arguments = [word.replace("=profile", f"={home}/profile") for word in arguments]
    return await run(program, *QUIET, *arguments, folder=home, environment=places, seconds=SECONDS)


START = "chromium --headless --user-data-dir=profile"
PAGES = [
    (f"{START} --proxy-server=socks5://127.0.0.1:1080 --dump-dom http://origin.example:8080/", "socks5", NAME),
    (
        f"{START} --proxy-server=socks4://127.0.0.1:1080 --proxy-bypass-list='<-loopback>'"
        " --dump-dom http://localhost:8080/",
        "socks4",
        "127.0.0.1",
    ),
    (f"{START} --proxy-server=http://127.0.0.1:1080 --dump-dom https://origin.example:8080/", "http", NAME),
    (f"{START} --proxy-server=https://127.0.0.1:1080 --dump-dom https://origin.example:8080/", "http", NAME),
]


@pytest.mark.parametrize(("line", "protocol", "host"), PAGES, ids=["socks5", "socks4", "connect", "connect over TLS"])
async def test_a_page(tmp_path: Path, home: Path, line: str, protocol: str, host: str) -> None:
    files = certificate(tmp_path)
    listener = Listener(address="127.0.0.1:0")
    if "=https://" in line:
        listener = Listener(address="127.0.0.1:0", certificate=str(files.certificate), key=str(files.key))
    async with (
        watched(tmp_path, listen=(listener,)) as (proxy, seen),
        origin(files if " https://" in line else None) as port,
    ):
        done = await chromium(line, proxy, port, home)
    assert f"<body>{PAGE}</body>" in done.said
    assert done.status == 0
    # It opens a connection or two in advance, and asks for its maker's hosts, which the proxy of this test cannot find.
    assert {one for one in seen if one.reply == "SUCCEEDED"} == {Seen(protocol, "connect", f"{host}:{port}")}


@pytest.mark.parametrize(
    ("line", "protocol", "host", "said"),
    [(*PAGES[0], "ERR_SOCKS_CONNECTION_FAILED"), (*PAGES[2], "ERR_TUNNEL_CONNECTION_FAILED")],
    ids=["socks5", "connect"],
)
async def test_a_port_that_nobody_listens_on(
    tmp_path: Path, home: Path, line: str, protocol: str, host: str, said: str
) -> None:
    port = closed_port()
    async with watched(tmp_path) as (proxy, seen):
        done = await chromium(line, proxy, port, home)
    assert said in done.said
    assert Seen(protocol, "connect", f"{host}:{port}", reply="CONNECTION_REFUSED") in seen


async def test_a_page_without_tls_by_way_of_http(tmp_path: Path, home: Path) -> None:
    """It does not use CONNECT then, and shows what the proxy has to say about that."""
    async with watched(tmp_path) as (proxy, seen), origin() as port:
        done = await chromium(PAGES[2][0], proxy, port, home, scheme="http")
    assert "it serves CONNECT only" in done.said
    assert "SUCCEEDED" not in {one.reply for one in seen}


@pytest.mark.parametrize(
    ("line", "said"),
    [(PAGES[0][0], "ERR_SOCKS_CONNECTION_FAILED"), (PAGES[2][0], "ERR_INVALID_AUTH_CREDENTIALS")],
    ids=["socks5", "connect"],
)
async def test_without_a_user(tmp_path: Path, home: Path, line: str, said: str) -> None:
    async with watched(tmp_path, users=USERS) as (proxy, seen), origin() as port:
        done = await chromium(line, proxy, port, home)
    assert said in done.said
    assert "SUCCEEDED" not in {one.reply for one in seen}
