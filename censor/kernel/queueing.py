"""Sans-IO: the scripts for `nft` and `iptables-restore` that put the censor into the kernel and take it out again.

What is queued is said here; which addresses and residual blocks the kernel enforces by itself: `addresses` and
`residual_sets`.

Everything is recognisable: the nft table `inet sidedoor`, iptables chains `SIDEDOOR-*`. docs/censor.md draws the path
of a packet through them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from censor.censor_table import Fail
from censor.kernel.marks import (
    ALIVE,
    ASK,
    CONFIRMED,
    GENERATION_MASK,
    HEARD,
    INJECTED_MARK,
    INJECTED_MASK,
    REPLY,
    SAVE_AND_DROP,
    SAVED_MASK,
    WATCH,
)

TABLE = "sidedoor"
CHAIN_PREFIX = "SIDEDOOR-"
PRESENCE_TABLE = "sidedoor-alive"
PRESENCE_PRIORITY = -170

# Before iptables' mangle chains (-150), so that what is blocked by address is not asked about; chains of equal priority
# would run in order of registration.
_PRIORITY = -165
_RESIDUAL_PRIORITY = -160
_FRAGMENTS_PRIORITY = -450  # before conntrack puts fragments together (-400)
_FRAGMENT = ("ip frag-off & 0x3fff != 0", "exthdr frag exists")


PortRange = int | tuple[int, int]
"""A port, or the first and the last of a range."""


@dataclass(frozen=True, slots=True)
class HeadRules:
    """What is queued. A flow is *undecided* until it carries the connmark `generation`.

    With the bit HEARD beside it, it is undecided, and its client's segments with payload are queued, SYNs and RSTs;
    nothing else.

    queues: of more than one, consecutive, each gets the packets of some address pairs, in both directions.
    fail: "closed" holds up new flows, and what would be queued, from the moment that the ALIVE table's owner has died
        (censor/packet_io/nftables.py: Transaction.add_presence). `strict`: everything else, too.
    tcp_ports, udp_ports: the server ports whose undecided flows are queued; None: all.
    syn: TCP flows from their SYN on, whichever end sends it. Without it, what the client sends behind the SYN.
    bare_segments: without them segments without payload of flows that never were decided pass unqueued, but for SYNs
        that open and RSTs: the server's SYN, acknowledgments, FINs.
    bpf: the kernel has this match; without it, all segments of undecided flows are queued.
    server: what the server sends in undecided flows, too. Without it, only of flows of an older generation.
    invalid: packets that conntrack takes for invalid.
    fragments: IP fragments one by one; else conntrack puts them together first.
    other_protocols: undecided flows that are neither TCP nor UDP.
    """

    queues: tuple[int, ...]
    generation: int
    fail: Fail = "open"
    strict: bool = False
    tcp_ports: tuple[PortRange, ...] | None = ()
    udp_ports: tuple[PortRange, ...] | None = ()
    syn: bool = False
    bare_segments: bool = True
    bpf: bool = True
    server: bool = False
    invalid: bool = False
    fragments: bool = False
    other_protocols: bool = False


_FORWARD = f"-A {CHAIN_PREFIX}FORWARD"
_HEARD = f"-A {CHAIN_PREFIX}HEARD"
_UNSEEN = f"-m connmark --mark 0/{GENERATION_MASK:#x}"
_OLDER = f"-m connmark ! --mark 0/{GENERATION_MASK:#x}"
_SAVE = f"-j CONNMARK --save-mark --nfmask {SAVED_MASK:#x} --ctmask {SAVED_MASK:#x}"


def head_script(rules: HeadRules) -> str:
    """The iptables-restore text of the mangle chains; the same for IPv4 and IPv6, replaces its predecessor at once."""
    saved = f"{SAVED_MASK:#x}"
    lines = [
        "*mangle",
        *(f":{CHAIN_PREFIX}{chain} - [0:0]" for chain in ("FORWARD", "HEARD", "QUEUE")),
        f"-A {CHAIN_PREFIX}QUEUE -m conntrack --ctdir REPLY -j MARK --or-mark {REPLY:#x}",
        f"-A {CHAIN_PREFIX}QUEUE {_bit(ASK)} -m conntrack --ctstatus CONFIRMED -j MARK --or-mark {CONFIRMED:#x}",
        # The queued packet's mark tells what its flow had so far. Others have none, so that they save none.
        f"-A {CHAIN_PREFIX}QUEUE -j CONNMARK --restore-mark --nfmask {saved} --ctmask {saved}",
        f"-A {CHAIN_PREFIX}QUEUE {_queue(rules)}",
        *_heard(rules),
        *(_when_dead(rules) if rules.strict else []),
        # First of all, for these are the ways of nearly all packets.
        f"{_FORWARD} -m connmark --mark {rules.generation:#x}/{saved} -j RETURN",
        f"{_FORWARD} -p tcp -m connmark --mark {HEARD | rules.generation:#x}/{saved} "
        f"-m mark --mark 0/{SAVE_AND_DROP | ASK:#x} -g {CHAIN_PREFIX}HEARD",
        f"{_FORWARD} {_bit(SAVE_AND_DROP)} {_SAVE}",
        f"{_FORWARD} {_bit(SAVE_AND_DROP)} -j DROP",
        *([] if rules.strict else _when_dead(rules)),
        *_to_queue(f"-m connmark --mark {WATCH:#x}/{WATCH:#x}"),
        *_to_queue(_bit(ASK)),
        *(_to_queue("-m conntrack --ctstate INVALID") if rules.invalid else []),
        *_tcp(rules),
        *_flows(rules, "udp", rules.udp_ports, ""),
        *(_others(rules) if rules.other_protocols else []),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def _heard(rules: HeadRules) -> list[str]:
    """What of the segments of flows that were looked at, but are undecided, passes unqueued."""
    lines = [f"{_HEARD} -p tcp ! --tcp-flags SYN SYN -m conntrack --ctdir REPLY -j RETURN"]
    lines += [f"{_HEARD} -p tcp {_BARE} -j RETURN"] if rules.bpf else []
    return [*lines, f"{_HEARD} -j {CHAIN_PREFIX}QUEUE"]


def _when_dead(rules: HeadRules) -> list[str]:
    """What stops from the moment that the censor is dead."""
    if rules.fail == "open":
        return []
    state = "" if rules.strict else " -m conntrack --ctstate NEW,INVALID,UNTRACKED"
    return [f"{_FORWARD} {_bit(ALIVE, '! ')}{state} -j DROP"]


def _queue(rules: HeadRules) -> str:
    first, last = rules.queues[0], rules.queues[-1]
    queues = f"--queue-num {first}" if first == last else f"--queue-balance {first}:{last}"
    return f"-j NFQUEUE {queues}" + (" --queue-bypass" if rules.fail == "open" else "")


def _bit(bit: int, negation: str = "") -> str:
    return f"-m mark {negation}--mark {bit:#x}/{bit:#x}"


def _to_queue(match: str) -> list[str]:
    return [f"{_FORWARD} {match} -j {CHAIN_PREFIX}QUEUE"]


def _tcp(rules: HeadRules) -> list[str]:
    lines = []
    if rules.bpf and not rules.bare_segments and rules.tcp_ports != ():
        lines = [f"{_FORWARD} -p tcp {_UNSEEN} {_BARE} -j RETURN"]
    if rules.syn and rules.tcp_ports != ():  # a server that answers a SYN with a SYN opens the flow, too
        lines += _to_queue("-p tcp --syn -m conntrack --ctdir REPLY")
    return lines + _flows(rules, "tcp", rules.tcp_ports, "" if rules.syn else " ! --syn")


def _flows(rules: HeadRules, protocol: str, ports: tuple[PortRange, ...] | None, client: str) -> list[str]:
    """Undecided flows to `ports`. Their client's packets match `client`, too."""
    server = "" if rules.server else f" {_OLDER}"
    lines = []
    if ports is None:
        lines += _to_queue(f"-p {protocol}{client} -m conntrack --ctdir ORIGINAL")
        lines += _to_queue(f"-p {protocol} -m conntrack --ctdir REPLY{server}")
    for port in ports or ():
        text = str(port) if isinstance(port, int) else f"{port[0]}:{port[1]}"
        lines += _to_queue(f"-p {protocol}{client} --dport {text}") + _to_queue(f"-p {protocol} --sport {text}{server}")
    return lines


def _others(rules: HeadRules) -> list[str]:
    lines = [f"{_FORWARD} -p {protocol} -j RETURN" for protocol in ("tcp", "udp")]
    lines += _to_queue("-m conntrack --ctdir ORIGINAL")
    return lines + _to_queue("-m conntrack --ctdir REPLY" + ("" if rules.server else f" {_OLDER}"))


def _bytecode(*instructions: tuple[int, int, int, int]) -> str:
    return ",".join([str(len(instructions)), *(" ".join(map(str, one)) for one in instructions)])


# A match that compares the length of a packet with those of its headers does not exist, but classic BPF can: (code,
# instructions to skip when true, when false, operand); linux/filter.h.
_NO_PAYLOAD = _bytecode(
    (0x30, 0, 0, 0),  # A = first byte
    (0x74, 0, 0, 4),  # A >>= 4: the IP version
    (0x15, 0, 2, 4),  # not 4: skip two
    (0xB1, 0, 0, 0),  # X = 4 * (first byte & 15), IPv4's header
    (0x05, 0, 0, 3),  # skip three
    (0x30, 0, 0, 6),  # A = IPv6's next header
    (0x15, 0, 8, 6),  # not TCP, so an extension header: false
    (0x01, 0, 0, 40),  # X = 40
    (0x50, 0, 0, 12),  # A = byte X + 12
    (0x54, 0, 0, 0xF0),  # A &= 0xf0
    (0x74, 0, 0, 2),  # A >>= 2: TCP's header
    (0x0C, 0, 0, 0),  # A += X
    (0x07, 0, 0, 0),  # X = A
    (0x80, 0, 0, 0),  # A = length of the packet
    (0x1D, 1, 0, 0),  # A == X: true
    (0x06, 0, 0, 0),  # false
    (0x06, 0, 0, 1),  # true
)
_BARE = f'--tcp-flags RST,ACK ACK -m bpf --bytecode "{_NO_PAYLOAD}"'
"""All segments without payload but a SYN that opens, which has no ACK, and RSTs."""


def base_script() -> str:
    """The iptables-restore text of what does not depend on rules; to be run once, behind `head_script`."""
    return f"""*mangle
:{CHAIN_PREFIX}POSTROUTING - [0:0]
-A {CHAIN_PREFIX}POSTROUTING -m mark ! --mark 0/{SAVED_MASK:#x} {_SAVE}
-A POSTROUTING -j {CHAIN_PREFIX}POSTROUTING
-I FORWARD -j {CHAIN_PREFIX}FORWARD
COMMIT
"""


def removal_script(saved: str) -> str:
    """The iptables-restore text that removes our chains and the jumps to them, given what iptables-save printed.

    Empty when there is nothing to remove.
    """
    script = []
    for table, body in re.findall(r"^\*(\w+)\n(.*?)^COMMIT", saved, re.MULTILINE | re.DOTALL):
        chains = re.findall(rf"^:({CHAIN_PREFIX}\S+)", body, re.MULTILINE)
        jumps = re.findall(rf"^-A ((?!{CHAIN_PREFIX})\S+ .*-j {CHAIN_PREFIX}\S+.*)$", body, re.MULTILINE)
        if chains:
            script += [f"*{table}", *(f"-D {jump}" for jump in jumps)]
            script += [*(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), "COMMIT"]
    return "\n".join(script) + "\n" if script else ""


def queues_of(saved: str) -> tuple[int, ...]:
    """The numbers of the queues that our chains send packets to, given what iptables-save printed."""
    found: set[int] = set()
    for one, first, last in re.findall(
        rf"^-A {CHAIN_PREFIX}QUEUE .*-j NFQUEUE (?:--queue-num (\d+)|--queue-balance (\d+):(\d+))", saved, re.MULTILINE
    ):
        found |= {int(one)} if one else set(range(int(first), int(last) + 1))
    return tuple(sorted(found))


def table_script() -> str:
    """The nft text that makes the empty table, in the place of a predecessor's.

    All base chains are made now and emptied later: when one is deleted, the kernel drops every packet that is queued.
    Forged packets are not tracked, before even fragments are put together (-400): conntrack would take an RST for the
    real end's. (iptables' raw table could do that, too, but would be one more table on the way of forwarded packets.)
    """
    forged = f"meta mark & {INJECTED_MASK:#x} == {INJECTED_MARK:#x} notrack"
    return f"""{table_removal_script()}table inet {TABLE} {{
chain fragments {{ type filter hook prerouting priority {_FRAGMENTS_PRIORITY}; policy accept; }}
chain forged {{ type filter hook output priority {_FRAGMENTS_PRIORITY}; policy accept; {forged}; }}
chain residual {{ type filter hook forward priority {_RESIDUAL_PRIORITY}; policy accept; }}
chain forward {{ type filter hook forward priority {_PRIORITY}; policy accept; }}
}}
"""


def fragments_script(rules: HeadRules) -> str:
    """The nft text that has IP fragments queued one by one, or lets conntrack put them together first."""
    lines = [f"flush chain inet {TABLE} fragments"]
    if rules.fragments:
        # What is not tracked is not put together (nf_defrag_ipv4); it is queued by its mark, as it has no connmark.
        act = f"meta mark set meta mark | {ASK:#x} notrack"
        lines += [f"add rule inet {TABLE} fragments {match} {act}" for match in _FRAGMENT]
    return "\n".join(lines) + "\n"


def table_removal_script() -> str:
    """The nft text that removes the table, whether it is there or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"
