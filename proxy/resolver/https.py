"""DNS over HTTPS (RFC 8484), by POST, over a connection that is kept open."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.resolver.answers import Answer, RecordType, Status
from proxy.resolver.lookup import SocketAddress, ask_both, resolve_by
from proxy.resolver.messages import MESSAGE_LIMIT_BYTES, Question, read_answer, write_query
from proxy.resolver.system import SystemResolver
from proxy.settings import ResolverSettings
from sidedoor.settings import SettingsError

TRIES = 2
CONNECTIONS_MOST = 8
"""HTTP/1.1 answers one question at a time on a connection; more questions than these wait for their turn."""
MEDIA_TYPE = "application/dns-message"


class DohResolver:
    """`Resolver` and `Source`. Raises SettingsError for a file of authorities (`ca`) that cannot be used.

    The server's certificate is checked against its name. No redirects, no cookies, no proxy from the environment.
    """

    def __init__(self, settings: ResolverSettings) -> None:
        self._url = settings.url
        self._seconds = settings.timeout_seconds
        self._context = _context(settings.ca)
        self._session: aiohttp.ClientSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._names = SystemResolver()

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """See `Resolver`."""
        return await resolve_by(self.look_up, host, port)

    async def look_up(self, name: str) -> Answer:
        """See `Source`."""
        return await ask_both(self._ask, name)

    def close(self) -> None:
        """See `Resolver`. The connections are gone some turns of the loop later."""
        self._names.close()
        if self._keeper is not None:
            self._keeper.cancel()

    async def _ask(self, name: str, type_: RecordType) -> Answer:
        question = Question(name, type_, 0)  # always the same id, for caches on the way (RFC 8484 section 4.1)
        why = ""
        for _ in range(TRIES):
            try:
                answer = await self._exchange(question)
            except TimeoutError:
                why = f"no answer within {self._seconds:g} s"
            except (aiohttp.ClientError, OSError) as error:
                why = str(error) or type(error).__name__
            else:
                if answer.status is not Status.FAILED:
                    return answer
                why = answer.error
        return Answer(Status.FAILED, error=f"DNS over HTTPS, {self._url}: {why} (asked {TRIES} times)")

    async def _exchange(self, question: Question) -> Answer:
        if self._session is None:  # not before the first question: it belongs to the running loop
            self._session = self._open()
            self._keeper = asyncio.get_running_loop().create_task(_keep(self._session), name="DNS over HTTPS")
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
        body = write_query(question)
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200 or response.content_type != MEDIA_TYPE:
                return Answer(Status.FAILED, error=f"HTTP status {response.status}, {response.content_type}")
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > MESSAGE_LIMIT_BYTES:
                    return Answer(Status.FAILED, error=f"more than {MESSAGE_LIMIT_BYTES} bytes")
        answer = read_answer(bytes(data), question)
        if answer is None or answer.status is Status.TRUNCATED:
            return Answer(Status.FAILED, error="came something else than the answer")
        return answer

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._context, limit=CONNECTIONS_MOST, keepalive_timeout=60, resolver=_SystemNames(self._names)
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )


async def _keep(session: aiohttp.ClientSession) -> None:
    """Until it is cancelled. A session is closed by a coroutine: this one has begun long before there is no time for
    another, and a loop that ends lets it finish."""
    async with session:
        await asyncio.get_running_loop().create_future()


class _SystemNames(AbstractResolver):
    """The name of the DoH server itself. On threads that nobody waits for at exit, other than aiohttp's own."""

    def __init__(self, names: SystemResolver) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, address in await self._names.resolve(host, port)
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """The threads are the owner's."""


def _context(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f'resolver.ca: "{ca}" cannot be used: {error}; expected a PEM file') from error
