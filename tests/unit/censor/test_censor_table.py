"""censor/censor_table.py"""

from __future__ import annotations

import pytest

from censor.censor_table import CensorTable, TcpTable
from censor.rules_file import parse_rules
from sidedoor.settings import SettingsError

EVERYTHING = """
[censor]
fail = "closed"
strict = true
seed = -3
time_scale = 3600.0
inside = ["192.0.2.0/24", "2001:db8::/32"]
single_segments = true
inspect_everything = true
remember_names = false
flow_idle_seconds = 60
[censor.tcp]
reassembly = "none"
overlap = "last"
limit_bytes = 1000
segments = 5
unparsed_bytes = 101
extend_segments = [15, 20]
extend_for = ["tls"]
inspect = "both"
handshake = true
[censor.fragments]
policy = "hold"
limit = 45
[censor.overload]
packets_per_second = 1e5
"""


def test_a_file_says_what_it_says() -> None:
    table = parse_rules(EVERYTHING).censor
    assert (table.fail, table.strict, table.time_scale, table.inside[1]) == ("closed", True, 3600.0, "2001:db8::/32")
    assert (table.tcp.extend_segments, table.tcp.extend_for, table.tcp.unparsed_bytes) == ((15, 20), ("tls",), 101)
    assert (table.fragments.policy, table.overload.packets_per_second) == ("hold", 1e5)


def test_defaults_are_those_of_no_file() -> None:
    assert parse_rules("").censor == CensorTable()
    assert CensorTable().tcp == TcpTable()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("strict = true", '`strict` needs fail = "closed"'),
        ('inside = ["192.0.2.1/24"]', "192.0.2.1/24 has host bits set"),
        ('inside = ["x"]', "'x' does not appear"),
        ("time_scale = 0", "censor.time_scale"),
        ("flow_idle_seconds = -1", "censor.flow_idle_seconds"),
        ("tcp = {extend_segments = [3, 2]}", "`extend_segments`: (3, 2) is not a span"),
        ('tcp = {reassembly = "some"}', "expected one of arrival, full, in_order, none"),
        ("tcp = {limit_bytes = 0}", "censor.tcp.limit_bytes"),
        ('fragments = {policy = "eat"}', "censor.fragments.policy"),
        ("overload = {packets_per_second = -1}", "censor.overload.packets_per_second"),
        ("sead = 1", "did you mean `seed`"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_rules(f"[censor]\n{text}")
    assert says in str(caught.value)
