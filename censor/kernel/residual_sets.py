"""Sans-IO: the `nft` scripts for residual blocking, and the keys of what is blocked.

A residual block is what a rule leaves behind: for some time the kernel acts on everything between a client and a server
without asking. Each rule has sets of its own, `residual<serial>_v4` and `_v6`, whose elements come and go one by one
over netlink (censor/packet_io/nftables.py), each with its own timeout.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from censor.kernel.addresses import acting_chains
from censor.kernel.marks import ASK
from censor.kernel.queueing import TABLE
from censor.lists.prefixes import Version
from censor.packet_io.nft_messages import key

_VERSIONS: dict[Version, str] = {4: "ip", 6: "ip6"}
# The kernel refuses elements beyond.
_SIZE = 1 << 20


class Scope(enum.StrEnum):
    """What a residual block is remembered by."""

    TWO_TUPLE = "2-tuple"
    """Client and server address; every protocol."""
    THREE_TUPLE = "3-tuple"
    """Client address, server address, protocol and server port."""
    FOUR_TUPLE = "4-tuple"
    """Both addresses, protocol and both ports."""
    SERVER = "server"
    """The server's address, protocol and port, whoever the client is."""


@dataclass(frozen=True, slots=True)
class Residual:
    """The residual blocks of one rule, the `serial`th.

    action: "drop" every packet, "queue" what belongs to undecided flows, whatever their ports are (for a block that
        does not hit every time).
    client_only: packets of the server pass.
    refresh_seconds: each packet that is hit makes the block last so long from then on; None: it ends when it ends.
    """

    serial: int
    scope: Scope = Scope.THREE_TUPLE
    action: Literal["drop", "queue"] = "drop"
    client_only: bool = False
    refresh_seconds: int | None = None


def residual_set(serial: int, version: int) -> str:
    """The name of the set with the blocks of IP version 4 or 6."""
    return f"residual{serial}_v{version}"


def residual_key(
    scope: Scope, client: bytes, server: bytes, protocol: int = 0, client_port: int = 0, server_port: int = 0
) -> bytes:
    """The element of a set that stands for a block; addresses of 4 or 16 bytes."""
    if scope is Scope.TWO_TUPLE:
        return key(client, server)
    if scope is Scope.SERVER:
        return key(server, bytes([protocol]), server_port.to_bytes(2, "big"))
    if scope is Scope.THREE_TUPLE:
        return key(client, server, bytes([protocol]), server_port.to_bytes(2, "big"))
    return key(client, server, bytes([protocol]), client_port.to_bytes(2, "big"), server_port.to_bytes(2, "big"))


def log_prefix(serial: int) -> str:
    """The log prefix of packets that a residual block has dropped; with `serial_of` the way back."""
    return f"residual{serial}"


def serial_of(prefix: str) -> int | None:
    """The serial in a log prefix; None: not one of ours."""
    match = re.fullmatch(r"residual(\d{1,9})", prefix)
    return int(match[1]) if match else None


def residuals_script(
    current: Iterable[Residual], added: Iterable[Residual], removed: Iterable[Residual], log_group: int
) -> str:
    """The nft text, one transaction, that leaves exactly the residual blocks of `current` in force.

    `added`: those of them that are new; the sets of the others keep their elements.
    """
    lines = [f"flush chain inet {TABLE} residual"]
    for residual in removed:
        lines += _remove(residual)
    for residual in added:
        lines += _add(residual, log_group)
    for residual in current:
        lines += _jumps(residual)
    return "\n".join(lines) + "\n"


def _add(residual: Residual, log_group: int) -> list[str]:
    prefix = log_prefix(residual.serial)
    sets = [
        f"set {residual_set(residual.serial, version)} {{ type {_type(residual.scope, version)}; "
        f"flags dynamic,timeout; timeout 1h; size {_SIZE}; }}"
        for version in _VERSIONS
    ]
    chains = acting_chains(prefix, _VERSIONS, ["counter drop"], log_group) if residual.action == "drop" else []
    return [f"table inet {TABLE} {{", *sets, *chains, "}"]


def _remove(residual: Residual) -> list[str]:
    name = log_prefix(residual.serial)
    sets, lines = [residual_set(residual.serial, version) for version in _VERSIONS], []
    if residual.action == "drop":
        lines += [f"flush chain inet {TABLE} {name}{end}" for end in ("", "_act")]
        lines += [f"delete chain inet {TABLE} {name}{end}" for end in ("", "_act")]
        sets += [f"{name}_seen_v{version}" for version in _VERSIONS]
    return lines + [f"delete set inet {TABLE} {one}" for one in sets]


def _type(scope: Scope, version: int) -> str:
    fields = [f"ipv{version}_addr"] * (1 if scope is Scope.SERVER else 2)
    if scope is not Scope.TWO_TUPLE:
        fields.append("inet_proto")
        fields += ["inet_service"] * (2 if scope is Scope.FOUR_TUPLE else 1)
    return " . ".join(fields)


def _fields(scope: Scope, ip: str, *, from_client: bool) -> str:
    """Where a packet has the fields of the key."""
    client, server = ("s", "d") if from_client else ("d", "s")
    fields = [f"{ip} {client}addr"] if scope is not Scope.SERVER else []
    fields.append(f"{ip} {server}addr")
    if scope is not Scope.TWO_TUPLE:
        fields.append("meta l4proto")
        fields += [f"th {client}port"] if scope is Scope.FOUR_TUPLE else []
        fields.append(f"th {server}port")
    return " . ".join(fields)


def _jumps(residual: Residual) -> list[str]:
    """From the base chain, with the client's packets and, unless they pass, the server's."""
    act = f"meta mark set meta mark | {ASK:#x}"
    if residual.action == "drop":
        act = f"goto {log_prefix(residual.serial)}"
    lines = []
    for version, ip in _VERSIONS.items():
        name = residual_set(residual.serial, version)
        for from_client in (True,) if residual.client_only else (True, False):
            fields = _fields(residual.scope, ip, from_client=from_client)
            refresh = ""
            if residual.refresh_seconds is not None:
                refresh = f"update @{name} {{ {fields} timeout {residual.refresh_seconds}s }} "
            lines.append(f"add rule inet {TABLE} residual {fields} @{name} {refresh}{act}")
    return lines
