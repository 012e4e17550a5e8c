"""What is written about flows and about requests that became none: lines of the access log, by the whole proxy."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from proxy import server
from proxy.resolver import SystemResolver
from proxy.settings import Rule, Upstream
from tests.integration.proxy.test_server import NO_AUTH, black_hole, domain_request, request, talk
from tests.integration.proxy.world import echo, receive, receive_all, running_proxy, send, target


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_the_address_that_was_dialed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(getaddrinfo))
    log = tmp_path / "access.jsonl"
    async with target(echo) as port, running_proxy(access_log=str(log)) as proxy:
        for wire in (domain_request("origin.example", port), request("127.0.0.1", port)):
            with await proxy.connect() as sock:
                await send(sock, NO_AUTH + wire + b"ping")
                assert (await receive(sock, 16))[-4:] == b"ping"
                sock.shutdown(socket.SHUT_WR)
                assert await receive_all(sock) == b""
    named, literal = lines(log)
    assert (named["target"], named["address"]) == (f"origin.example:{port}", "127.0.0.1")
    assert named["dns_seconds"] > 0
    assert (literal["target"], literal["address"], literal["dns_seconds"]) == (f"127.0.0.1:{port}", "127.0.0.1", None)
    for line in (named, literal):
        assert (line["bytes_up"], line["bytes_down"], line["reply"], line["reason"]) == (4, 4, "SUCCEEDED", "eof")
        assert line["dial_seconds"] > 0
        assert line["seconds"] > 0


async def test_requests_that_fail_say_how_long_that_took_and_by_what_rule(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    rules = (
        Rule(action="deny", name="no nine", ports=(9,)),
        Rule(action="allow", name="far away", ports=(10,), via="far"),
        Rule(action="allow", name="the rest"),
    )
    with black_hole() as hole, socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
        listener.close()
        settings: dict[str, Any] = {
            "rules": rules,
            "upstreams": {"far": Upstream(url=f"socks5://127.0.0.1:{closed}")},
            "access_log": str(log),
            "connect_seconds": 0.3,
        }
        async with running_proxy(**settings) as proxy:
            for port in (9, 10, hole, closed):
                await talk(proxy, NO_AUTH + request("127.0.0.1", port))
    denied, upstream, silent, refused = lines(log)
    assert [line["flow"] for line in (denied, upstream, silent, refused)] == [None] * 4
    assert (denied["reply"], denied["rule"], denied["via"]) == ("NOT_ALLOWED", "no nine", "")
    assert (upstream["reply"], upstream["rule"], upstream["via"]) == ("GENERAL_FAILURE", "far away", "far")
    assert (silent["reply"], silent["reason"], silent["rule"]) == ("HOST_UNREACHABLE", "timed out", "the rest")
    assert (refused["reply"], refused["rule"]) == ("CONNECTION_REFUSED", "the rest")
    assert silent["seconds"] >= 0.3
    assert 0 < refused["seconds"] < silent["seconds"]
