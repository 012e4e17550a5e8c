"""censor/residual.py; what a residual block does to packets: test_acting.py"""

from __future__ import annotations

import pytest

from censor.actions import Residual
from censor.compiled import CompiledRule
from censor.flows import Flow
from censor.packets import parse
from censor.residual import Entry, Residuals, residual_key
from censor.rules import Rule
from tests.unit.censor.traffic import Ends


def flow(client_port: int = 40000, server: str = "203.0.113.10", server_port: int = 443) -> Flow:
    packet = parse(Ends(client_port=client_port, server=server, server_port=server_port).syn())
    assert packet is not None
    return Flow(packet, 0.0, from_client=True)


def rule(name: str = "rule") -> CompiledRule:
    action = Residual(seconds=60)
    return CompiledRule(Rule(name=name, when="tls", actions=(action,)), {}, frozenset())


def add(
    table: Residuals, of: Flow, by: CompiledRule, t: float, seconds: float = 60.0, **options: object
) -> Entry | None:
    action = Residual(seconds=seconds, **options)  # type: ignore[arg-type]  # each test gives keys of the right type
    return table.add(by, action, of, t, delay_seconds=0.0, seconds=seconds)


def test_keys() -> None:
    one, other = flow(), flow(40001)
    assert (
        residual_key("2-tuple", one) == residual_key("2-tuple", other) == residual_key("2-tuple", flow(server_port=1))
    )
    assert (
        residual_key("3-tuple", one) == residual_key("3-tuple", other) != residual_key("3-tuple", flow(server_port=1))
    )
    assert residual_key("4-tuple", one) != residual_key("4-tuple", other)


def test_the_oldest_goes_first() -> None:
    table, by = Residuals(2), rule()
    for number in range(3):
        add(table, flow(server=f"203.0.113.{number}"), by, 0.0)
    assert (len(table), table.evicted) == (2, 1)
    assert not table.find(flow(server="203.0.113.0"), 1.0)
    assert [entry.rule for entry in table.find(flow(server="203.0.113.2"), 1.0)] == [by]


def test_ended_entries_are_forgotten_when_they_are_met() -> None:
    table = Residuals(9)
    add(table, flow(), rule(), 0.0)
    assert not table.find(flow(), 60.0)
    assert len(table) == 0


def test_entries_of_lifted_rules() -> None:
    table, by, kept = Residuals(9), rule(), rule("kept")
    add(table, flow(), by, 0.0)
    add(table, flow(server="203.0.113.1"), by, 0.0)
    add(table, flow(server="203.0.113.2"), kept, 0.0)
    by.lifted = True
    assert not table.find(flow(), 1.0)
    assert [entry.key[2] for entry in table.lifted()] == [bytes([203, 0, 113, 1])]
    assert [entry.rule for entry in table.entries()] == [kept]


def test_all_kinds_are_found() -> None:
    table, by = Residuals(9), rule()
    for kind in ("2-tuple", "3-tuple", "4-tuple"):
        add(table, flow(), by, 0.0, key=kind)
    assert [entry.key[0] for entry in table.find(flow(), 1.0)] == ["3-tuple", "4-tuple", "2-tuple"]
    assert [entry.key[0] for entry in table.find(flow(40001), 1.0)] == ["3-tuple", "2-tuple"]


def test_each_rule_has_a_block_of_its_own() -> None:
    table, first, second = Residuals(9), rule("first"), rule("second")
    add(table, flow(), first, 0.0)
    assert add(table, flow(), second, 1.0, 10.0) is not None
    assert [(entry.rule.name, entry.until) for entry in table.find(flow(), 2.0)] == [("first", 60.0), ("second", 11.0)]
    assert [entry.rule.name for entry in table.find(flow(), 11.0)] == ["first"]
    first.lifted = True
    add(table, flow(), second, 12.0)
    assert [entry.rule for entry in table.lifted()] == [first]
    assert [entry.rule for entry in table.entries()] == [second]


def test_a_block_that_has_ended_begins_anew() -> None:
    table, by = Residuals(9), rule()
    add(table, flow(), by, 0.0)
    renewed = add(table, flow(), by, 60.0)
    assert renewed is not None
    assert (renewed.triggers, renewed.begins, len(table.entries())) == (1, 60.0, 1)


def test_conviction_is_for_everybody() -> None:
    table = Residuals(1)
    add(table, flow(), rule(), 0.0)
    table.convict(rule("prober"), Residual(seconds=0), bytes([203, 0, 113, 10]), 443, 1.0, 9.0)
    assert (len(table), table.evicted) == (1, 1)
    assert [entry.rule.name for entry in table.find(flow(1), 2.0)] == ["prober"]
    assert not table.find(flow(server_port=80), 2.0)


def test_renewal_that_makes_it_certain_is_told_even_without_refresh() -> None:
    table, by = Residuals(9), rule()
    found = [add(table, flow(port), by, 0.0, probability=0.5, certain_after=2, refresh="never") for port in (1, 2, 3)]
    assert [entry is not None for entry in found] == [True, True, False]
    assert found[1] is not None
    assert (found[1].certain, found[1].until) == (True, 60.0)


@pytest.mark.parametrize(
    ("direction", "concerns"), [("both", [True, True]), ("to_server", [True, False]), ("to_client", [False, True])]
)
def test_direction(direction: str, concerns: list[bool]) -> None:
    entry = add(Residuals(9), flow(), rule(), 0.0, direction=direction)
    assert entry is not None
    assert [entry.concerns(from_client=from_client) for from_client in (True, False)] == concerns


def test_a_flow_is_held_by_the_blocks_that_last() -> None:
    table, held = Residuals(9), flow()
    first = add(table, held, rule(), 1.0)
    assert first is not None
    first.take(held)
    first.take(held)
    assert held.residuals == (first,)
    assert first.lasts(first.until - 0.1)
    assert not first.lasts(first.until)
    again = add(table, held, rule("again"), first.until)
    assert again is not None
    again.take(held)
    assert held.residuals == (again,), "what has ended is forgotten"
    again.rule.lifted = True
    assert not again.lasts(again.begins)
