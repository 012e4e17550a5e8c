"""The lab's authoritative name server: a fixed zone over UDP, TCP and HTTPS, NXDOMAIN for everything else."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec
from aiohttp import web

from lab.control import RoleControl

TTL_SECONDS = 5


class DnsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The zone (name -> addresses) and where to listen; with a certificate and its key (PEM files) for DNS over HTTPS,
    too."""

    names: dict[str, tuple[str, ...]]
    listen: tuple[str, ...]
    port: int = 53
    certificate: str | None = None
    key: str | None = None
    https_port: int = 443


def answer(names: dict[str, tuple[str, ...]], query: bytes) -> bytes | None:
    """The reply to a DNS message (RFC 1035), or None where the bytes are no query, or one of too many questions."""
    try:
        message = dns.message.from_wire(query)
        if message.flags & dns.flags.QR or not message.question:
            return None
        return _reply(names, message).to_wire()
    except dns.exception.DNSException:
        return None


def _reply(names: dict[str, tuple[str, ...]], message: dns.message.Message) -> dns.message.Message:
    reply = dns.message.make_response(message)
    reply.flags |= dns.flags.AA | dns.flags.RA
    question = message.question[0]
    addresses = names.get(str(question.name).rstrip(".").lower())
    if addresses is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply
    version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(question.rdtype)
    matching = [a for a in addresses if ipaddress.ip_address(a).version == version]
    if matching:
        rdtype = dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA
        rdatas = [dns.rdata.from_text(dns.rdataclass.IN, rdtype, a) for a in matching]
        reply.answer.append(dns.rrset.from_rdata_list(question.name, TTL_SECONDS, rdatas))
    return reply


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: before Python 3.12 the selector loop's transport is no DatagramTransport by type.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if reply := answer(self._names, data):
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def _https(settings: DnsSettings, names: dict[str, tuple[str, ...]]) -> AsyncIterator[None]:
    """DNS over HTTPS (RFC 8484), by POST."""
    if settings.certificate is None or settings.key is None:
        yield
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate, settings.key)

    async def respond(request: web.Request) -> web.Response:
        if (reply := answer(names, await request.read())) is None:
            return web.Response(status=400)
        return web.Response(body=reply, content_type="application/dns-message")

    application = web.Application(client_max_size=65535)
    application.router.add_post("/dns-query", respond)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        for address in settings.listen:
            await web.TCPSite(runner, address, settings.https_port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve the zone until cancelled."""
    dns_settings = msgspec.convert(settings, DnsSettings)
    names = {name.lower(): addresses for name, addresses in dns_settings.names.items()}

    async def serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = answer(names, await reader.readexactly(length))
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    transports = [
        (await loop.create_datagram_endpoint(lambda: _Datagrams(names), local_addr=(address, dns_settings.port)))[0]
        for address in dns_settings.listen
    ]
    try:
        server = await asyncio.start_server(serve_stream, dns_settings.listen, dns_settings.port)
        async with server, _https(dns_settings, names):
            control.emit("role_ready")
            await asyncio.get_running_loop().create_future()
    finally:
        for transport in transports:
            transport.close()
