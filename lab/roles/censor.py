"""The censor as a role: rules come and go by command.

Commands: `apply` (rules, origin, files), `clear`. `rules` is TOML text, `files` are those of its lists on this host.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import msgspec

from censor.censor import Censor, CensorSettings
from censor.rules import RuleSet
from censor.rules_file import parse_rules
from lab.control import RoleControl
from sidedoor.settings import convert


async def run(settings: dict[str, Any], control: RoleControl) -> None:
    """Stand on the path until cancelled."""
    gc.disable()  # as `sidedoor censor run` does
    async with Censor(convert(settings, CensorSettings, origin="censor"), control.emit) as censor:

        async def apply(rules: str, origin: str, files: dict[str, str]) -> None:
            await censor.apply(_with_files(parse_rules(rules, origin=origin), files))

        async def clear() -> None:
            await censor.clear()

        control.on("apply", apply)
        control.on("clear", clear)
        control.emit("role_ready")
        await asyncio.get_running_loop().create_future()


def _with_files(rules: RuleSet, files: dict[str, str]) -> RuleSet:
    """The rules with these files (list name -> path) in the place of the ones that they name."""
    lists = tuple(msgspec.structs.replace(one, file=files.get(one.name, one.file)) for one in rules.lists)
    return msgspec.structs.replace(rules, lists=lists)
