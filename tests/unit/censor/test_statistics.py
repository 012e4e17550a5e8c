"""censor/statistics.py: what the core and its driver count together."""

from __future__ import annotations

from censor.core import Core
from censor.rules_file import parse_rules
from censor.statistics import Statistics, summed
from tests.unit.censor.conversation import HELLO, INNOCENT, client, query, server

EVERY = 'when = "exists tls.sni"\n'


def counted(table: str = "", *, packets: list[bytes]) -> Statistics:
    judge = Core()
    judge.set_rules(parse_rules(f'[[rule]]\nname = "rule0"\n{table}' if table else ""))
    for data in packets:
        judge.statistics.count(judge.decide(data))
    return judge.statistics


def test_nothing_happens() -> None:
    assert counted(packets=[client(INNOCENT)]).as_dict() == {
        "packets": 1,
        "dropped": 0,
        "injected": 0,
        "overloaded": 0,
        "rules": {},
    }


def test_what_an_action_and_what_an_effect_injects() -> None:
    table = 'action = "sni_rst"\ndomains = ["messenger.example"]'
    statistics = counted(table, packets=[client(HELLO), client(HELLO), client(INNOCENT, port=50000)])
    assert (statistics.packets, statistics.dropped, statistics.injected) == (3, 2, 4)
    assert statistics.as_dict()["rules"] == {
        "rule0": {"matched": 1, "collateral": 0, "packets": 2, "injected": 4},
    }


def test_forged_answers_come_before() -> None:
    table = 'action = "dns_nxdomain"\ndomains = ["messenger.example"]'
    statistics = counted(table, packets=[query("messenger.example")])
    assert (statistics.dropped, statistics.injected, statistics.rule("rule0").injected) == (0, 1, 1)


def test_residual_resets_are_the_rules_too() -> None:
    table = EVERY + (
        'actions = [{ kind = "residual", key = "3-tuple", seconds = 60, then = "reset" }, { kind = "drop" }]\n'
        'intended = "tls.sni under [\\"messenger.example\\"]"'
    )
    statistics = counted(table, packets=[client(INNOCENT), client(port=50000)])
    counts = statistics.rule("rule0")
    assert (counts.matched, counts.collateral, counts.packets, counts.injected) == (1, 1, 2, 2)
    assert statistics.injected == 2


def test_late_ones_count_when_they_are_made() -> None:
    table = EVERY + 'actions = [{ kind = "reset", delay_seconds = 2 }]'
    statistics = counted(table, packets=[client(HELLO), server()])
    assert (statistics.injected, statistics.rule("rule0").injected) == (2, 2)


def test_counts_of_several_processes_are_summed() -> None:
    one = counted(EVERY + 'actions = [{ kind = "drop" }]', packets=[client(HELLO)]).as_dict()
    other = counted(packets=[client(INNOCENT), client(INNOCENT)]).as_dict()
    total = summed([one, other, one])
    assert (total["packets"], total["dropped"]) == (4, 2)
    assert total["rules"] == {"rule0": {key: 2 * value for key, value in one["rules"]["rule0"].items()}}
    assert one["packets"] == 1
    assert summed([]) == {}
