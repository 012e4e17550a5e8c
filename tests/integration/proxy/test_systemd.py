"""Sockets from systemd, or from a process that passes them on as it does; notifications to a socket like its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import Listener, ProxySettings
from proxy.systemd import Notifier, adopt, inherited
from sidedoor.settings import SettingsError, UsageError

SECONDS = 20.0

# Moves the descriptors that its first argument lists to 3, 4, ... and becomes the program of the others, as systemd
# does: with the same process id, and with LISTEN_PID if the environment does not have another.
LAUNCHER = """
import os, sys
for place, descriptor in enumerate(map(int, sys.argv[1].split()), 100):
    os.dup2(descriptor, place)  # out of the way first: one of them may be 3
for place in range(len(sys.argv[1].split())):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""

# What `inherited` finds, and whether a child would have it; its complaint on stderr.
PROBE = """
import os, sys
from proxy.systemd import inherited
from sidedoor.settings import UsageError
try:
    found = inherited()
except UsageError as error:
    sys.exit(str(error))
for sock in found:
    print(sock.getsockname()[1], sock.getblocking(), sock.get_inheritable())
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""

# Serves one connection on the first inherited socket.
SERVER = """
import select
from proxy.systemd import inherited
sock, = inherited()
select.select([sock], [], [])
with sock, sock.accept()[0] as connection:
    connection.setblocking(True)
    connection.sendall(b"served")
    connection.shutdown(1)
    connection.recv(1)
"""


def passed_on(*sockets: socket.socket, **variables: str) -> subprocess.CompletedProcess[str]:
    """PROBE, started with `sockets`."""
    descriptors = [sock.fileno() for sock in sockets]
    return subprocess.run(
        [sys.executable, "-c", LAUNCHER, " ".join(map(str, descriptors)), PROBE],
        env={**os.environ, "LISTEN_FDS": str(len(sockets)), **variables},
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_listening_sockets_come_non_blocking_and_for_this_process_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        done = passed_on(first, second, LISTEN_FDNAMES="plain:tls")
        ports = [sock.getsockname()[1] for sock in (first, second)]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{port} False False" for port in ports] + ["[]"]


def test_what_was_meant_for_another_process_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = passed_on(sock, LISTEN_PID="1")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_systemd_nothing_is_inherited() -> None:
    assert inherited({}) == []
    environ = {"LISTEN_PID": str(os.getpid()), "PATH": "/bin"}
    assert inherited(environ) == []
    assert environ == {"PATH": "/bin"}


def test_a_number_of_sockets_that_is_none() -> None:
    with pytest.raises(UsageError, match=r'LISTEN_FDS: is "two"; expected how many'):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "two"})


def test_a_socket_of_another_kind_is_named_with_what_it_is() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as idle,
    ):
        for bad, what in ((udp, "a UDP socket"), (unix, "a socket of the family AF_UNIX"), (idle, "does not listen")):
            done = passed_on(good, bad, LISTEN_FDNAMES="plain:wrong")
            assert done.returncode == 1
            assert done.stderr.startswith("socket activation: descriptor 4 (wrong): is a ")
            assert what in done.stderr
            assert "ListenStream=HOST:PORT" in done.stderr
            assert done.stderr.count("\n") == 1


def test_more_sockets_promised_than_there_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = passed_on(sock, LISTEN_FDS="2")
    assert done.stderr == (
        "socket activation: descriptor 4: cannot be used: Bad file descriptor; expected a listening TCP socket\n"
    )


@pytest.mark.programs("systemd-socket-activate")
def test_systemds_own_socket_activation() -> None:
    with socket.socket() as reserved:
        # Bound, not listening: nobody else is given this port, and whoever sets SO_REUSEADDR, as systemd does, gets it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        host, port = reserved.getsockname()
        with subprocess.Popen(
            [
                "systemd-socket-activate",
                "-l",
                f"{host}:{port}",
                f"--setenv=PYTHONPATH={os.pathsep.join(sys.path)}",
                sys.executable,
                "-c",
                SERVER,
            ],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr is not None
                assert "Listening on" in process.stderr.readline()
                with socket.create_connection((host, port), SECONDS) as sock:
                    assert sock.makefile("rb").read() == b"served"
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()


# What `listen` says of sockets that systemd listens on.


def test_listen_gives_inherited_sockets_their_options() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as tls:
        plain_name, tls_name = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (plain, tls))
        options = Listener(address=tls_name, certificate="c.pem", key="k.pem")
        settings = adopt([tls, plain], ProxySettings(listen=("127.0.0.1:1", options), idle_seconds=5))
        assert settings == ProxySettings(listen=(options, Listener(address=plain_name)), idle_seconds=5)
        localhost = Listener(address=f"localhost:{tls.getsockname()[1]}", certificate="c.pem", key="k.pem")
        assert adopt([tls], ProxySettings(listen=(localhost,))).listen == (options,)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "proxy.example:1080"])
def test_options_that_no_inherited_socket_has_are_an_error(address: str) -> None:
    options = Listener(address=address, certificate="c.pem", key="k.pem")
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(SettingsError) as error:
        adopt([sock], ProxySettings(listen=(options,)))
    assert str(error.value).startswith(f"listen: {address} has options and is none of the addresses that systemd")


def test_an_inherited_socket_beyond_the_loopback_needs_users_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as sock, pytest.raises(SettingsError, match="add users"):
        adopt([sock], ProxySettings()).check()


# Notifications.


@contextlib.contextmanager
def manager(path: str) -> Iterator[socket.socket]:
    """systemd's end of a notification socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        sock.settimeout(SECONDS)
        yield sock


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_hears(abstract: bool, tmp_path: Path) -> None:
    path = f"@sidedoor-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    if abstract and sys.platform != "linux":
        pytest.skip("only Linux has abstract UNIX sockets")
    environ = {"NOTIFY_SOCKET": path}
    with manager(path) as heard:
        notifier = Notifier(environ)
        assert environ == {}
        notifier.ready()
        assert heard.recv(4096) == b"READY=1"
        notifier.status("3 flows\nREADY=1")
        assert heard.recv(4096) == b"STATUS=3 flows READY=1"
        notifier.alive()
        assert heard.recv(4096) == b"WATCHDOG=1"
        notifier.stopping()
        assert heard.recv(4096) == b"STOPPING=1"
        notifier.stopping(32.5)
        assert heard.recv(4096) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=32500000"


def test_a_reload_carries_the_time_at_which_it_began(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as heard:
        before = time.monotonic_ns() // 1000
        Notifier({"NOTIFY_SOCKET": path}).reloading()
        state, _, moment = heard.recv(4096).decode().partition("\n")
    assert state == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_without_systemd_notifications_go_nowhere() -> None:
    notifier = Notifier({})
    for say in (notifier.ready, notifier.reloading, notifier.stopping, notifier.alive):
        say()
    notifier.status("nobody listens")
    assert notifier.watchdog_seconds() is None


def test_a_manager_that_is_gone_stops_nothing_and_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": path})
    notifier.alive()
    notifier.alive()
    with manager(path) as heard:
        notifier.alive()
        assert heard.recv(4096) == b"WATCHDOG=1"
    notifier.alive()
    logged = "".join(capsys.readouterr())
    assert logged.count("systemd_not_notified") == 2
    assert path in logged


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_the_watchdog_wants_a_sign_of_life_twice_in_its_time(variables: dict[str, str], expected: float | None) -> None:
    assert Notifier(variables).watchdog_seconds() == expected
    assert not variables


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, r'NOTIFY_SOCKET: is "vsock:2:1234"; expected an absolute path'),
        ({"WATCHDOG_USEC": "0"}, r'WATCHDOG_USEC: is "0"; expected a number of microseconds above 0'),
        ({"WATCHDOG_USEC": "soon"}, r'WATCHDOG_USEC: is "soon"'),
    ],
)
def test_variables_that_make_no_sense_are_named(variables: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Notifier(variables)
