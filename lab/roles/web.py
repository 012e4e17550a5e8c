"""An innocent web site: HTTPS that answers every GET with a short page. What bystanders visit."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import msgspec
from aiohttp import web

from lab.control import RoleControl


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen, and the PEM files."""

    listen: tuple[str, ...]
    certificate: str
    key: str
    port: int = 443


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.host}: nothing to see here\n")


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve until cancelled."""
    web_settings = msgspec.convert(settings, WebSettings)
    application = web.Application()
    application.router.add_get("/{path:.*}", _page)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(web_settings.certificate, web_settings.key)
        for address in web_settings.listen:
            await web.TCPSite(runner, address, web_settings.port, ssl_context=context).start()
        control.emit("role_ready")
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()
