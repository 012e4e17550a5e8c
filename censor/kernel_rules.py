"""Sans-IO: the scripts for `nft` and `iptables-restore` that put the censor into the kernel and take it out again.

Everything is recognisable: the nft table `inet sidedoor`, iptables chains `SIDEDOOR-*`. docs/censor.md draws the path
of a packet through them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from censor.marks import GENERATION_MASK, INJECTED_MARK, INJECTED_MASK
from censor.rules import Action, Fail, Rule

TABLE = "sidedoor"
CHAIN_PREFIX = "SIDEDOOR-"

# After iptables' mangle chains (-150): chains of equal priority would run in order of registration.
_PRIORITY = -10
# The log's limits, so that a flood does not drown the reader. First packets of flows, then all the others.
_FIRSTS_LIMIT = "limit rate 2000/second burst 4000 packets"
_OTHERS_LIMIT = "limit rate 20/second burst 20 packets"
_SEEN_SIZE = 65535
_SEEN_TIMEOUT = "5m"
_SNAPLEN_BYTES = 128


@dataclass(frozen=True, slots=True)
class HeadRules:
    """What the head-of-flow queueing depends on. `generation`: the connmark of flows that need not be queued."""

    queue: int
    generation: int
    fail: Fail
    tls_ports: tuple[int, ...]
    dns_ports: tuple[int, ...]


def head_script(rules: HeadRules) -> str:
    """The iptables-restore text of the mangle chains; the same for IPv4 and IPv6, replaces its predecessor at once."""
    mask = f"{GENERATION_MASK:#x}"
    queue = f"-j NFQUEUE --queue-num {rules.queue}" + (" --queue-bypass" if rules.fail == "open" else "")
    forward = f"-A {CHAIN_PREFIX}FORWARD"
    lines = [
        "*mangle",
        f":{CHAIN_PREFIX}FORWARD - [0:0]",
        f"{forward} -m connmark --mark {rules.generation:#x}/{mask} -j RETURN",
        *(f"{forward} -p udp --dport {port} {queue}" for port in rules.dns_ports),
        # The queued packet's mark tells what its flow had so far: 0 is undecided.
        f"{forward} -j CONNMARK --restore-mark --nfmask {mask} --ctmask {mask}",
        *(f"{forward} -p tcp ! --syn --dport {port} {queue}" for port in rules.tls_ports),
        *(f"{forward} -p tcp --sport {port} -m mark ! --mark 0/{mask} {queue}" for port in rules.tls_ports),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def base_script() -> str:
    """The iptables-restore text of what does not depend on rules; to be run once, behind `head_script`."""
    mask = f"{GENERATION_MASK:#x}"
    return f"""*mangle
:{CHAIN_PREFIX}POSTROUTING - [0:0]
-A {CHAIN_PREFIX}POSTROUTING -m mark ! --mark 0/{mask} -j CONNMARK --save-mark --nfmask {mask} --ctmask {mask}
-A POSTROUTING -j {CHAIN_PREFIX}POSTROUTING
-I FORWARD -j {CHAIN_PREFIX}FORWARD
COMMIT
*raw
:{CHAIN_PREFIX}OUTPUT - [0:0]
-A {CHAIN_PREFIX}OUTPUT -m mark --mark {INJECTED_MARK:#x}/{INJECTED_MASK:#x} -j CT --notrack
-A OUTPUT -j {CHAIN_PREFIX}OUTPUT
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


def table_script() -> str:
    """The nft text that makes the empty table, in the place of a predecessor's."""
    return (
        f"{table_removal_script()}table inet {TABLE} {{\n"
        f"chain forward {{ type filter hook forward priority {_PRIORITY}; policy accept; }}\n"
        "}\n"
    )


def table_removal_script() -> str:
    """The nft text that removes the table, whether it is there or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def addresses_script(
    current: Mapping[int, Rule], added: Iterable[int], removed: Mapping[int, Rule], log_group: int
) -> str:
    """The nft text, one transaction, that leaves exactly the address rules `current` (serial -> rule) in force.

    `added`: those of them that are new; the sets of the others stay as they are. A packet that a rule acts on is logged
    to `log_group` with the prefix `log_prefix(serial)`.
    """
    lines = [f"flush chain inet {TABLE} forward"]
    for serial, rule in removed.items():
        lines += _remove_rule(serial, rule)
    for serial in added:
        lines += _add_rule(serial, current[serial], log_group)
    for serial, rule in current.items():
        lines += _jumps(serial, rule)
    return "\n".join(lines) + "\n"


def log_prefix(serial: int) -> str:
    """The log prefix of an address rule; with `serial_of` the way back."""
    return f"rule{serial}"


def serial_of(prefix: str) -> int | None:
    """The serial in a log prefix; None: not one of ours."""
    match = re.fullmatch(r"rule(\d{1,9})", prefix)
    return int(match[1]) if match else None


def _versions(rule: Rule) -> dict[int, list[str]]:
    """The rule's networks by IP version, without versions that it has none of."""
    networks: dict[int, list[str]] = {}
    for network in rule.networks:
        networks.setdefault(network.version, []).append(str(network))
    return networks


_FAMILY = {4: "ip", 6: "ip6"}


def _add_rule(serial: int, rule: Rule, log_group: int) -> list[str]:
    log = f'log prefix "{log_prefix(serial)}" group {log_group} snaplen {_SNAPLEN_BYTES} queue-threshold 1'
    sets, firsts = [], []
    for version, networks in _versions(rule).items():
        ip, type_ = _FAMILY[version], f"ipv{version}_addr"
        sets.append(
            f"set rule{serial}_v{version} {{ type {type_}; flags interval; auto-merge; "
            f"elements = {{ {', '.join(networks)} }}; }}"
        )
        seen = f"rule{serial}_seen_v{version}"
        sets.append(
            f"set {seen} {{ type inet_proto . {type_} . inet_service . {type_} . inet_service; "
            f"flags dynamic,timeout; timeout {_SEEN_TIMEOUT}; size {_SEEN_SIZE}; }}"
        )
        flow = f"meta l4proto . {ip} saddr . th sport . {ip} daddr . th dport"
        firsts.append(
            f"meta nfproto ipv{version} meta l4proto {{ tcp, udp }} {flow} != @{seen} add @{seen} {{ {flow} }} "
            f"{_FIRSTS_LIMIT} {log} goto rule{serial}_act"
        )
    act = ["meta l4proto tcp reject with tcp reset", "reject"] if rule.action is Action.REJECT else []
    return [
        f"table inet {TABLE} {{",
        *sets,
        f"chain rule{serial}_act {{ {'; '.join([*act, 'counter drop'])}; }}",
        f"chain rule{serial} {{",
        *firsts,
        f"{_OTHERS_LIMIT} {log}",
        f"goto rule{serial}_act",
        "}",
        "}",
    ]


def _remove_rule(serial: int, rule: Rule) -> list[str]:
    chains = (f"rule{serial}", f"rule{serial}_act")
    lines = [f"flush chain inet {TABLE} {chain}" for chain in chains]
    lines += [f"delete chain inet {TABLE} {chain}" for chain in chains]
    for version in _versions(rule):
        lines += [f"delete set inet {TABLE} rule{serial}{seen}_v{version}" for seen in ("", "_seen")]
    return lines


def _jumps(serial: int, rule: Rule) -> list[str]:
    """Into the rule's chain with packets to its addresses, and with packets from them."""
    lines = []
    for version in _versions(rule):
        for address, port in (("daddr", "dport"), ("saddr", "sport")):
            ports = ""
            if rule.ports:
                ports = f" th {port} {{ {', '.join(map(str, rule.ports))} }}"
            if rule.protocol:
                ports = f" meta l4proto {rule.protocol}{ports}"
            elif rule.ports:
                ports = f" meta l4proto {{ tcp, udp }}{ports}"
            lines.append(
                f"add rule inet {TABLE} forward {_FAMILY[version]} {address} @rule{serial}_v{version}{ports} "
                f"goto rule{serial}"
            )
    return lines
