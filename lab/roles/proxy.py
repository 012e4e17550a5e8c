"""The SOCKS5 proxy as a role."""

from __future__ import annotations

from typing import Any

import msgspec

from lab.control import RoleControl
from proxy.server import serve
from proxy.settings import ProxySettings


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve until cancelled."""
    await serve(
        msgspec.convert(settings, ProxySettings), control.emit, ready=lambda addresses: control.emit("role_ready")
    )
