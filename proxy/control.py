"""How one process asks all workers something, and how they answer. Unix.

Each place has a channel, a pair of SOCK_SEQPACKET sockets made before the forks: a worker that takes a dead one's place
finds it there. Who asks makes a pair of stream sockets for each request, writes the request into one end as a line of
JSON and passes the other through the channel. The worker reads the line, writes its answer, closes. So answers of any
length never meet, and one that nobody waits for any more disturbs nobody.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from proxy import log

ANSWER_SECONDS = 2.0
"""A worker that has not answered by then is left out."""
REQUEST_BYTES = 64 * 1024
ANSWER_BYTES = 16 << 20
FLOWS_MOST = 10_000
"""Of one worker, in one answer."""
REQUESTS_AT_ONCE = 16

Message = dict[str, object]
Handle = Callable[[Message], Message]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


def channel() -> tuple[socket.socket, socket.socket]:
    """The two ends of a place's channel: who asks has the first, the worker the second."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Workers:
    """All workers, for who asks them. `channels` are their channels' first ends."""

    def __init__(self, channels: Sequence[socket.socket]) -> None:
        self._channels = channels
        for one in channels:
            one.setblocking(False)

    async def ask(self, request: Message) -> list[Message]:
        """The workers' answers to `request`. Those that are dead, too slow or say too much are missing."""
        line = _encode(request) + b"\n"
        if len(line) > REQUEST_BYTES:
            raise ValueError(f"a request of {len(line)} bytes; expected at most {REQUEST_BYTES}")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ask(place, line), name=f"ask place {place}")
                for place in range(len(self._channels))
            ]
        return [answer for task in tasks if (answer := task.result()) is not None]

    async def _ask(self, place: int, line: bytes) -> Message | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await _ask(self._channels[place], line)
        except (OSError, msgspec.MsgspecError) as error:  # TimeoutError among them
            log.warning("worker_does_not_answer", place=place, error=str(error) or f"none in {ANSWER_SECONDS:g} s")
            return None


async def _ask(channel: socket.socket, line: bytes) -> Message:
    loop, answer = asyncio.get_running_loop(), bytearray()
    near, far = socket.socketpair()
    with near:
        with far:
            near.setblocking(False)
            near.send(line)  # into an empty buffer: it fits
            socket.send_fds(channel, [b"?"], [far.fileno()])
        while chunk := await loop.sock_recv(near, 1 << 18):
            answer += chunk
            if len(answer) > ANSWER_BYTES:
                raise OSError(f"its answer is longer than {ANSWER_BYTES} bytes")
    return _decode(answer)


def serve_control(sock: socket.socket, handle: Handle) -> Callable[[], None]:
    """Answer what comes through `sock`, the second end of a channel, with `handle(request)`, in the running loop.

    `handle` runs in the loop and should be done in milliseconds. Returns what ends this; `sock` stays open.
    """
    return _Control(sock, handle).close


class _Control:
    def __init__(self, sock: socket.socket, handle: Handle) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._handle = handle
        self._answers: set[_Answer] = set()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def close(self) -> None:
        """Stop, answers that are under way, too."""
        self._loop.remove_reader(self._sock)
        for answer in list(self._answers):
            answer.close()

    def _readable(self) -> None:
        for _ in range(REQUESTS_AT_ONCE):
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, 16, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("control_failed", error=error.strerror)
                return
            if not data:  # nobody is left who could ask
                self._loop.remove_reader(self._sock)
                return
            for fd in fds:  # none, where this process was out of descriptors
                self._answer(fd)

    def _answer(self, fd: int) -> None:
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            return
        try:
            sock.setblocking(False)
            data = _encode(self._handle(_decode(sock.recv(REQUEST_BYTES))))
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("control_failed", error=str(error))
            sock.close()
        except Exception:
            log.exception("control_failed")
            sock.close()
        else:
            answer = _Answer(self._loop, sock, data, self._answers.discard)
            self._answers.add(answer)
            answer.go_on()


class _Answer:
    """Writes an answer as fast as it is read, and closes; at once where nobody reads any more."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        data: bytes,
        done: Callable[[_Answer], object],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._rest = memoryview(data)
        self._done = done
        loop.add_writer(sock, self.go_on)

    def go_on(self) -> None:
        try:
            self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            return
        except OSError:  # who asked has gone
            self._rest = self._rest[:0]
        if not self._rest:
            self.close()

    def close(self) -> None:
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._done(self)


def select_flows(flows: Iterable[Mapping[str, object]], request: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The first `limit` of `flows` that have the request's `user` and `target`, where it has them.

    A target is "HOST:PORT", or "HOST" for all its ports.
    """
    user, target, limit = request.get("user"), request.get("target"), request.get("limit")
    most = min(limit, FLOWS_MOST) if isinstance(limit, int) else FLOWS_MOST
    found = (
        flow
        for flow in flows
        if (user is None or flow["user"] == user)
        and (target is None or target in (flow["target"], str(flow["target"]).rpartition(":")[0]))
    )
    return list(islice(found, max(0, most)))
