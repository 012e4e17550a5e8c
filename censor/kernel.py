"""Puts the censor's rules into the kernel of this network namespace, and removes them.

It runs `nft` and `iptables-restore` with the scripts of censor/kernel_rules.py, address_rules.py and residual_rules.py,
and fills sets by itself. On a host without IPv6, or whose kernel has no ip6tables, it does IPv4 alone.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Iterable
from dataclasses import replace

from censor import address_rules, kernel_programs, kernel_rules, residual_rules
from censor.address_rules import AddressRule
from censor.kernel_rules import HeadRules
from censor.marks import ALIVE
from censor.packet_io.netlink import KernelError
from censor.packet_io.nft_messages import Interval
from censor.packet_io.nftables import NfTables, Transaction
from censor.residual_rules import Residual
from censor.rules import Action, Rule
from sidedoor.settings import UsageError

_IPV4, _IPV6 = "", "6"  # iptables, ip6tables
_NFT = ("nft", "-f", "-")


class Kernel:
    """The address rules in force, by serial number, and the scripts' way into the kernel."""

    def __init__(self, log_group: int) -> None:
        self._log_group = log_group
        self._serial = 0
        self._families: tuple[str, ...] = (_IPV4, _IPV6)
        self.ipv6_missing = ""
        """Why names are censored on IPv4 only; empty: they are on IPv6, too. Known after `install`."""
        self.bpf_missing = ""
        """Why bare acknowledgments are queued though the rules can do without; empty: they are not."""
        self._tables: NfTables | None = None
        self._presence: NfTables | None = None
        self._head: HeadRules | None = None
        self._current: dict[int, Rule] = {}
        self._previous: dict[int, Rule] = {}
        self._address_rules: dict[int, AddressRule] = {}
        self._plan = 0
        self._plan_in_force: int | None = None
        self._residuals: tuple[Residual, ...] = ()

    def install(self, head: HeadRules) -> None:
        """Start from nothing (a killed predecessor's rules are removed) with the base rules. Blocks for some 50 ms.

        Raises UsageError: tool missing, no permission; KernelError.
        """
        check_tools()
        cleanup()
        kernel_programs.run(_NFT, kernel_rules.table_script() + kernel_rules.fragments_script(head))
        self._set_presence(head)
        script = self._head_script(head) + kernel_rules.base_script()
        try:
            kernel_programs.run(_restore(_IPV4), script)
        except KernelError as error:
            if head.bare_acks:
                raise
            self.bpf_missing = str(error)
            script = self._head_script(head) + kernel_rules.base_script()
            kernel_programs.run(_restore(_IPV4), script)
        self.ipv6_missing = _ipv6_missing() or _refused_ipv6(script)
        self._families = (_IPV4,) if self.ipv6_missing else (_IPV4, _IPV6)
        self._head = head

    def close(self) -> None:
        """Close what `tables` and a strict censor hold. Chains of a strict one that are there drop everything then."""
        for tables in (self._tables, self._presence):
            if tables is not None:
                tables.close()
        self._tables = self._presence = None

    @property
    def tables(self) -> NfTables:
        """For changes of the elements of sets."""
        if self._tables is None:
            self._tables = NfTables()
        return self._tables

    async def set_head(self, head: HeadRules) -> None:
        """Replace the rules of the head-of-flow queueing, all families at the same time. Raises KernelError."""
        if self._head is None or head.fragments != self._head.fragments:
            await kernel_programs.run_async(_NFT, kernel_rules.fragments_script(head))
        if head.strict:
            self._set_presence(head)
        script = self._head_script(head)
        try:
            async with asyncio.TaskGroup() as group:
                for command in map(_restore, self._families):
                    group.create_task(kernel_programs.run_async(command, script), name=command[0])
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self._set_presence(head)
        self._head = head

    def _head_script(self, head: HeadRules) -> str:
        return kernel_rules.head_script(replace(head, bare_acks=head.bare_acks or bool(self.bpf_missing)))

    def _set_presence(self, head: HeadRules) -> None:
        """The table that a strict censor's rules ask for. It has a socket of its own, as it must go with that."""
        if head.strict and self._presence is None:
            self._presence = NfTables()
            with self._presence.transaction("telling the kernel that the censor lives") as change:
                change.add_presence(kernel_rules.PRESENCE_TABLE, kernel_rules.PRESENCE_PRIORITY, ALIVE)
        elif not head.strict and self._presence is not None:
            self._presence.close()
            self._presence = None

    async def set_addresses(self, rules: tuple[Rule, ...]) -> tuple[float, float]:
        """Leave exactly these address rules in force, from one packet to the next. Raises KernelError: nothing changed.

        Returns time.monotonic() before and after the step that did it. The sets are made and filled before that.
        """
        serials = {rule: serial for serial, rule in self._current.items()}
        current = {}
        for rule in rules:
            if rule not in serials:
                self._serial += 1
                serials[rule] = self._serial
            current[serials[rule]] = rule
        if current == self._current and list(current) == list(self._current):
            now = time.monotonic()
            return now, now
        intervals = {
            serial: address_rules.intervals(rule.networks)
            for serial, rule in current.items()
            if serial not in self._current
        }
        added = {serial: _address_rule(serial, current[serial], some) for serial, some in intervals.items()}
        wanted = {serial: added.get(serial) or self._address_rules[serial] for serial in current}
        self._plan += 1
        await kernel_programs.run_async(
            _NFT, address_rules.addresses_script(added.values(), wanted.values(), self._plan, self._log_group)
        )
        try:
            for serial, some in intervals.items():
                self._fill(serial, current[serial].name, some)
            removed = [rule for serial, rule in self._address_rules.items() if serial not in current]
            before = time.monotonic()
            self._switch_addresses(removed)
            after = time.monotonic()
        except KernelError:
            with self.tables.transaction("removing sets that could not be filled") as change:
                _remove_addresses(change, self._plan, added.values())
            raise
        self._previous, self._current, self._address_rules = self._current, current, wanted
        self._plan_in_force = self._plan
        return before, after

    def _fill(self, serial: int, name: str, intervals: dict[int, list[Interval]]) -> None:
        for version, some in intervals.items():
            what = f"filling the set of the rule {name!r}"
            set_ = address_rules.address_set(serial, version)
            self.tables.load(kernel_rules.TABLE, set_, some, version=version, what=what)

    def _switch_addresses(self, removed: Iterable[AddressRule]) -> None:
        with self.tables.transaction("switching the address rules over") as change:
            change.switch_chain(kernel_rules.TABLE, "forward", address_rules.plan_chain(self._plan))
            _remove_addresses(change, self._plan_in_force, removed)

    async def set_residuals(self, residuals: tuple[Residual, ...]) -> None:
        """Have the kernel enforce exactly these rules' residual blocks; those of rules that stay go on.

        Raises KernelError, and nothing changed.
        """
        added = [one for one in residuals if one not in self._residuals]
        removed = [one for one in self._residuals if one not in residuals]
        if added or removed:
            script = residual_rules.residuals_script(residuals, added, removed, self._log_group)
            await kernel_programs.run_async(_NFT, script)
            self._residuals = residuals

    def block(self, serial: int, key: bytes, *, version: int, timeout_ms: int) -> None:
        """Begin, or begin anew, a residual block of the rule `serial`; takes 0.1 ms. Raises KernelError.

        `key`: see residual_rules.residual_key.
        """
        with self.tables.transaction("blocking what is left of a flow") as change:
            name = residual_rules.residual_set(serial, version)
            change.add_elements(kernel_rules.TABLE, name, [key], timeout_ms=timeout_ms)

    def rule_of(self, prefix: str) -> Rule | None:
        """The rule, perhaps just lifted, that logged a packet with this prefix."""
        serial = address_rules.serial_of(prefix)
        return None if serial is None else self._current.get(serial) or self._previous.get(serial)


def _address_rule(serial: int, rule: Rule, intervals: dict[int, list[Interval]]) -> AddressRule:
    return AddressRule(
        serial, tuple(sorted(intervals)), reject=rule.action is Action.REJECT, ports=rule.ports, protocol=rule.protocol
    )


def _remove_addresses(change: Transaction, plan: int | None, rules: Iterable[AddressRule]) -> None:
    if plan is not None:
        change.delete_chain(kernel_rules.TABLE, address_rules.plan_chain(plan))
    for rule in rules:
        for chain in address_rules.chains(rule):
            change.delete_chain(kernel_rules.TABLE, chain)
        for name in address_rules.sets(rule):
            change.delete_set(kernel_rules.TABLE, name)


def check_tools() -> None:
    """Raises UsageError when a program that the censor needs is not there."""
    if missing := _missing("nft", *_programs(_IPV4)):
        raise UsageError(f"not found: {', '.join(missing)}; install the packages nftables and iptables")


def _programs(family: str) -> tuple[str, ...]:
    return f"ip{family}tables-restore", f"ip{family}tables-save"


def _restore(family: str) -> tuple[str, ...]:
    return f"ip{family}tables-restore", "--noflush", "-w"


def _missing(*tools: str) -> list[str]:
    return [tool for tool in tools if kernel_programs.located(tool) is None]


def _ipv6_missing() -> str:
    """What this host lacks for IPv6; empty: nothing."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:  # the answer of a kernel that was booted with ipv6.disable=1
            raise
        return f"this host has no IPv6 ({error.strerror})"
    missing = _missing(*_programs(_IPV6))
    return f"not found: {', '.join(missing)}" if missing else ""


def _refused_ipv6(script: str) -> str:
    """Run ip6tables-restore with `script`; why the kernel refused it (and nothing is left of it), empty: it did not."""
    command = _restore(_IPV6)
    done = kernel_programs.execute(command, script)
    if not done.returncode:
        return ""
    _remove_chains(_IPV6)  # one table may have taken them before another refused
    return f"{command[0]}: {kernel_programs.said(done.stderr)}"


def cleanup() -> bool:
    """Remove whatever a censor has left in the kernel of this network namespace; True: there was something.

    Raises UsageError: tool missing, no permission; KernelError.
    """
    check_tools()
    chains = remove_chains()
    return remove_table() or chains


def remove_chains() -> bool:
    """Remove the iptables chains, so that no packet is queued any more; True: there were some."""
    families = (_IPV4,) if _ipv6_missing() else (_IPV4, _IPV6)
    return any([_remove_chains(family) for family in families])


def _remove_chains(family: str) -> bool:
    script = kernel_rules.removal_script(kernel_programs.run((f"ip{family}tables-save",), ""))
    if script:
        kernel_programs.run(_restore(family), script)
    return bool(script)


def remove_table() -> bool:
    """Remove the nft table; True: it was there. The kernel drops every packet that waits in a queue meanwhile."""
    command = ("nft", "delete", "table", "inet", kernel_rules.TABLE)  # `nft list` would read all elements there are
    done = kernel_programs.execute(command, "")
    if done.returncode and "No such file" in kernel_programs.said(done.stderr):
        return False
    kernel_programs.check(command, done.returncode, done.stderr)
    return True


def removal_command() -> tuple[str, ...]:
    """The command that lifts all address rules."""
    return kernel_programs.located_command(("nft", "delete", "table", "inet", kernel_rules.TABLE))
