"""A bystander: somebody in the same home network who only reads the web. What a block breaks besides its target.

Every `interval_seconds` one fresh HTTPS GET to the next of its sites, each an event `bystander_flow`. A flow is not
retried: one that fails is one that a person would have seen fail.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any

import aiohttp
import msgspec

from client.routes.failures import failure_of
from lab.control import RoleControl


class BystanderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sites (host names), how often a visit starts and how long one may take."""

    sites: tuple[str, ...]
    ca_file: str
    interval_seconds: float = 0.5
    timeout_seconds: float = 2.0


async def visit(site: str, context: ssl.SSLContext, timeout_seconds: float) -> str | None:
    """One GET of `https://SITE/` on a connection of its own; None, or the failure in OONI's words (df-007)."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as session,
            session.get(f"https://{site}/") as response,
        ):
            await response.read()
            return None
    except (TimeoutError, aiohttp.ClientError) as error:
        return _failure(error)


def _failure(error: BaseException) -> str:
    """The first of `error` and what led to it that has a word of OONI's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | aiohttp.ClientConnectorDNSError):
            return "dns_nxdomain_error"
        # aiohttp's ClientSSLErrors look like those of ssl that they wrap, but have lost the details.
        word = "unknown_failure" if isinstance(cause, aiohttp.ClientSSLError) else failure_of(cause)
        if not word.startswith("unknown_failure"):
            return word
        cause = cause.__cause__ or cause.__context__
    return f"unknown_failure: {error}"


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Visit one site after the other until cancelled; a slow visit does not hold up the next."""
    bystander = msgspec.convert(settings, BystanderSettings)
    context = ssl.create_default_context(cafile=bystander.ca_file)

    async def visit_and_report(site: str) -> None:
        started = time.monotonic()
        failure = await visit(site, context, bystander.timeout_seconds)
        seconds = time.monotonic() - started
        control.emit("bystander_flow", site=site, ok=failure is None, failure=failure, seconds=seconds)

    control.emit("role_ready")
    async with asyncio.TaskGroup() as visits:
        number = 0
        while True:
            site = bystander.sites[number % len(bystander.sites)]
            visits.create_task(visit_and_report(site), name=f"visit {site}")
            number += 1
            await asyncio.sleep(bystander.interval_seconds)
