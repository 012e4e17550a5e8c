"""DNS servers of our choice: UDP, and TCP for what does not fit (RFC 1035, RFC 7766)."""

from __future__ import annotations

import asyncio
import secrets

from proxy.resolver.answers import Answer, RecordType, Status
from proxy.resolver.lookup import SocketAddress, ask_both, resolve_by
from proxy.resolver.messages import Question, read_answer, write_query
from proxy.settings import ResolverSettings, parse_server

TRIES = 2
"""How often every server is asked, as long as none of them answers."""


class DnsResolver:
    """`Resolver` and `Source`. The servers are asked in turn, beginning with the one that answered last.

    Every query goes out from a socket of its own, connected to the server: a source port and an id that nobody can
    guess, and the kernel drops what comes from another address (RFC 5452).
    """

    def __init__(self, settings: ResolverSettings) -> None:
        self._servers = [parse_server(text) for text in settings.servers]
        self._seconds = settings.timeout_seconds
        self._first = 0

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """See `Resolver`."""
        return await resolve_by(self.look_up, host, port)

    async def look_up(self, name: str) -> Answer:
        """See `Source`."""
        return await ask_both(self._ask, name)

    def close(self) -> None:
        """See `Resolver`: nothing is kept open, and who waits is cancelled by its owner."""

    async def _ask(self, name: str, type_: RecordType) -> Answer:
        """The first answer that a server gives; FAILED, with the last reason, where none does."""
        why = ""
        first, count = self._first, len(self._servers)
        for number in range(TRIES * count):
            index = (first + number) % count
            server = self._servers[index]
            question = Question(name, type_, secrets.randbelow(1 << 16))
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await _exchange(server, question)
            except TimeoutError as error:
                why = f"no answer within {self._seconds:g} s" if error.errno is None else str(error)
            except (OSError, EOFError) as error:  # a port without a server; a TCP connection that ended early
                why = str(error)
            else:
                if answer.status is not Status.FAILED:
                    self._first = index
                    return answer
                why = answer.error
            why = f"DNS server {server[0]} port {server[1]}: {why}"
        return Answer(Status.FAILED, error=f"{why} (asked {TRIES * count} times in all)")


async def _exchange(server: tuple[str, int], question: Question) -> Answer:
    answer = await _over_udp(server, question)
    return await _over_tcp(server, question) if answer.status is Status.TRUNCATED else answer


async def _over_udp(server: tuple[str, int], question: Question) -> Answer:
    loop = asyncio.get_running_loop()
    transport, waiting = await loop.create_datagram_endpoint(lambda: _Waiting(question), remote_addr=server)
    try:
        transport.sendto(write_query(question))
        return await waiting.answer
    finally:
        transport.abort()


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the answer to `question`; what is none is ignored, the right one may still come."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        answer = read_answer(data, self._question)
        if answer is not None and not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_tcp(server: tuple[str, int], question: Question) -> Answer:
    """Each message has its length in front of it (RFC 1035 section 4.2.2)."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        query = write_query(question)
        writer.write(len(query).to_bytes(2, "big") + query)
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.transport.abort()
    return read_answer(data, question) or Answer(Status.FAILED, error="over TCP came something else than the answer")
