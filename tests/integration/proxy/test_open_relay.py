"""Nobody starts an open relay by accident, nor makes one of a proxy that runs: without users only the loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.certificates import write_self_signed
from tests.integration.proxy.attack import COMMAND, LOCKED, SUCCEEDED, ask, outcome, program, socks5
from tests.integration.proxy.world import SECONDS, echo, target

REMEDY = "there are no users, so anybody could use this proxy; add users, or say --open (open = true) if that is meant"

# Passes the descriptor of its first argument on as systemd does (sd_listen_fds(3)), and becomes the others.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def refused(*arguments: str, prefix: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()) -> str:
    """The one line with which the program exits 2."""
    done = subprocess.run(
        [*prefix, *COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, pass_fds=pass_fds
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def own_address() -> str:
    """The address of an interface of this host, if it has one but the loopback; else one of documentation."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "192.0.2.1"


ELSEWHERE = ["0.0.0.0:0", "[::]:0", "proxy.example:1080", f"{socket.gethostname()}:0", f"{own_address()}:0", "0:0"]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_on_the_command_line(address: str) -> None:
    assert f"{address} is not a loopback address and {REMEDY}" in refused("--listen", address)


def test_among_others_that_are_on_the_loopback() -> None:
    assert REMEDY in refused("--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0", "--workers", "2")


@pytest.mark.parametrize(
    "text",
    [
        'listen = ["0.0.0.0:0"]',
        'listen = ["127.0.0.1:0", "[::]:0"]\nusers = {}',
        'listen = ["127.0.0.1:0", {address = "0.0.0.0:0"}]\n[users]',
        'listen = [{address = "0.0.0.0:0", proxy_protocol_from = ["127.0.0.1"]}]',
        'listen = [{address = "127.0.0.1:0", proxy_protocol_from = ["127.0.0.1"]}]',
        'listen = [{address = "proxy.example:0"}]\n[[rules]]\naction = "deny"\ndestinations = ["192.0.2.1"]',
    ],
    ids=["plain", "no users", "a table", "a load balancer", "one on this host", "rules are no users"],
)
def test_in_a_file(text: str, tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(text)
    for check in ((), ("--check",)):
        assert REMEDY in refused("--config", str(config), *check)


def test_tls_is_no_log_in(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["proxy.example"])
    config = tmp_path / "proxy.toml"
    config.write_text(f'listen = [{{address = "0.0.0.0:0", certificate = "{files.certificate}", key = "{files.key}"}}]')
    assert REMEDY in refused("--config", str(config))


def test_an_inherited_socket() -> None:
    with socket.create_server(("0.0.0.0", 0)) as sock:
        line = refused(prefix=(sys.executable, "-c", PASS_ON, str(sock.fileno())), pass_fds=(sock.fileno(),))
        assert f"0.0.0.0:{sock.getsockname()[1]} is not a loopback address and {REMEDY}" in line


# A proxy that runs, and whose file is changed.

HERE = "0.0.0.0:0"
BEFORE = 'listen = ["0.0.0.0:0"]\nusers = {anna = "right"}\n'


@contextlib.contextmanager
def inherited() -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """What passes a socket on all addresses on, and its descriptor."""
    with socket.create_server(("0.0.0.0", 0)) as sock:
        yield [sys.executable, "-c", PASS_ON, str(sock.fileno())], (sock.fileno(),)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "after",
    [
        f'listen = ["{HERE}"]\n',
        f'listen = ["{HERE}"]\nusers = {{}}\n',
        'listen = ["127.0.0.1:0"]\n',
        f'listen = ["{HERE}"]\nopen = true\n',
        "",
    ],
    ids=["no users", "an empty table", "listen says loopback", "open", "an empty file"],
)
async def test_a_reload_without_users_is_refused(after: str, workers: str, tmp_path: Path) -> None:
    """Whatever the new file says of `listen` and `open`, which a reload does not change."""
    config = tmp_path / "proxy.toml"
    config.write_text(BEFORE)
    with program(tmp_path, "--config", str(config), "--workers", workers) as running:
        config.write_text(after)
        running.reload()
        line = running.until_logged("reload_failed", "reloaded", "reload_needs_restart")
        assert line["event"] == "reload_failed"
        assert f"listen: {HERE} is not a loopback address and {REMEDY}" in str(line["error"])
        await needs_a_log_in(running.address[1])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_nor_with_a_socket_that_was_inherited(workers: str, tmp_path: Path) -> None:
    """`listen` of the file is not what is listened on."""
    config = tmp_path / "proxy.toml"
    config.write_text('users = {anna = "right"}\n')
    with inherited() as (prefix, descriptors):
        arguments = ["--config", str(config), "--workers", workers]
        with program(tmp_path, *arguments, prefix=prefix, pass_fds=descriptors) as running:
            config.write_text("")
            running.reload()
            line = running.until_logged("reload_failed", "reloaded", "reload_needs_restart")
            assert (line["event"], REMEDY in str(line["error"])) == ("reload_failed", True)
            await needs_a_log_in(running.address[1])


async def test_the_guard_outlives_a_reload_that_says_loopback(tmp_path: Path) -> None:
    """What "auto" of `inside` looks at is what is listened on, too."""
    config = tmp_path / "proxy.toml"
    config.write_text(BEFORE)
    with program(tmp_path, "--config", str(config)) as running:
        config.write_text('listen = ["127.0.0.1:0"]\nusers = {anna = "right"}\nidle_seconds = 5\n')
        running.reload()
        assert running.until_logged("reloaded")
        assert running.until_logged("reload_needs_restart")["keys"] == ["listen"]
        async with target(echo) as port:
            answer = await ask(("127.0.0.1", running.address[1]), socks5("127.0.0.1", port, ("anna", "right")))
        assert answer[:6] == b"\x05\x02\x01\x00\x05\x02"


async def needs_a_log_in(port: int) -> None:
    address = ("127.0.0.1", port)
    assert outcome(await ask(address, socks5("192.0.2.1", 80))) == LOCKED
    assert outcome(await ask(address, socks5("192.0.2.1", 80, ("anna", "wrong")))) == LOCKED
    assert outcome(await ask(address, socks5("127.0.0.1", 80, ("anna", "right")))) not in (LOCKED, SUCCEEDED)
