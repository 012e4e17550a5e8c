"""The SOCKS5 proxy as a role.

With `sidedoor.logs` structlog is there before the role is forked. A proxy by itself loads it with its first line, and
all its flows stand still for 0.2 s.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lab.control import RoleControl
from proxy.server import serve
from proxy.settings import ProxySettings
from sidedoor import logs


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve until cancelled."""
    logs.configure()
    await serve(
        msgspec.convert(settings, ProxySettings), control.emit, ready=lambda addresses: control.emit("role_ready")
    )
