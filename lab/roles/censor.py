"""The censor as a role: rules come and go by command.

Commands: `check` (rules, origin) -> the rules' names; `apply` (rules, origin); `clear`. `rules` is TOML text.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from censor.censor import Censor, CensorSettings
from censor.rules_file import parse_rules
from lab.control import RoleControl
from sidedoor.settings import convert


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Stand on the path until cancelled."""
    gc.disable()  # as `sidedoor censor run` does
    async with Censor(convert(settings, CensorSettings, origin="censor"), control.emit) as censor:

        async def check(rules: str, origin: str) -> dict[str, Any]:
            return {"rules": [rule.name for rule in parse_rules(rules, origin=origin).rules]}

        async def apply(rules: str, origin: str) -> None:
            await censor.apply(parse_rules(rules, origin=origin))

        async def clear() -> None:
            await censor.clear()

        control.on("check", check)
        control.on("apply", apply)
        control.on("clear", clear)
        control.emit("role_ready")
        await asyncio.get_running_loop().create_future()
