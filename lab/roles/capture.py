"""A capture of a host's interfaces as a role."""

from __future__ import annotations

from typing import Any

import msgspec

from lab.capture import CaptureSettings, run_capture
from lab.control import RoleControl


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Capture until cancelled; the files are complete when the role has ended."""
    await run_capture(msgspec.convert(settings, CaptureSettings), control.emit)
