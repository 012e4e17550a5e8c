"""Names to addresses: a stub resolver that asks as an application does, and that tests and labs can point elsewhere."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from client.routes import DialError
from client.routes.dns_messages import RecordType
from client.routes.hosts import LOOPBACK, is_localhost, read_hosts
from client.settings import ResolverSettings
from sidedoor.settings import SettingsError

RESOLUTION_DELAY_SECONDS = 0.05
"""How long the answer of one family waits for the other's (RFC 8305 section 3)."""

FAMILIES: tuple[RecordType, RecordType] = ("AAAA", "A")

Ask = Callable[[RecordType], Coroutine[Any, Any, list[str] | Exception]]
"""Addresses of one family, or how the question for them failed."""


class Resolver:
    """Resolves A and AAAA side by side. The table of hosts is read at the start, `resolv.conf`, where no `nameservers`
    are given, anew for each name."""

    def __init__(self, settings: ResolverSettings) -> None:
        self._settings = settings
        self._nameservers = [_nameserver(text) for text in settings.nameservers]
        self._hosts = read_hosts(settings.hosts_file)

    async def resolve(self, name: str) -> list[str]:
        """Addresses of `name`, families interleaved, IPv6 first (RFC 8305 section 4); an address literal as it is.

        Raises dns.exception.DNSException.
        """
        if _is_address(name):
            return [name]
        if known := self._known(name):
            return known
        resolver = self._resolver()
        return await both_families(lambda type_: _query(resolver, name, type_), name)

    def asks(self, name: str) -> bool:
        """Whether `resolve` has to ask a nameserver, whose answer may be anybody's."""
        return not _is_address(name) and not self._known(name)

    def _known(self, name: str) -> list[str]:
        """The addresses that need no query; none for names that do."""
        if name in self._settings.hosts:
            return list(self._settings.hosts[name])
        if is_localhost(name):
            return list(LOOPBACK)
        addresses = self._hosts.get(name.lower().removesuffix("."), [])
        return sorted(addresses, key=lambda address: ":" not in address)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
        if self._nameservers:
            resolver.nameservers = self._nameservers
        resolver.timeout = self._settings.try_seconds
        resolver.lifetime = self._settings.total_seconds
        return resolver


async def both_families(ask: Ask, name: str) -> list[str]:
    """Both families' answers, interleaved; once one has addresses the other has little time left (RFC 8305 section 3).

    `ask` never raises: it returns its exception. Raises the one that says most when there are no addresses at all.
    """
    async with asyncio.TaskGroup() as group:
        queries = [group.create_task(ask(type_), name=f"resolve {name} {type_}") for type_ in FAMILIES]
        done, waiting = await asyncio.wait(queries, return_when=asyncio.FIRST_COMPLETED)
        if waiting and isinstance(next(iter(done)).result(), list):
            _, waiting = await asyncio.wait(waiting, timeout=RESOLUTION_DELAY_SECONDS)
            for query in waiting:
                query.cancel()
    answers = [query.result() for query in queries if not query.cancelled()]
    families = [answer for answer in answers if isinstance(answer, list)]
    if not families:
        raise _worst([answer for answer in answers if isinstance(answer, Exception)])
    return _interleave(*families)


async def _query(resolver: dns.asyncresolver.Resolver, name: str, type_: RecordType) -> list[str] | Exception:
    try:
        answer = await resolver.resolve(name, type_, search=False)
    except dns.exception.DNSException as error:
        return error
    return [record.address for record in answer]


def _worst(errors: list[Exception]) -> Exception:
    """The failure that says most: an answer of no kind is no news when the other family's query failed outright."""
    return next((error for error in errors if not _is_no_answer(error)), errors[0])


def _is_no_answer(error: Exception) -> bool:
    if isinstance(error, DialError):
        return error.failure == "dns_no_answer"
    return isinstance(error, dns.resolver.NoAnswer)


def _interleave(first: list[str], second: list[str] | None = None) -> list[str]:
    second = second or []
    mixed = [address for pair in zip(first, second, strict=False) for address in pair]
    return mixed + first[len(second) :] + second[len(first) :]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    """ "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT". Raises SettingsError."""
    address, port = text, "53"
    if not _is_address(text):
        address, _, port = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
    if not _is_address(address) or not port.isdecimal():
        raise SettingsError(f"nameserver {text!r}: expected ADDRESS or ADDRESS:PORT, IPv6 in brackets")
    return dns.nameserver.Do53Nameserver(address, int(port))
