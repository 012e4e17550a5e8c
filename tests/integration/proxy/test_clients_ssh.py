"""OpenSSH through the proxy, by way of netcat or Ncat: a command, and a file by its hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import find
from tests.integration.proxy.clients import NAME, USERS, Done, Seen, closed_port, example, run, watched
from tests.integration.proxy.world import target

pytestmark = pytest.mark.programs("ssh", "scp", "sshd", "ssh-keygen")

FILE_BYTES = 8 << 20
SETTINGS = """\
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True, slots=True)
class Server:
    """A real sshd: its port, and what ssh and scp need to be let in."""

    port: int
    options: tuple[str, ...]


@pytest.fixture
def privilege_separation() -> Iterator[None]:
    """sshd as root does not start without this empty folder, which its service makes elsewhere."""
    made = not os.geteuid() and not PRIVILEGE_SEPARATION.exists()
    if made:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    yield
    if made:
        PRIVILEGE_SEPARATION.rmdir()


@pytest_asyncio.fixture
async def server(tmp_path: Path, privilege_separation: None) -> AsyncIterator[Server]:
    """One sshd per connection, as inetd would start it: there is no port to wait for, and none is left behind."""
    for name in ("host", "user"):
        made = await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
        assert made == Done(0, "")
    (tmp_path / "sshd_config").write_text(SETTINGS.format(folder=tmp_path))
    (tmp_path / "known_hosts").write_text(f"{NAME} {(tmp_path / 'host.pub').read_text()}")

    async def serve(sock: socket.socket) -> None:
        process = await asyncio.create_subprocess_exec(
            str(find("sshd")), "-i", "-e", "-f", str(tmp_path / "sshd_config"),
            stdin=sock.fileno(),
            stdout=sock.fileno(),
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    wanted = (
        "BatchMode=yes",
        f"HostKeyAlias={NAME}",
        f"UserKnownHostsFile={tmp_path / 'known_hosts'}",
        f"IdentityFile={tmp_path / 'user'}",
        "IdentitiesOnly=yes",
    )
    async with target(serve) as port:
        yield Server(port, ("-F", "/dev/null", *(f"-o{one}" for one in wanted)))


def command(through: str, host: str) -> str:
    return f"ssh -o ProxyCommand='{through} %h %p' -p 8080 {host} echo hello"


NETCAT, NCAT = pytest.mark.programs("nc"), pytest.mark.programs("ncat")
THROUGH = [
    pytest.param(command("nc -X 5 -x 127.0.0.1:1080", NAME), "socks5", NAME, marks=NETCAT, id="nc SOCKS5"),
    pytest.param(
        command("nc -X 4 -x 127.0.0.1:1080", "localhost"), "socks4", "127.0.0.1", marks=NETCAT, id="nc SOCKS4"
    ),
    pytest.param(command("nc -X connect -x 127.0.0.1:1080", NAME), "http", NAME, marks=NETCAT, id="nc CONNECT"),
    pytest.param(
        command("ncat --proxy 127.0.0.1:1080 --proxy-type socks5 --proxy-auth anna:secret", NAME),
        "socks5",
        NAME,
        marks=NCAT,
        id="ncat SOCKS5 with login",
    ),
]


@pytest.mark.parametrize(("line", "protocol", "host"), THROUGH)
async def test_a_command(tmp_path: Path, server: Server, line: str, protocol: str, host: str) -> None:
    user = "anna" if "anna" in line else ""
    async with watched(tmp_path, users=USERS if user else {}) as (proxy, seen):
        program, *arguments = example(line, proxy, server.port)
        assert await run(program, *server.options, *arguments) == Done(0, "hello\n")
    assert seen == [Seen(protocol, "connect", f"{host}:{server.port}", user)]


@pytest.mark.parametrize(("line", "protocol", "host"), THROUGH[:1])
async def test_a_port_that_nobody_listens_on(
    tmp_path: Path, server: Server, line: str, protocol: str, host: str
) -> None:
    port = closed_port()
    async with watched(tmp_path) as (proxy, seen):
        program, *arguments = example(line, proxy, port)
        done = await run(program, *server.options, *arguments)
    assert done.status == 255
    assert "SOCKSv5 error: Connection refused" in done.said
    assert seen == [Seen(protocol, "connect", f"{host}:{port}", reply="CONNECTION_REFUSED")]


@pytest.mark.programs("nc")
async def test_a_file(tmp_path: Path, server: Server) -> None:
    data = os.urandom(FILE_BYTES)
    (tmp_path / "data").write_bytes(data)
    line = f"scp -o ProxyCommand='nc -X 5 -x 127.0.0.1:1080 %h %p' -P 8080 data {NAME}:copy"
    async with watched(tmp_path) as (proxy, seen):
        program, *arguments, copy = example(line, proxy, server.port)
        copy = copy.replace(":copy", f":{tmp_path / 'copy'}")
        assert await run(program, *server.options, *arguments, copy, folder=tmp_path) == Done(0, "")
    assert hashlib.sha256((tmp_path / "copy").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert seen == [Seen("socks5", "connect", f"{NAME}:{server.port}")]
