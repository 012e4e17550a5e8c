"""censor/conditions/syntax.py"""

from __future__ import annotations

import pytest
from hypothesis import given

from censor.conditions.syntax import (
    And,
    Flag,
    Node,
    Not,
    Or,
    conjunction,
    describe,
    disjunction,
    lists_of,
    negation,
    properties_of,
)
from tests.unit.censor.conditions.vocabulary import TREES, condition

A, B, C = Flag("a"), Flag("b"), Flag("c")


def test_trees_are_canonical() -> None:
    assert conjunction([A]) == A
    assert conjunction([And((A, B)), Or((B, C))]) == And((A, B, Or((B, C))))
    assert disjunction([A, Or((B, C)), And((A, B))]) == Or((A, B, C, And((A, B))))
    assert negation(negation(A)) == A


@pytest.mark.parametrize(
    "text",
    [
        'tls.sni under ["messenger.example", "t.me"] and client.inside',
        "tls.sni under @registry or http.host in @registry",
        "server.address in @cloud and not (ssh or tls.sni under @white)",
        "(ssh or client.inside) and not ssh == true",
        "client.port > server.port and quic.version == 1 or quic.datagram_bytes >= 1001",
        "server.port not in [80, 443, 8000..8100]",
        'server.address in ["192.0.2.0/24", "198.51.100.1", "2001:db8::/32"]',
        'client.address != "2001:db8::1"',
        'http.url contains ["a\\"b", "\\\\"] and tls.sni matches "^.*\\\\.vpn[0-9]+\\\\."',
        '"h2" in tls.alpn and "h3" not in tls.alpn',
        "entropy.bits_per_byte in [-0.5, 0.00001..4.6]",
        "not exists tls.sni",
    ],
)
def test_canonical_text(text: str) -> None:
    assert describe(condition(text).tree) == text


def test_other_ways_to_write_it() -> None:
    text = 'not not tls.sni under "T.ME." and\n (ssh and (client.inside))'
    assert describe(condition(text).tree) == 'tls.sni under ["t.me"] and ssh and client.inside'


@given(TREES)
def test_the_canonical_text_gives_the_same_tree(tree: Node) -> None:
    again = condition(describe(tree)).tree
    assert again == tree
    assert describe(again) == describe(tree)


def test_what_is_read() -> None:
    tree = condition("not (client.port > server.port or tls.sni under @registry) and server.address in @cloud").tree
    assert properties_of(tree) == {"client.port", "server.port", "tls.sni", "server.address"}
    assert lists_of(tree) == {"registry", "cloud"}
    assert isinstance(tree, And)
    assert isinstance(tree.items[0], Not)
