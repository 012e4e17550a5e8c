"""The wan's delay as a role."""

from __future__ import annotations

from typing import Any

import msgspec

from lab.control import RoleControl
from lab.link import LinkSettings, serve_link


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Delay what the host forwards until cancelled."""
    await serve_link(msgspec.convert(settings, LinkSettings), lambda mode: control.emit("role_ready", mode=mode))
