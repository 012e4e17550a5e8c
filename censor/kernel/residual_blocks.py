"""Keeps the kernel's residual blocks in step with the core's (censor/residual.py): sets by rule, elements in them."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

from censor.acting import drops_alone
from censor.actions import Residual as ResidualAction
from censor.compiled import CompiledRule, CompiledRules
from censor.decision import Blocked
from censor.draws import between
from censor.kernel.kernel import Kernel
from censor.kernel.residual_sets import Residual, Scope, residual_key, serial_of


class ResidualBlocks:
    """The rules that leave residual blocks behind, and their sets' serial numbers."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._serial = 0
        self._current: dict[str, Residual] = {}
        self._names: dict[int, str] = {}

    async def set_rules(self, rules: CompiledRules) -> None:
        """Have sets for exactly these rules; blocks of rules that stay go on. Raises KernelError."""
        current = {}
        for name, shape in shapes(rules).items():
            old = self._current.get(name)
            if old is None or replace(old, serial=0) != shape:
                self._serial += 1
                old = replace(shape, serial=self._serial)
            current[name] = old
        await self._kernel.set_residuals(tuple(current.values()))
        self._current = current
        self._names |= {residual.serial: name for name, residual in current.items()}

    def block(self, blocked: Blocked) -> None:
        """Tell the kernel of a block that has begun, or will. Raises KernelError."""
        wait = blocked.begins - time.monotonic()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._add, blocked)
        else:
            self._add(blocked)

    def _add(self, blocked: Blocked) -> None:
        residual = self._current.get(blocked.rule)
        left = blocked.begins + blocked.seconds - time.monotonic()
        if residual is None or left <= 0:
            return
        key = residual_key(
            residual.scope,
            blocked.client_address,
            blocked.server_address,
            blocked.protocol,
            blocked.client_port,
            blocked.server_port,
        )
        version = 4 if len(blocked.server_address) == 4 else 6
        self._kernel.block(residual.serial, key, version=version, timeout_ms=math.ceil(left * 1000))

    def rule_of(self, prefix: str) -> str | None:
        """The name of the rule whose block logged a packet with this prefix."""
        serial = serial_of(prefix)
        return None if serial is None else self._names.get(serial)


def shapes(rules: CompiledRules) -> dict[str, Residual]:
    """What the sets of each rule with residual blocks are like, by its name; serial numbers are 0."""
    found = {}
    for rule in rules.rules:
        for action in rule.actions:
            if isinstance(action, ResidualAction):
                found[rule.name] = _shape(rule, action, allows=rules.allows)
    if rules.prober is not None:
        found[rules.prober.name] = Residual(0, Scope.SERVER)
    return found


def _shape(rule: CompiledRule, action: ResidualAction, *, allows: bool) -> Residual:
    # Of what is only asked about, packets that are not hit refresh it, too: it is asked about for longer than needed.
    refresh = math.ceil(between(action.seconds, 1.0)) if action.refresh == "packet" else None
    if not drops_alone(rule, action, allows=allows):
        return Residual(0, Scope(action.key), "queue", refresh_seconds=refresh)
    return Residual(0, Scope(action.key), "drop", action.direction == "to_server", refresh)
