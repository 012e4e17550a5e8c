"""SIGTERM on the real command: nobody comes in any more, nobody is cut off before his time, nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.integration.proxy.command import (
    BIND,
    UDP_ASSOCIATE,
    Command,
    Traffic,
    both,
    is_reset,
    receive,
    replied,
    requested,
    running,
)
from tests.integration.proxy.test_cli import SECONDS
from tests.integration.proxy.test_reload import certificate, free_port

FLOWS = 200
SOON_SECONDS = 10.0
"""What is over at once is over by then, however busy this machine is; far from any deadline here."""


@both
def test_flows_go_on_and_it_ends_with_the_last_one(workers: int, target: socket.socket, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, drain_seconds=60))
        flows = [command.flow(target) for _ in range(FLOWS)]
        for ends in flows:
            for sock in ends:
                stack.enter_context(sock)
        with Traffic(flows) as traffic:
            traffic.goes_on()
            command.drain()
            for _ in range(8):
                with pytest.raises(ConnectionRefusedError):
                    command.client()
            if workers == 2:
                assert command.admin("GET", "/health") == (503, "draining")
            traffic.goes_on()
            assert command.process.poll() is None
            traffic.finish()
        assert command.ends() < SOON_SECONDS
        assert {line["event"] for line in command.log} == {"draining"}


@both
def test_a_flow_that_does_not_end_is_reset_at_the_deadline(workers: int, target: socket.socket, tmp_path: Path) -> None:
    with running(tmp_path, workers, drain_seconds=0.5) as command:
        near, far = command.flow(target)
        with near, far:
            began = time.monotonic()
            command.drain()
            assert is_reset(near)
            assert time.monotonic() - began >= 0.5
            assert is_reset(far)
            command.ends(SOON_SECONDS)
        assert command.logged("drain_given_up")["flows"] == 1


@both
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_and_sigint_do_not_wait(
    workers: int, first: signal.Signals, second: signal.Signals, target: socket.socket, tmp_path: Path
) -> None:
    with running(tmp_path, workers, drain_seconds=60) as command:
        near, far = command.flow(target)
        with near, far:
            command.send(first)
            if first == signal.SIGTERM:
                command.logged("draining", workers)
                command.send(second)
            assert is_reset(near)
            assert is_reset(far)
            command.ends(SOON_SECONDS)


@both
def test_without_seconds_there_is_no_drain(workers: int, target: socket.socket, tmp_path: Path) -> None:
    with running(tmp_path, workers, drain_seconds=0) as command:
        near, far = command.flow(target)
        with near, far:
            command.send(signal.SIGTERM)
            assert is_reset(near)
            command.ends(SOON_SECONDS)


@both
def test_handshakes_are_served_and_silence_is_ended(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """Whoever has begun to speak is served; who has not is told by a FIN. (By TLS's word for it on a TLS port.)"""
    files = certificate(tmp_path, "proxy.example")
    tls_port = free_port()
    listen = ["127.0.0.1:0", {"address": f"127.0.0.1:{tls_port}", "certificate": files[0], "key": files[1]}]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, listen=listen, drain_seconds=60))

        def connected(port: int) -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS))

        begun, silent, unencrypted = connected(command.port), connected(command.port), connected(tls_port)
        encrypted = stack.enter_context(context.wrap_socket(connected(tls_port)))
        begun.sendall(b"\x05\x01\x00")
        assert receive(begun, 2) == b"\x05\x00"
        command.drain()
        for sock in (silent, unencrypted, encrypted):
            assert sock.recv(1) == b""
        begun.sendall(requested(target.getsockname()) + b"ping")
        assert receive(begun, 10)[1] == 0
        with target.accept()[0] as far:
            far.settimeout(SECONDS)
            assert receive(far, 4) == b"ping"
            far.sendall(b"pong")
            assert receive(begun, 4) == b"pong"
            begun.shutdown(socket.SHUT_WR)
            assert far.recv(1) == b""
        assert begun.recv(1) == b""
        silent.close()
        unencrypted.close()
        encrypted.close()
        assert command.ends() < SOON_SECONDS


@both
def test_connections_that_were_not_yet_accepted_are(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """More of them than are accepted at once, in front of processes that do not run for a moment."""
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, drain_seconds=60))
        assert command.reply(target.getsockname()) == 0  # it is up
        target.accept()[0].close()
        pids = command.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        clients = [stack.enter_context(command.client()) for _ in range(300)]
        for sock in clients:
            sock.sendall(requested(target.getsockname()))
        command.send(signal.SIGTERM)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert [replied(sock) for sock in clients] == [0] * 300
        for sock in clients:
            sock.close()
            target.accept()[0].close()
        assert command.ends() < SOON_SECONDS


@both
def test_associations_and_peers_of_bind_are_waited_for(workers: int, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, drain_seconds=60))
        control = stack.enter_context(command.client())
        control.sendall(requested(("0.0.0.0", 0), UDP_ASSOCIATE))
        relay = bound(control)
        waiting = stack.enter_context(command.client())
        waiting.sendall(requested(("0.0.0.0", 0), BIND))
        incoming = bound(waiting)
        command.drain()

        near, far = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(SECONDS)
        header = b"\0\0\0\x01" + socket.inet_aton("127.0.0.1") + far.getsockname()[1].to_bytes(2, "big")
        near.sendto(header + b"ping", relay)
        data, outlet = far.recvfrom(100)
        assert data == b"ping"
        far.sendto(b"pong", outlet)
        assert near.recv(100) == header + b"pong"

        with socket.create_connection(incoming, SECONDS) as peer:
            assert receive(waiting, 10)[1] == 0
            peer.sendall(b"hello")
            assert receive(waiting, 5) == b"hello"
        assert waiting.recv(1) == b""
        waiting.close()
        assert command.process.poll() is None
        control.close()
        assert command.ends() < SOON_SECONDS


def bound(sock: socket.socket, *, authenticated: bool = False) -> tuple[str, int]:
    """BND.ADDR of a reply, after the answers before it."""
    assert receive(sock, 4 if authenticated else 2) == (b"\x05\x02\x01\x00" if authenticated else b"\x05\x00")
    reply = receive(sock, 10)
    assert reply[:4] == b"\x05\0\0\x01"
    return socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")


def drained_by_the_admin(command: Command) -> None:
    assert command.admin("POST", "/drain") == (202, '{"draining":true}')
    command.logged("draining", 2)


def test_who_asks_for_a_drain_gets_one(target: socket.socket, tmp_path: Path) -> None:
    """POST /drain is SIGTERM: with a flow on one worker and none on the other, no process is started again."""
    with running(tmp_path, 2, drain_seconds=60) as command:
        near, far = command.flow(target)
        with near, far:
            drained_by_the_admin(command)
            with pytest.raises(ConnectionRefusedError):
                command.client()
            near.sendall(b"ping")
            assert receive(far, 4) == b"ping"
        assert command.ends() < SOON_SECONDS
        assert {line["event"] for line in command.log} == {"draining"}


@both
def test_no_new_settings_while_it_drains(workers: int, target: socket.socket, tmp_path: Path) -> None:
    with running(tmp_path, workers, drain_seconds=60) as command:
        near, far = command.flow(target)
        with near, far:
            command.drain()
            command.file.write_text("lisen = []")
            command.send(signal.SIGHUP)
            near.sendall(b"ping")
            assert receive(far, 4) == b"ping"
        command.ends()
        assert command.lines("reload_failed") == []
