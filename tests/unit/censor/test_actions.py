"""censor/actions.py; what they do: test_acting.py"""

from __future__ import annotations

import pytest

from censor.actions import Action, AnyAction, Drop, Probe, Residual
from censor.rules_file import parse_rules
from sidedoor.settings import SettingsError

WHEN = "'http or dns'"


def parsed(action: str) -> AnyAction:
    (rule,) = parse_rules(f'[[rule]]\nname = "x"\nwhen = {WHEN}\nactions = [{{ {action} }}]').rules
    (found,) = rule.actions
    return found


@pytest.mark.parametrize(
    ("action", "final"),
    [
        ('kind = "drop"', True),
        ('kind = "reject"', True),
        ('kind = "reset"', True),
        ('kind = "forge_dns"', True),
        ('kind = "block_page"', True),
        ('kind = "police", rate_bytes_per_second = 1, burst_bytes = 1', True),
        ('kind = "delay", seconds = 1', True),
        ('kind = "lose", probability = 1', True),
        ('kind = "freeze", bytes = 1', True),
        ('kind = "allow"', True),
        ('kind = "residual", seconds = 1', False),
        ('kind = "residual", seconds = 1, trigger = true', True),
        ('kind = "probe"', False),
        ('kind = "mark", value = "x"', False),
        ('kind = "log"', False),
    ],
)
def test_kind_and_whether_it_decides(action: str, final: bool) -> None:
    found = parsed(action)
    assert f'"{found.kind}"' in action
    assert found.final is final


def test_every_action_is_among_these() -> None:
    assert set(Action.__subclasses__()) == set(AnyAction.__args__)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ('kind = "dorp"', "did you mean `drop`?"),
        ('kind = "drop", direction = "up"', "direction"),
        ('kind = "drop", after_packets = [3, 2]', "`after_packets`: (3, 2) is not a span"),
        ('kind = "drop", after_packets = -1', "`after_packets`: -1 is not a span"),
        ('kind = "drop", seconds = [0, 1e13]', "`seconds`"),
        ('kind = "drop", seconds = [1, 2, 3]', "`seconds`"),
        ('kind = "drop", seconds = [[1, 0], [2, 0.9]]', "is no distribution"),
        ('kind = "drop", seconds = [[1, 0], 2]', "is no distribution"),
        ('kind = "reset", count = 0', "count"),
        ('kind = "reset", offsets = []', "offsets"),
        ('kind = "reset", ttl = 256', "ttl"),
        ('kind = "reset", delay_seconds = -1', "`delay_seconds`"),
        ('kind = "forge_dns", addresses = ["x"]', "'x' does not appear to be an IPv4 or IPv6 address"),
        ('kind = "forge_dns", rcode = "no"', "rcode"),
        ('kind = "block_page", status = 99', "status"),
        ('kind = "block_page", status = 299', "299"),
        ('kind = "block_page", location = "http://a.example/\\r\\nX: y"', "is not printable ASCII"),
        ('kind = "police", rate_bytes_per_second = 0, burst_bytes = 1', "rate_bytes_per_second"),
        ('kind = "delay"', "seconds"),
        ('kind = "lose", probability = 1.1', "probability"),
        ('kind = "freeze"', "freeze needs `bytes` or `packets`"),
        ('kind = "freeze", packets = [2, 1]', "`packets`: (2, 1) is not a span"),
        ('kind = "residual", seconds = [2, 1]', "`seconds`: (2.0, 1.0) is not a span"),
        ('kind = "residual", seconds = 1, probability = [0.5, 1.5]', "is more than 1"),
        ('kind = "residual", seconds = 1, key = "5-tuple"', "key"),
        ('kind = "mark", value = ""', "value"),
        ('kind = "log", level = 1', "level"),
    ],
)
def test_mistakes_are_named(action: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(action)
    assert says in str(caught.value)


def test_spans_are_numbers_or_pairs() -> None:
    drop = parsed('kind = "drop", after_packets = [5, 8], seconds = 420')
    assert drop == Drop(after_packets=(5, 8), seconds=420)
    assert parsed('kind = "residual", seconds = [60, 90.5]') == Residual(seconds=(60, 90.5))
    assert parsed('kind = "probe", reason = "x"') == Probe(reason="x")
