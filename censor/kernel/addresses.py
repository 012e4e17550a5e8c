"""Sans-IO: the `nft` scripts for rules by address, and what goes into their sets.

Each rule has a chain and sets of its own, named by its serial number. They are made first, filled over netlink
(censor/packet_io/nftables.py), and then the base chain is switched over to jump to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from censor.kernel.queueing import TABLE
from censor.lists.prefixes import Version
from censor.offload import AddressBlock

# The log's limits, so that a flood does not drown the reader. First packets of flows, then all the others.
_FIRSTS_LIMIT = "limit rate 2000/second burst 4000 packets"
_OTHERS_LIMIT = "limit rate 20/second burst 20 packets"
_SEEN_SIZE = 65535
_SEEN_TIMEOUT = "5m"
_SNAPLEN_BYTES = 128


def addresses_script(blocks: Mapping[int, AddressBlock], log_group: int) -> str:
    """The nft text that makes the chains and empty sets of blocks (serial -> block), which nothing uses yet.

    A packet that a block acts on is logged to `log_group` with the prefix `log_prefix(serial)`.
    """
    return "".join(f"{line}\n" for serial, block in blocks.items() for line in _add_block(serial, block, log_group))


def match_chain(serial: int) -> str:
    """The chain that the base chain jumps to, to have the block enforced."""
    return f"rule{serial}_match"


def chains(serial: int) -> tuple[str, ...]:
    """All chains of a block, in the order in which they can be deleted."""
    return match_chain(serial), f"rule{serial}", f"rule{serial}_act"


def sets(serial: int) -> tuple[str, ...]:
    """All sets of a block."""
    return tuple(f"rule{serial}{seen}_v{version}" for version in _FAMILY for seen in ("", "_seen"))


def address_set(serial: int, version: int) -> str:
    """The name of the set with the addresses of a rule, of IP version 4 or 6."""
    return f"rule{serial}_v{version}"


def log_prefix(serial: int) -> str:
    """The log prefix of an address rule; with `serial_of` the way back."""
    return f"rule{serial}"


def serial_of(prefix: str) -> int | None:
    """The serial in a log prefix; None: not one of ours."""
    match = re.fullmatch(r"rule(\d{1,9})", prefix)
    return int(match[1]) if match else None


_FAMILY: dict[Version, str] = {4: "ip", 6: "ip6"}


def _add_block(serial: int, block: AddressBlock, log_group: int) -> list[str]:
    own_sets = [f"set {address_set(serial, ip)} {{ type ipv{ip}_addr; flags interval; }}" for ip in _FAMILY]
    act = ["meta l4proto tcp reject with tcp reset", "reject"] if block.reject else []
    acting = acting_chains(log_prefix(serial), _FAMILY, [*act, "counter drop"], log_group)
    match = [f"chain {match_chain(serial)} {{", *_matches(serial, block), "}"]
    return [f"table inet {TABLE} {{", *own_sets, *acting, *match, "}"]


def acting_chains(name: str, versions: Iterable[Version], act: Iterable[str], log_group: int) -> list[str]:
    """The body of nft chain `name`, which logs with this prefix and then does what chain `name`_act does: `act`.

    The first packet of each flow is logged, and of the others a few, for which set `name`_seen_v4 or _v6 is.
    """
    log = f'log prefix "{name}" group {log_group} snaplen {_SNAPLEN_BYTES} queue-threshold 1'
    sets, firsts = [], []
    for version in versions:
        ip, type_, seen = _FAMILY[version], f"ipv{version}_addr", f"{name}_seen_v{version}"
        sets.append(
            f"set {seen} {{ type inet_proto . {type_} . inet_service . {type_} . inet_service; "
            f"flags dynamic,timeout; timeout {_SEEN_TIMEOUT}; size {_SEEN_SIZE}; }}"
        )
        flow = f"meta l4proto . {ip} saddr . th sport . {ip} daddr . th dport"
        firsts.append(
            f"meta nfproto ipv{version} meta l4proto {{ tcp, udp }} {flow} != @{seen} add @{seen} {{ {flow} }} "
            f"{_FIRSTS_LIMIT} {log} goto {name}_act"
        )
    return [
        *sets,
        f"chain {name}_act {{ {'; '.join(act)}; }}",
        f"chain {name} {{",
        *firsts,
        f"{_OTHERS_LIMIT} {log}",
        f"goto {name}_act",
        "}",
    ]


def _matches(serial: int, block: AddressBlock) -> list[str]:
    """Packets to the block's addresses, and from them: in any flow, or in those that it is the server of."""
    lines = []
    for version, ip in _FAMILY.items():
        for address, port, direction in (("daddr", "dport", "original"), ("saddr", "sport", "reply")):
            ports = ""
            if block.ports is not None:
                ports = f" th {port} {{ {', '.join(_range(first, last) for first, last in block.ports)} }}"
            if block.protocol:
                ports = f" meta l4proto {block.protocol}{ports}"
            elif block.ports is not None:
                ports = f" meta l4proto {{ tcp, udp }}{ports}"
            way = f"ct direction {direction} " if block.server_only else ""
            lines.append(f"{way}{ip} {address} @{address_set(serial, version)}{ports} goto rule{serial}")
    return lines


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
