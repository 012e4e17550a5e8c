"""censor/profiles/gfw-dns.toml, number by number."""

from __future__ import annotations

import dns.message
import pytest

from censor.core import Core
from censor.decision import Decision
from censor.packets import UDP, parse
from tests.unit.censor.profiles.connection import (
    CLIENT,
    SERVER,
    Connection,
    core_of,
    entries,
    offloaded,
    passed,
    udp_packet,
)

PROFILE = "gfw-dns"
FIRST = [f"198.51.100.{host}" for host in range(1, 6)]
SECOND = [f"198.18.0.{host}" for host in range(1, 5)]
FIRST_V6 = [f"2001:db8:ffff::{host}" for host in range(1, 5)]
SECOND_V6 = [f"2001:db8:fffe::{host}" for host in range(1, 4)]


def query(name: str, type_: str = "A") -> bytes:
    return dns.message.make_query(name, type_).to_wire()


def ask(core: Core, name: str, type_: str = "A", *, client: str = CLIENT, server: str = SERVER) -> Decision:
    return core.decide(udp_packet(query(name, type_), client=client, server=server, server_port=53))


def answers(decision: Decision) -> list[str]:
    """The addresses of the forged answers, each of which has one."""
    found = []
    for data in decision.before:
        packet = parse(data)
        assert packet is not None
        assert packet.protocol == UDP
        (records,) = dns.message.from_wire(packet.payload).answer
        (record,) = records
        found.append(record.to_text())
    return found


def test_three_injectors_answer_before_the_query_goes_on() -> None:
    decision = ask(core_of(PROFILE), "www.blocked.example")
    assert len(answers(decision)) == 3
    assert (decision.accept, decision.after, decision.later) == (True, (), ())


def test_the_real_answer_arrives_too() -> None:
    core = core_of(PROFILE)
    ask(core, "blocked.example")
    response = dns.message.make_response(dns.message.from_wire(query("blocked.example"))).to_wire()
    assert passed(core.decide(udp_packet(response, server_port=53, back=True)))


@pytest.mark.parametrize(
    ("name", "type_", "pool"),
    [
        ("blocked.example", "A", FIRST),
        ("blocked.example", "AAAA", FIRST_V6),
        ("second.example", "A", SECOND),
        ("second.example", "AAAA", SECOND_V6),
    ],
)
def test_pools_are_ordered_and_cyclic(name: str, type_: str, pool: list[str]) -> None:
    core = core_of(PROFILE)
    given = [address for _ in range(len(pool)) for address in answers(ask(core, name, type_))]
    assert given == pool * 3


def test_names_of_a_group_share_its_pool_and_groups_do_not() -> None:
    core = core_of(PROFILE)
    assert answers(ask(core, "blocked.example")) == FIRST[:3]
    assert answers(ask(core, "second.example")) == SECOND[:3]
    assert answers(ask(core, "messenger.example")) == [FIRST[3], FIRST[4], FIRST[0]]


def test_both_directions_whoever_asks_whomever() -> None:
    core = core_of(PROFILE, 'censor.inside = ["192.0.2.0/24"]')
    assert answers(ask(core, "blocked.example", client=CLIENT, server="203.0.113.99"))
    assert answers(ask(core, "blocked.example", client="203.0.113.99", server=CLIENT))


def test_every_query_of_a_flow_is_answered_whatever_its_letter_case() -> None:
    core = core_of(PROFILE)
    for name in ("blocked.example", "BLOCKED.example", "innocent.example", "blocked.EXAMPLE"):
        assert len(ask(core, name).before) == (0 if name.startswith("innocent") else 3)


def test_innocent_names_are_not_answered() -> None:
    core = core_of(PROFILE)
    for name in ("innocent.example", "notblocked.example", "blocked.example.net"):
        assert passed(ask(core, name))


def test_other_ports_evade_and_are_offloaded_at_once() -> None:
    assert offloaded(core_of(PROFILE), udp_packet(query("blocked.example"), server_port=5353))


@pytest.mark.parametrize("type_", ["A", "AAAA"])
@pytest.mark.parametrize("name", ["blocked.example", "second.example"])
def test_tcp_evades(name: str, type_: str) -> None:
    connection = Connection(core_of(PROFILE), server_port=53).open()
    message = query(name, type_)
    assert passed(connection.send(len(message).to_bytes(2, "big") + message))


@pytest.mark.parametrize("type_", ["A", "AAAA"])
@pytest.mark.parametrize("name", ["blocked.example", "second.example"])
def test_responses_match_nothing(name: str, type_: str) -> None:
    core = core_of(PROFILE)
    response = dns.message.make_response(dns.message.from_wire(query(name, type_))).to_wire()
    assert core.decide(udp_packet(response, server_port=53)) == Decision()
    assert not any(core.statistics.rule(rule.name).matched for rule in core.rules.rules)


def test_other_types_evade() -> None:
    assert passed(ask(core_of(PROFILE), "blocked.example", "TXT"))


def test_the_lists_are_the_users() -> None:
    core = core_of(PROFILE, entries("blocked", "other.example"))
    assert passed(ask(core, "blocked.example"))
    assert answers(ask(core, "other.example"))
