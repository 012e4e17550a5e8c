"""The route by DNS over HTTPS (RFC 8484): as the direct one, but what the network's resolver says is not asked for."""

from __future__ import annotations

import asyncio
import ssl
import time

import aiohttp

from client.routes import Attempt, tcp
from client.routes.connection import Connection, Connector, DialContext, open_connection, secure, tls_context
from client.routes.dns_messages import Answer, RecordType, make_query, read_answer
from client.routes.resolver import both_families
from client.routes.settings import DohRoute
from client.settings import DialSettings

MEDIA_TYPE = "application/dns-message"
ANSWER_LIMIT_BYTES = 65535


class Doh:
    """Implements `client.routes.Route`. Raises SettingsError for a bad `ca_file`."""

    def __init__(self, route: DohRoute, dial: DialContext) -> None:
        self.name = route.name
        self._dial = dial
        self._resolver = DohResolver(route, tls_context(dial.end, route.ca_file), dial.settings)

    async def dial(self, attempt: Attempt) -> Connection:
        origin, settings = self._dial.origin, self._dial.settings
        async with attempt.stage("dns"), asyncio.timeout(self._dial.end.resolver.total_seconds):
            addresses = await self._resolver.resolve(origin.host, attempt)
        attempt.addresses = tuple(addresses)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, origin.port, settings, attempt)
        return await open_connection(sock, self._dial, attempt)


class DohResolver:
    """Asks one server for A and AAAA side by side, each on a connection of its own: HTTP/1.1 answers one at a time.

    What it says is remembered for its time to live.
    """

    def __init__(self, route: DohRoute, context: ssl.SSLContext, settings: DialSettings) -> None:
        self._route = route
        self._context = context
        self._settings = settings
        self._server_name = route.server_name or route.address
        host = f"[{self._server_name}]" if ":" in self._server_name else self._server_name
        self._url = f"https://{host}:{route.port}{route.path}"
        self._known: dict[str, tuple[float, list[str]]] = {}

    async def resolve(self, name: str, attempt: Attempt) -> list[str]:
        """Addresses of `name`, families interleaved. Raises DialError and what `secure` and aiohttp raise."""
        expires, known = self._known.get(name, (0.0, []))
        if time.monotonic() < expires:
            return known
        lives: list[int] = []

        async def ask(type_: RecordType) -> list[str] | Exception:
            try:
                answer = await self._ask(name, type_, attempt)
            except Exception as error:
                return error
            lives.append(answer.ttl_seconds)
            return answer.addresses

        addresses = await both_families(ask, name)
        self._known[name] = (time.monotonic() + min(lives), addresses)
        return addresses

    async def _ask(self, name: str, type_: RecordType, attempt: Attempt) -> Answer:
        query = make_query(name, type_)
        sock = await tcp.connect([self._route.address], self._route.port, self._settings, attempt)
        try:
            _, handler = await secure(sock, self._context, self._server_name)
        except BaseException:
            sock.close()
            raise
        async with aiohttp.ClientSession(connector=Connector(handler), cookie_jar=aiohttp.DummyCookieJar()) as session:
            headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
            body = query.to_wire()
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                if response.status != 200 or response.content_type != MEDIA_TYPE:
                    raise ValueError(f"HTTP status {response.status}, {response.content_type}")
                data = await response.content.read(ANSWER_LIMIT_BYTES + 1)
                while not response.content.at_eof() and len(data) <= ANSWER_LIMIT_BYTES:
                    data += await response.content.read(ANSWER_LIMIT_BYTES)
            tcp.close_by_abort(sock, on=False)
        return read_answer(query, data)
