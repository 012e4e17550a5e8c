"""Puts the censor's rules into the kernel of this network namespace, and removes them.

It runs `nft` and `iptables-restore` with the scripts of `queueing`, `addresses` and `residual_sets`, and fills sets by
itself. On a host without IPv6, or whose kernel has no ip6tables, it does IPv4 alone.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from dataclasses import replace

from censor.kernel import addresses, programs, queueing, residual_sets
from censor.kernel.marks import ALIVE
from censor.kernel.queueing import HeadRules
from censor.kernel.residual_sets import Residual
from censor.lists.prefixes import Version
from censor.offload import AddressBlock
from censor.packet_io.netlink import KernelError
from censor.packet_io.nfqueue import NfQueue, QueueSettings
from censor.packet_io.nftables import NfTables, Transaction
from sidedoor.settings import UsageError

_VERSIONS: tuple[Version, ...] = (4, 6)
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
        """Why the bare acknowledgments of all undecided flows are queued; empty: they need not be."""
        self._tables: NfTables | None = None
        self._presence: NfTables | None = None
        self.head: HeadRules | None = None
        """What is queued now."""
        self._current: dict[int, AddressBlock] = {}
        self._previous: dict[int, AddressBlock] = {}
        self._residuals: tuple[Residual, ...] = ()

    def install(self, head: HeadRules) -> None:
        """Start from nothing (a killed predecessor's rules are removed) with the base rules. Blocks for some 50 ms.

        Raises UsageError: tool missing, no permission; KernelError.
        """
        check_tools()
        cleanup()
        programs.run(_NFT, queueing.table_script() + queueing.fragments_script(head))
        self._set_presence(head)
        script = self._head_script(head) + queueing.base_script()
        try:
            programs.run(_restore(_IPV4), script)
        except KernelError as error:
            self.bpf_missing = str(error)
            script = self._head_script(head) + queueing.base_script()
            programs.run(_restore(_IPV4), script)
        self.ipv6_missing = _ipv6_missing() or _refused_ipv6(script)
        self._families = (_IPV4,) if self.ipv6_missing else (_IPV4, _IPV6)
        self.head = head

    def close(self) -> None:
        """Close what `tables` and a censor that fails closed hold. Its chains, as long as they are there, drop then."""
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
        if self.head is None or head.fragments != self.head.fragments:
            await programs.run_async(_NFT, queueing.fragments_script(head))
        if head.fail == "closed":
            self._set_presence(head)
        script = self._head_script(head)
        try:
            async with asyncio.TaskGroup() as group:
                for command in map(_restore, self._families):
                    group.create_task(programs.run_async(command, script), name=command[0])
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self._set_presence(head)
        self.head = head

    def _head_script(self, head: HeadRules) -> str:
        return queueing.head_script(replace(head, bpf=not self.bpf_missing))

    def _set_presence(self, head: HeadRules) -> None:
        """The table that the rules of a censor that fails closed ask for; it goes with a socket of its own."""
        if head.fail == "closed" and self._presence is None:
            self._presence = NfTables()
            with self._presence.transaction("telling the kernel that the censor lives") as change:
                change.add_presence(queueing.PRESENCE_TABLE, queueing.PRESENCE_PRIORITY, ALIVE)
        elif head.fail == "open" and self._presence is not None:
            self._presence.close()
            self._presence = None

    async def set_addresses(self, blocks: tuple[AddressBlock, ...]) -> tuple[float, float]:
        """Leave exactly these blocks in force, from one packet to the next. Raises KernelError: nothing changed.

        Sets are made and filled while no rule uses them; where only addresses are other than before, these alone
        change. Returns when (monotonic seconds) the step began and ended that made the difference.
        """
        serials = {block.shape: serial for serial, block in self._current.items()}
        current: dict[int, AddressBlock] = {}
        added: dict[int, AddressBlock] = {}
        changes: list[Transaction] = []
        for block in blocks:
            serial = serials.get(block.shape)
            if serial is not None and block.networks != self._current[serial].networks:
                change = self._difference(serial, block)
                if change.size_bytes < self.tables.limit_bytes:
                    changes.append(change)
                else:
                    serial = None
            if serial is None:
                self._serial += 1
                serial = self._serial
                added[serial] = block
            current[serial] = block
        removed = [serial for serial in self._current if serial not in current]
        if added:
            await programs.run_async(_NFT, addresses.addresses_script(added, self._log_group))
        try:
            for serial, block in added.items():
                self._fill(serial, block)
            times = self._switch(list(current), changes)
        except KernelError:
            self._remove(list(added))
            raise
        self._previous, self._current = self._current, current
        self._remove(removed)
        return times

    def _difference(self, serial: int, block: AddressBlock) -> Transaction:
        """The requests that turn a set's addresses into the block's."""
        old = self._current[serial].networks
        change = self.tables.transaction(f"changing the addresses of the rule {block.rule.name!r}")
        for version in _VERSIONS:
            name = addresses.address_set(serial, version)
            more, fewer = block.networks.diff(old, version)
            change.delete_intervals(queueing.TABLE, name, fewer, version=version)
            change.add_intervals(queueing.TABLE, name, more, version=version)
        return change

    def _switch(self, serials: list[int], changes: Sequence[Transaction]) -> tuple[float, float]:
        """The step from which on the blocks hold."""
        steps = [*changes]
        if serials != list(self._current):
            switch = self.tables.transaction("switching the blocks of addresses")
            switch.switch_chain(queueing.TABLE, "forward", *map(addresses.match_chain, serials))
            steps.insert(0, switch)
        before = time.monotonic()
        for step in steps:
            step.commit()
        return before, time.monotonic()

    def _fill(self, serial: int, block: AddressBlock) -> None:
        what = f"filling the set of the rule {block.rule.name!r}"
        for version in _VERSIONS:
            name = addresses.address_set(serial, version)
            self.tables.load(queueing.TABLE, name, block.networks.intervals(version), version=version, what=what)

    def _remove(self, serials: list[int]) -> None:
        """Delete the chains and sets of blocks that nothing jumps to any more."""
        for serial in serials:
            with self.tables.transaction("removing a block of addresses") as change:
                for chain in addresses.chains(serial):
                    change.delete_chain(queueing.TABLE, chain)
                for name in addresses.sets(serial):
                    change.delete_set(queueing.TABLE, name)

    async def set_residuals(self, residuals: tuple[Residual, ...]) -> None:
        """Have the kernel enforce exactly these rules' residual blocks; those of rules that stay go on.

        Raises KernelError, and nothing changed.
        """
        added = [one for one in residuals if one not in self._residuals]
        removed = [one for one in self._residuals if one not in residuals]
        if added or removed:
            script = residual_sets.residuals_script(residuals, added, removed, self._log_group)
            await programs.run_async(_NFT, script)
            self._residuals = residuals

    def block(self, serial: int, key: bytes, *, version: int, timeout_ms: int) -> None:
        """Begin, or begin anew, a residual block of the rule `serial`; takes 0.1 ms. Raises KernelError.

        `key`: see residual_sets.residual_key.
        """
        with self.tables.transaction("blocking what is left of a flow") as change:
            name = residual_sets.residual_set(serial, version)
            change.add_elements(queueing.TABLE, name, [key], timeout_ms=timeout_ms)

    def block_of(self, prefix: str) -> AddressBlock | None:
        """The block, perhaps just lifted, that logged a packet with this prefix."""
        serial = addresses.serial_of(prefix)
        return None if serial is None else self._current.get(serial) or self._previous.get(serial)


def check_tools() -> None:
    """Raises UsageError when a program that the censor needs is not there."""
    if missing := _missing("nft", *_programs(_IPV4)):
        raise UsageError(f"not found: {', '.join(missing)}; install the packages nftables and iptables")


def _programs(family: str) -> tuple[str, ...]:
    return f"ip{family}tables-restore", f"ip{family}tables-save"


def _restore(family: str) -> tuple[str, ...]:
    return f"ip{family}tables-restore", "--noflush", "-w"


def _missing(*tools: str) -> list[str]:
    return [tool for tool in tools if programs.located(tool) is None]


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
    done = programs.execute(command, script)
    if not done.returncode:
        return ""
    _remove_chains(_IPV6)  # one table may have taken them before another refused
    return f"{command[0]}: {programs.said(done.stderr)}"


def alive() -> tuple[int, ...]:
    """The queues of a censor that runs in this network namespace. Raises UsageError, KernelError as `cleanup` does."""
    check_tools()
    numbers = queueing.queues_of(programs.run((f"ip{_IPV4}tables-save",), ""))
    return tuple(number for number in numbers if _is_bound(number))


def _is_bound(number: int) -> bool:
    """Whether somebody reads a queue: nobody else can bind it then."""
    try:
        NfQueue(QueueSettings(number)).close()
    except UsageError:
        return True
    return False


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
    script = queueing.removal_script(programs.run((f"ip{family}tables-save",), ""))
    if script:
        programs.run(_restore(family), script)
    return bool(script)


def remove_table() -> bool:
    """Remove the nft table; True: it was there. The kernel drops every packet that waits in a queue meanwhile."""
    command = ("nft", "delete", "table", "inet", queueing.TABLE)  # `nft list` would read all elements there are
    done = programs.execute(command, "")
    if done.returncode and "No such file" in programs.said(done.stderr):
        return False
    programs.check(command, done.returncode, done.stderr)
    return True


def removal_command() -> tuple[str, ...]:
    """The command that lifts all address rules."""
    return programs.located_command(("nft", "delete", "table", "inet", queueing.TABLE))
