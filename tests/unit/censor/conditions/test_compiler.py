"""censor/conditions/compiler.py"""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import given

from censor.conditions.compiler import compile_tree
from censor.conditions.patterns import SUBJECT_LIMIT_CHARACTERS
from censor.conditions.syntax import Flag, Node, conjunction, describe, negation
from censor.properties import Properties, Value
from tests.unit.censor.conditions.vocabulary import LISTS, PROPERTIES, TREES, VALUES, condition, evaluate


@given(TREES, VALUES)
def test_it_agrees_with_the_tree(tree: Node, values: Properties) -> None:
    assert compile_tree(tree, PROPERTIES, LISTS)(values) is evaluate(tree, values)


@given(TREES, VALUES, VALUES)
def test_what_is_decided_stays_so(tree: Node, values: Properties, later: Properties) -> None:
    function = compile_tree(tree, PROPERTIES, LISTS)
    before = function(values)
    after = function({**later, **values})
    assert before is None or after is before


@pytest.mark.parametrize(("left", "right"), list(product((True, False, None), repeat=2)))
def test_kleenes_tables(left: bool | None, right: bool | None) -> None:
    values: Properties = {}
    if left is not None:
        values["ssh"] = left
    if right is not None:
        values["client.inside"] = right
    both = False if False in (left, right) else None if None in (left, right) else True
    one = True if True in (left, right) else None if None in (left, right) else False
    assert condition("ssh and client.inside").evaluate(values) is both
    assert condition("ssh or client.inside").evaluate(values) is one
    assert condition("not (ssh and client.inside)").evaluate(values) is (None if both is None else not both)
    assert condition("not ssh").evaluate(values) is (None if left is None else not left)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ('tls.sni == "t.me"', False),
        ('tls.sni != "t.me"', False),
        ('tls.sni in ["t.me"]', False),
        ('tls.sni not in ["t.me"]', False),
        ("tls.sni not in @registry", False),
        ("tls.sni under @registry", False),
        ('tls.sni contains "t"', False),
        ('tls.sni matches ""', False),
        ("exists tls.sni", False),
        ("not exists tls.sni", True),
        ('not tls.sni in ["t.me"]', True),
        ("tls.sni == http.host", False),
        ("http.host != tls.sni", False),
        ("not http.host == tls.sni", True),
    ],
)
def test_no_comparison_is_true_of_what_is_absent(text: str, absent: bool) -> None:
    assert condition(text).evaluate({"tls.sni": None}) is absent
    assert condition(text).evaluate({}) is None


@pytest.mark.parametrize("text", ['"h2" in tls.alpn', '"h2" not in tls.alpn', "ssh", "ssh == false", "ssh != true"])
def test_absent_flags_and_tuples(text: str) -> None:
    assert condition(text).evaluate({"ssh": None, "tls.alpn": None}) is False


ADDRESS = ip_address("192.0.2.1").packed
EVERYTHING: Properties = {
    "client.inside": True,
    "client.address": ADDRESS,
    "server.address": ip_address("2001:db8::1").packed,
    "client.port": 40000,
    "server.port": 443,
    "tls.sni": "www.messenger.example",
    "tls.alpn": ("h2", "http/1.1"),
    "http.method": "GET",
    "http.url": "t.me/x",
    "entropy.bits_per_byte": 3.4,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("client.inside == true", True),
        ("client.inside != true", False),
        ('client.address == "192.0.2.1"', True),
        ('client.address != "192.0.2.1"', False),
        ('client.address == "192.0.2.2"', False),
        ("client.address == server.address", False),
        ('server.address in ["192.0.2.0/24", "2001:db8::/32"]', True),
        ('server.address in ["0.0.0.0/0"]', False),
        ("client.address in @cloud", True),
        ("client.address not in @cloud", False),
        ("client.port > server.port", True),
        ("client.port <= server.port", False),
        ("server.port >= 443 and server.port <= 443 and not server.port < 443", True),
        ("entropy.bits_per_byte <= 3.4", True),
        ("entropy.bits_per_byte in [3..3.3, 3.5]", False),
        ('tls.sni == "WWW.messenger.example."', True),
        ('tls.sni in ["messenger.example"]', False),
        ("tls.sni in @registry", False),
        ("tls.sni not in @registry", True),
        ('tls.sni contains ["x.y", "R.EX"]', True),
        ('tls.sni matches "^www[.]"', True),
        ('tls.sni matches "^ww[.]"', False),
        ("http.url in @registry", True),
        ('http.method in ["GET", "POST"]', True),
        ('http.method == "get"', False),
        ('http.method contains "g"', False),
        ('"h2" in tls.alpn', True),
        ('"h" in tls.alpn', False),
        ('"h" not in tls.alpn', True),
        ("exists tls.alpn and not exists http.method", False),
    ],
)
def test_of_what_is_known(text: str, holds: bool) -> None:
    assert condition(text).evaluate(EVERYTHING) is holds


@pytest.mark.parametrize(
    ("name", "under"),
    [("t.me", True), ("a.b.t.me", True), ("xt.me", False), ("me", False), ("t.me.example", False)],
)
def test_under(name: str, under: bool) -> None:
    for text in ('tls.sni under ["white.example", "t.me"]', "tls.sni under @registry"):
        assert condition(text).evaluate({"tls.sni": name}) is under


@pytest.mark.parametrize(("port", "inside"), [(80, True), (81, False), (8000, True), (8100, True), (8101, False)])
def test_ranges(port: int, inside: bool) -> None:
    assert condition("server.port in [80, 8000..8100]").evaluate({"server.port": port}) is inside
    assert condition("server.port not in [80, 8000..8100]").evaluate({"server.port": port}) is not inside


def test_matches_looks_at_the_head_of_a_text() -> None:
    found = condition('http.url matches "x$"').evaluate
    assert found({"http.url": "y" * (SUBJECT_LIMIT_CHARACTERS - 1) + "x"}) is True
    assert found({"http.url": "y" * SUBJECT_LIMIT_CHARACTERS + "x"}) is False


def test_a_property_that_is_read_twice_is_looked_up_once() -> None:
    class Counting(dict[str, Value | None]):
        count = 0

        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]  # narrower on purpose
            self.count += 1
            return super().get(key, default)

    values = Counting({"server.port": 5})
    assert condition("server.port > 1 and server.port < 9 and server.port != 7").evaluate(values) is True
    assert values.count == 1


def test_cheap_tests_come_first() -> None:
    text = '(tls.sni matches "x" or tls.sni contains "x") and not server.port == 443'
    # A value of the wrong type: whatever looks into it raises.
    assert condition(text).evaluate({"tls.sni": 5, "server.port": 443}) is False
    with pytest.raises(TypeError):
        condition(text).evaluate({"tls.sni": 5, "server.port": 80})


def test_alternating_groups_may_be_as_deep_as_brackets_go() -> None:
    tree: Node = Flag("ssh")
    for level in range(63):
        tree = conjunction([Flag("client.inside"), tree]) if level % 2 else negation(conjunction([Flag("ssh"), tree]))
    assert compile_tree(tree, PROPERTIES, LISTS)({"ssh": True}) is evaluate(tree, {"ssh": True})
    assert describe(tree)
