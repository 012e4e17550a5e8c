"""Routes straight to the origin: other addresses, and DNS over HTTPS from a real server."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from client.certificates import CertificateFiles, write_self_signed
from client.routes import Attempt
from client.routes.settings import AlternateRoute, DohRoute
from client.settings import ResolverSettings
from tests.integration.client.dials import failing, listener, of, silent, stages
from tests.integration.client.world import NAME, World, free_port

Respond = Callable[[dns.message.Message], web.Response]


# -- other addresses


async def test_other_addresses_need_no_dns(messenger: World) -> None:
    route = AlternateRoute(addresses=(f"127.0.0.9:{free_port()}", f"127.0.0.1:{messenger.port}"))
    assert await stages(of(messenger, route)) == ["tcp", "tls", "upgrade"]
    assert await stages(of(messenger, AlternateRoute(addresses=("::1",)))) == ["tcp", "tls", "upgrade"]


async def test_no_other_address_answers(messenger: World) -> None:
    route = AlternateRoute(addresses=(f"127.0.0.9:{free_port()}", f"[::1]:{free_port()}"))
    assert await failing(of(messenger, route)) == ("tcp", "connection_refused")


# -- DNS over HTTPS


class DohServer:
    """Answers as told over HTTPS; `asked`: the types of the questions, `bodies`: the messages as they came."""

    def __init__(self, files: CertificateFiles, respond: Respond) -> None:
        self._files = files
        self._respond = respond
        self.port = 0
        self.asked: list[str] = []

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/dns-message"
        query = dns.message.from_wire(await request.read())
        self.asked.append(query.question[0].rdtype.name)
        return self._respond(query)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[DohServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files.certificate, self._files.key)
        app = web.Application()
        app.add_routes([web.post("/dns-query", self._answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port := free_port(), ssl_context=context).start()
            self.port = port
            yield self
        finally:
            await runner.cleanup()


def message(response: dns.message.Message) -> web.Response:
    return web.Response(body=response.to_wire(), content_type="application/dns-message")


def loopback(query: dns.message.Message) -> web.Response:
    """127.0.0.1 for every name."""
    response = dns.message.make_response(query)
    question = query.question[0]
    if question.rdtype.name == "A":
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "127.0.0.1"))
    return message(response)


def code(rcode: dns.rcode.Rcode) -> Respond:
    def respond(query: dns.message.Message) -> web.Response:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return message(response)

    return respond


async def test_names_by_doh_alone(messenger: World) -> None:
    async with DohServer(messenger.files, loopback).serving() as server:
        route = of(messenger, DohRoute(address="127.0.0.1", port=server.port, server_name=NAME))
        assert await stages(route) == ["dns", "tcp", "tls", "upgrade"]
        assert sorted(server.asked) == ["A", "AAAA"]
        connection = await route.dial(attempt := Attempt())
        await connection.close()
        assert sorted(server.asked) == ["A", "AAAA"], "the answer is remembered"
        assert attempt.locals == [connection.local]


async def test_an_answer_is_asked_for_again_when_its_life_is_over(messenger: World) -> None:
    def short(query: dns.message.Message) -> web.Response:
        response = dns.message.make_response(query)
        if query.question[0].rdtype.name == "A":
            response.answer.append(dns.rrset.from_text(query.question[0].name, 0, "IN", "A", "127.0.0.1"))
        return message(response)

    async with DohServer(messenger.files, short).serving() as server:
        route = of(messenger, DohRoute(address="127.0.0.1", port=server.port))
        for _ in range(2):
            await (await route.dial(Attempt())).close()
        assert server.asked.count("A") == 2


@pytest.mark.parametrize(
    ("respond", "failure"),
    [
        (code(dns.rcode.NXDOMAIN), "dns_nxdomain_error"),
        (code(dns.rcode.SERVFAIL), "dns_servfail_error"),
        (code(dns.rcode.REFUSED), "dns_refused_error"),
        (code(dns.rcode.NOERROR), "dns_no_answer"),
        (lambda query: web.Response(status=403), "unknown_failure: HTTP status 403, application/octet-stream"),
        (lambda query: web.Response(text="sorry"), "unknown_failure: HTTP status 200, text/plain"),
        (
            lambda query: web.Response(body=b"x" * 70_000, content_type="application/dns-message"),
            "unknown_failure: no DNS message",
        ),
    ],
    ids=["nxdomain", "servfail", "refused", "no answer", "forbidden", "a page", "too long"],
)
async def test_servers_that_give_no_address(messenger: World, respond: Respond, failure: str) -> None:
    async with DohServer(messenger.files, respond).serving() as server:
        stage, failed = await failing(of(messenger, DohRoute(address="127.0.0.1", port=server.port)))
    assert (stage, failed[: len(failure)]) == ("dns", failure)


async def test_the_doh_servers_certificate_is_checked(messenger: World, tmp_path: Path) -> None:
    other = write_self_signed(tmp_path / "other", ["dns.example"])
    async with DohServer(other, loopback).serving() as server:
        fields: dict[str, Any] = {"address": "127.0.0.1", "port": server.port}
        assert await failing(of(messenger, DohRoute(**fields))) == ("dns", "ssl_unknown_authority")
        wrong = DohRoute(**fields, ca_file=str(other.ca))
        assert await failing(of(messenger, wrong)) == ("dns", "ssl_invalid_hostname")
        right = DohRoute(**fields, ca_file=str(other.ca), server_name="dns.example")
        assert (await stages(of(messenger, right)))[0] == "dns"


async def test_no_doh_server(messenger: World) -> None:
    nobody = DohRoute(address="127.0.0.1", port=free_port())
    assert await failing(of(messenger, nobody)) == ("dns", "connection_refused")
    async with listener(silent) as port:
        impatient = of(
            messenger, DohRoute(address="127.0.0.1", port=port), resolver=ResolverSettings(total_seconds=0.2)
        )
        assert await failing(impatient) == ("dns", "generic_timeout_error")
