from __future__ import annotations

import select
import socket
import sys

import pytest

from client.routes.tcp_info import quiet_seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as Linux has it")


def test_an_acknowledgement_ends_the_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            assert select.select([client], [], [], 0.05) == ([], [], []), "nothing comes in"
            before = quiet_seconds(client)
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"hello")
            assert client.recv(5) == b"hello"
            after = quiet_seconds(client)
    assert before is not None
    assert after is not None
    assert after < 0.04 < before
    assert quiet_seconds(client) is None, "closed"
