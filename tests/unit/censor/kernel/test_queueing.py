"""censor/kernel/queueing.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from censor.kernel import queueing
from censor.kernel.queueing import HeadRules

HEAD = HeadRules(queues=(5,), generation=7, tcp_ports=(443, (8000, 8443)), udp_ports=(53,))
FORWARD = "-A SIDEDOOR-FORWARD "
QUEUE = " -j SIDEDOOR-QUEUE"
# Whatever else the rules are: watched flows, and packets that are asked about.
MARKED = ["-m connmark --mark 0x1000000/0x1000000", "-m mark --mark 0x10000000/0x10000000"]
BARE = r"--tcp-flags RST,ACK ACK -m bpf --bytecode \"(.*)\" -j RETURN"


def forwarded(head: HeadRules) -> list[str]:
    """The rules of the chain, in their order."""
    lines = queueing.head_script(head).splitlines()
    return [line.removeprefix(FORWARD) for line in lines if line.startswith(FORWARD)]


def queued(head: HeadRules) -> list[str]:
    """The matches of what goes to the queue, in their order."""
    return [line.removesuffix(QUEUE) for line in forwarded(head) if line.endswith(QUEUE)]


def test_decided_flows_are_not_queued() -> None:
    lines = queueing.head_script(HEAD).splitlines()
    # Declaring the chains empties them.
    chains = [f":SIDEDOOR-{name} - [0:0]" for name in ("FORWARD", "HEARD", "QUEUE")]
    assert lines[:4] == ["*mangle", *chains]
    assert lines[-1] == "COMMIT"
    # Decided flows leave the chain before all else, unless they are watched.
    assert forwarded(HEAD)[0] == "-m connmark --mark 0x7/0x1ffffff -j RETURN"


def test_the_queue_is_told_the_direction_and_what_the_flow_had() -> None:
    lines = [line for line in queueing.head_script(HEAD).splitlines() if line.startswith("-A SIDEDOOR-QUEUE")]
    assert lines == [
        "-A SIDEDOOR-QUEUE -m conntrack --ctdir REPLY -j MARK --or-mark 0x2000000",
        "-A SIDEDOOR-QUEUE -m mark --mark 0x10000000/0x10000000 -m conntrack --ctstatus CONFIRMED "
        "-j MARK --or-mark 0x80000000",
        "-A SIDEDOOR-QUEUE -j CONNMARK --restore-mark --nfmask 0x1ffffff --ctmask 0x1ffffff",
        "-A SIDEDOOR-QUEUE -j NFQUEUE --queue-num 5 --queue-bypass",
    ]


def test_several_queues_and_none_that_is_bypassed() -> None:
    script = queueing.head_script(replace(HEAD, queues=(5, 6, 7), fail="closed"))
    assert "-A SIDEDOOR-QUEUE -j NFQUEUE --queue-balance 5:7\n" in script


def test_clients_of_ports_and_servers_of_an_older_generation() -> None:
    assert queued(HEAD) == [
        *MARKED,
        "-p tcp ! --syn --dport 443",
        "-p tcp --sport 443 -m connmark ! --mark 0/0x7fffff",
        "-p tcp ! --syn --dport 8000:8443",
        "-p tcp --sport 8000:8443 -m connmark ! --mark 0/0x7fffff",
        "-p udp --dport 53",
        "-p udp --sport 53 -m connmark ! --mark 0/0x7fffff",
    ]


def test_all_ports() -> None:
    assert queued(HeadRules(queues=(5,), generation=7, tcp_ports=None, syn=True, udp_ports=None, server=True))[2:] == [
        "-p tcp --syn -m conntrack --ctdir REPLY",
        "-p tcp -m conntrack --ctdir ORIGINAL",
        "-p tcp -m conntrack --ctdir REPLY",
        "-p udp -m conntrack --ctdir ORIGINAL",
        "-p udp -m conntrack --ctdir REPLY",
    ]


def test_invalid_and_other_protocols() -> None:
    head = HeadRules(queues=(5,), generation=7, invalid=True, other_protocols=True)
    assert queued(head)[2:] == [
        "-m conntrack --ctstate INVALID",
        "-m conntrack --ctdir ORIGINAL",
        "-m conntrack --ctdir REPLY -m connmark ! --mark 0/0x7fffff",
    ]
    lines = queueing.head_script(head).splitlines()
    assert lines[lines.index(f"{FORWARD}-m conntrack --ctdir ORIGINAL{QUEUE}") - 2 :][:2] == [
        f"{FORWARD}-p tcp -j RETURN",
        f"{FORWARD}-p udp -j RETURN",
    ]
    assert f"-m conntrack --ctdir REPLY{QUEUE}" in queueing.head_script(replace(head, server=True))


@pytest.mark.parametrize(
    ("changes", "pass_"),
    [
        ({"bare_segments": False}, True),
        ({"bare_segments": False, "syn": True}, True),
        ({"bare_segments": False, "tcp_ports": ()}, False),
        ({"bare_segments": False, "bpf": False}, False),
        ({}, False),
    ],
)
def test_segments_without_payload_pass(changes: dict[str, Any], pass_: bool) -> None:
    found = re.search(f"{FORWARD}.*{BARE}", head_text(changes))
    assert bool(found) == pass_
    if found:
        assert "-m connmark --mark 0/0x7fffff" in found[0]
        count, *instructions = found[1].split(",")
        assert int(count) == len(instructions)


def test_of_heard_flows_the_servers_segments_and_bare_acknowledgments_pass() -> None:
    """But not a SYN of the server, nor what is asked about."""
    lines = head_text({}).splitlines()
    assert forwarded(HEAD)[1] == (
        "-p tcp -m connmark --mark 0x800007/0x1ffffff -m mark --mark 0/0x14000000 -g SIDEDOOR-HEARD"
    )
    server, acknowledgment, rest = (line for line in lines if line.startswith("-A SIDEDOOR-HEARD "))
    assert server == "-A SIDEDOOR-HEARD -p tcp ! --tcp-flags SYN SYN -m conntrack --ctdir REPLY -j RETURN"
    assert re.fullmatch(f"-A SIDEDOOR-HEARD -p tcp {BARE}", acknowledgment)
    assert rest == f"-A SIDEDOOR-HEARD{QUEUE}"
    assert head_text({"bpf": False}).count("bpf") == 0


def head_text(changes: dict[str, Any]) -> str:
    return queueing.head_script(replace(HEAD, **changes))


def test_what_stops_when_the_censor_is_dead() -> None:
    """Strict: everything; closed: what conntrack does not know, whatever the rules ask about; open: nothing."""
    dead = "-m mark ! --mark 0x8000000/0x8000000"
    new = f"{dead} -m conntrack --ctstate NEW,INVALID,UNTRACKED -j DROP"
    strict = forwarded(replace(HEAD, fail="closed", strict=True))
    assert strict[0] == f"{dead} -j DROP"
    assert sum(dead in line for line in strict) == 1
    closed = forwarded(HeadRules(queues=(5,), generation=7, fail="closed"))
    # Behind the way of decided flows, before anything is queued.
    assert [dead in line for line in closed].index(True) < [line.endswith(QUEUE) for line in closed].index(True)
    assert closed[0].endswith("-j RETURN")
    assert [line for line in closed if dead in line] == [new]
    assert not [line for line in forwarded(HEAD) if dead in line]


def test_a_mark_can_be_saved_and_the_packet_dropped() -> None:
    match = "-m mark --mark 0x4000000/0x4000000 -j"
    assert forwarded(HEAD)[2:4] == [
        f"{match} CONNMARK --save-mark --nfmask 0x1ffffff --ctmask 0x1ffffff",
        f"{match} DROP",
    ]


def test_fragments() -> None:
    lines = queueing.fragments_script(replace(HEAD, fragments=True)).splitlines()
    assert lines[:1] == queueing.fragments_script(HEAD).splitlines() == ["flush chain inet sidedoor fragments"]
    act = "meta mark set meta mark | 0x10000000 notrack"
    assert lines[1:] == [
        f"add rule inet sidedoor fragments ip frag-off & 0x3fff != 0 {act}",
        f"add rule inet sidedoor fragments exthdr frag exists {act}",
    ]


SAVED = """# Generated by iptables-save
*raw
:OUTPUT ACCEPT [0:0]
:SIDEDOOR-OUTPUT - [0:0]
-A OUTPUT -j SIDEDOOR-OUTPUT
-A SIDEDOOR-OUTPUT -m mark --mark 0x60000000/0xe0000000 -j CT --notrack
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -j ACCEPT
COMMIT
"""


def test_removal_removes_ours_only() -> None:
    assert queueing.removal_script(SAVED).splitlines() == [
        "*raw",
        "-D OUTPUT -j SIDEDOOR-OUTPUT",
        "-F SIDEDOOR-OUTPUT",
        "-X SIDEDOOR-OUTPUT",
        "COMMIT",
    ]
    assert queueing.removal_script("") == ""


def test_base_can_be_removed() -> None:
    script = queueing.head_script(HEAD) + queueing.base_script().replace("-I ", "-A ")
    removed = queueing.removal_script(script)
    assert {line for line in removed.splitlines() if line.startswith("-D")} == {
        "-D POSTROUTING -j SIDEDOOR-POSTROUTING",
        "-D FORWARD -j SIDEDOOR-FORWARD",
    }


def test_table_takes_a_predecessors_place() -> None:
    script = queueing.table_script()
    assert script.startswith(queueing.table_removal_script())
    assert [line for line in script.splitlines() if "hook" in line] == [
        "chain fragments { type filter hook prerouting priority -450; policy accept; }",
        "chain forged { type filter hook output priority -450; policy accept; "
        "meta mark & 0x60000000 == 0x60000000 notrack; }",
        "chain residual { type filter hook forward priority -160; policy accept; }",
        "chain forward { type filter hook forward priority -165; policy accept; }",
    ]


@pytest.mark.parametrize(("queues", "numbers"), [((5,), (5,)), ((5, 6, 7), (5, 6, 7))])
def test_queues_are_found_again(queues: tuple[int, ...], numbers: tuple[int, ...]) -> None:
    assert queueing.queues_of(queueing.head_script(replace(HEAD, queues=queues))) == numbers
    assert queueing.queues_of(SAVED) == ()
