"""The admin endpoint: HTTP in a process of its own, on the sockets of `proxy.admin_socket`.

| request | answer |
|---|---|
| GET /metrics | Prometheus' text format |
| GET /health | 200 "ok", or 503 "draining" |
| GET /flows?user=&target=&limit= | JSON array of open flows, of all workers |
| DELETE /flows/NUMBER | ends a flow by a reset; 404 where no worker has it |
| POST /drain | 202: no new clients, flows may finish |
| GET /config | the settings in effect, without passwords |

It asks for no password: who reaches it may do all that. A browser does reach the loopback, for any page that it shows;
so what comes from a page, or under another name than this host's, is refused.

Workers are asked {"do": "flows", "limit": n} and perhaps "user" and "target"; they answer {"flows": [...]}, see
`control.select_flows`. {"do": "close", "flow": n}: {"closed": bool}. {"do": "settle"}: they add what open flows have
moved since, and set their gauges.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from proxy import log
from proxy.admin_socket import BACKLOG
from proxy.control import FLOWS_MOST, select_flows
from proxy.exposition import CONTENT_TYPE, exposition
from proxy.metrics import Shared
from proxy.settings import HIDDEN, ProxySettings, is_loopback_host

Ask = Callable[[dict[str, object]], Awaitable[list[dict[str, object]]]]
"""Asks all workers, and gives the answers of those that are alive."""

FLOWS_LIMIT = 1000
"""Of GET /flows, where the request names none."""
STOP_SECONDS = 1.0
"""How long requests that are being answered may take at the end."""


def app(
    ask: Ask,
    shared: Shared,
    settings: ProxySettings | Callable[[], ProxySettings],
    drain: Callable[[], object],
) -> web.Application:
    """The application. `settings`, or what gives those that are in effect now; `drain` is called once the request for
    it is answered, and tells the supervisor."""
    admin = _Admin(ask, shared, settings if callable(settings) else lambda: settings, drain)
    made = web.Application(middlewares=[_errors_as_json, _guard])
    made.add_routes(
        [
            web.get("/metrics", admin.metrics),
            web.get("/health", admin.health),
            web.get("/flows", admin.flows),
            web.delete("/flows/{number}", admin.close_flow),
            web.post("/drain", admin.drain),
            web.get("/config", admin.config),
        ]
    )
    return made


class _Admin:
    def __init__(
        self, ask: Ask, shared: Shared, settings: Callable[[], ProxySettings], drain: Callable[[], object]
    ) -> None:
        self._ask = ask
        self._shared = shared
        self._settings = settings
        self._drain = drain

    async def metrics(self, request: web.Request) -> web.Response:
        await self._ask({"do": "settle"})
        return web.Response(body=exposition(self._shared), headers={"Content-Type": CONTENT_TYPE})

    async def health(self, request: web.Request) -> web.Response:
        draining = self._shared.draining
        return web.Response(text="draining" if draining else "ok", status=503 if draining else 200)

    async def flows(self, request: web.Request) -> web.Response:
        if unknown := set(request.query) - {"user", "target", "limit"}:
            raise web.HTTPBadRequest(text=f"{min(unknown)}: is unknown; known here: user, target, limit")
        wanted: dict[str, object] = {"do": "flows", "limit": FLOWS_LIMIT}
        if "limit" in request.query:
            wanted["limit"] = _number("limit", request.query["limit"], FLOWS_MOST)
        wanted |= {key: request.query[key] for key in ("user", "target") if key in request.query}
        answers = await self._ask(wanted)
        found: list[Any] = [answer.get("flows", []) for answer in answers]
        return _json(select_flows(chain.from_iterable(found), wanted))

    async def close_flow(self, request: web.Request) -> web.Response:
        number = _number("flow", request.match_info["number"], 2**63 - 1)
        answers = await self._ask({"do": "close", "flow": number})
        if not any(answer.get("closed") for answer in answers):
            raise web.HTTPNotFound(text=f"no worker has a flow {number}; GET /flows lists those there are")
        return _json({"closed": number})

    async def drain(self, request: web.Request) -> web.StreamResponse:
        self._shared.draining = True
        try:
            response = _json({"draining": True}, status=202)
            await response.prepare(request)
            await response.write_eof()
        finally:
            self._drain()
        return response

    async def config(self, request: web.Request) -> web.Response:
        return _json(without_secrets(self._settings()))


def without_secrets(settings: ProxySettings) -> dict[str, Any]:
    """`settings` as plain data, HIDDEN in place of every password."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    plain["users"] = {
        name: HIDDEN if isinstance(user, str) else user | {"password": HIDDEN} for name, user in plain["users"].items()
    }
    plain["upstreams"] = {name: one | {"password": HIDDEN} for name, one in plain["upstreams"].items()}
    plain["resolver"]["url"] = re.sub(r"//[^/?#]*@", f"//{HIDDEN}@", plain["resolver"]["url"])
    return plain


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _number(what: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise web.HTTPBadRequest(text=f'{what}: "{text}" is no number from 0 to {most}')
    return int(text)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = _json({"error": error.text or error.reason}, status=error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError:
        raise  # the client has gone
    except Exception:
        log.exception("admin_failed", method=request.method, path=request.path)
        return _json({"error": "a mistake of this program; its log says more"}, status=500)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page in a browser asks for: by another name of this host (DNS rebinding), or by its own."""
    host = request.headers.get("Host", "")
    if not _is_this_host(host):
        raise web.HTTPForbidden(text=f'Host: is "{host}"; expected localhost, a loopback address, or unix')
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    if origin is not None or site not in ("none", "same-origin"):
        raise web.HTTPForbidden(text="the request comes from a page in a browser; use curl or the like")
    return await handler(request)


def _is_this_host(header: str) -> bool:
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    return host == "unix" or is_loopback_host(host)


async def serve_admin(application: web.Application, sockets: Iterable[socket.socket]) -> None:
    """Serve on listening `sockets` until cancelled."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        for sock in sockets:
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()
