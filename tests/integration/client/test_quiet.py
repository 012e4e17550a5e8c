"""What a peer sees of a connection that was given up: the RST of the abort, and nothing after it."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from client.routes import Attempt, tcp
from client.routes.quiet import QuietPorts, drop_arrivals
from client.settings import DialSettings

_SO_DETACH_FILTER = 27


def _filters_are_allowed() -> bool:
    with socket.socket() as sock:
        try:
            drop_arrivals(sock)
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and _filters_are_allowed()),
    reason="this system does not let this user put packet filters on sockets (SO_ATTACH_FILTER)",
)


@pytest.fixture(params=["127.0.0.1", "::1"])
async def ends(request: pytest.FixtureRequest) -> tuple[socket.socket, socket.socket, str]:
    """A dialed socket, its peer, which does not hear the abort, and the dialed socket's "address:port"."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((request.param, 0))
        listener.listen()
        attempt = Attempt()
        near = await tcp.connect([request.param], listener.getsockname()[1], DialSettings(), attempt)
        far, _ = listener.accept()
    drop_arrivals(far)
    far.setblocking(False)
    return near, far, attempt.locals[0]


def answer_to_a_late_segment(far: socket.socket) -> int | None:
    """What the peer reads then: ECONNRESET, or EAGAIN for silence. On loopback it is there when send(2) returns."""
    far.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    far.send(b"late")
    with far, pytest.raises(OSError, match=r"Connection reset|temporarily unavailable") as caught:
        far.recv(1)
    return caught.value.errno


async def test_a_late_segment_is_answered_by_a_reset_if_nothing_holds_the_port(
    ends: tuple[socket.socket, socket.socket, str],
) -> None:
    near, far, _ = ends
    near.close()
    assert answer_to_a_late_segment(far) == errno.ECONNRESET


@pytest.mark.parametrize("first", ["hold", "close"])
async def test_a_late_segment_is_not_answered(ends: tuple[socket.socket, socket.socket, str], first: str) -> None:
    near, far, local = ends
    quiet = QuietPorts()
    if first == "close":
        near.close()
    quiet.hold(local)
    quiet.hold(local)
    near.close()
    assert answer_to_a_late_segment(far) == errno.EAGAIN
    quiet.close()


async def test_a_port_is_held_for_a_while_only(ends: tuple[socket.socket, socket.socket, str]) -> None:
    near, far, local = ends
    quiet = QuietPorts(hold_seconds=0.0)
    quiet.hold(local)
    near.close()
    await asyncio.sleep(0.01)
    assert answer_to_a_late_segment(far) == errno.ECONNRESET


async def test_a_port_that_cannot_be_had_is_let_be() -> None:
    quiet = QuietPorts()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        quiet.hold(f"127.0.0.1:{taken.getsockname()[1]}")
    quiet.hold("192.0.2.77:1")
    quiet.close()
