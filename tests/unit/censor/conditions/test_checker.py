"""censor/conditions/checker.py"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from censor.conditions import ConditionError, compile_condition
from censor.conditions.checker import Checker
from censor.conditions.parser import parse
from censor.conditions.syntax import (
    Compare,
    CompareProperties,
    Contains,
    Exists,
    Flag,
    Has,
    ListRef,
    Matches,
    Member,
    Node,
    Range,
    Under,
)
from censor.properties import Type
from tests.unit.censor.conditions.vocabulary import LISTS, PROPERTIES

CHECKER = Checker(PROPERTIES, LISTS)


@pytest.mark.parametrize(
    ("source", "leaf"),
    [
        ("client.inside", Flag("client.inside")),
        ("client.inside == false", Compare("client.inside", "==", False)),
        ("exists tls.alpn", Exists("tls.alpn")),
        ("server.port >= 1024", Compare("server.port", ">=", 1024)),
        ("entropy.bits_per_byte < 4", Compare("entropy.bits_per_byte", "<", 4)),
        ("entropy.bits_per_byte in [3.4..4.6, 8]", Member("entropy.bits_per_byte", (Range(3.4, 4.6), 8))),
        ("server.port not in [80, 81..81]", Member("server.port", (80, Range(81, 81)), True)),
        ("client.port > server.port", CompareProperties("client.port", ">", "server.port")),
        ("server.port < entropy.bits_per_byte", CompareProperties("server.port", "<", "entropy.bits_per_byte")),
        ('tls.sni == "Messenger.Example."', Compare("tls.sni", "==", "messenger.example")),
        ("tls.sni != http.host", CompareProperties("tls.sni", "!=", "http.host")),
        ('tls.sni under "T.me"', Under("tls.sni", ("t.me",))),
        ('tls.sni under ["t.me", "EXAMPLE"]', Under("tls.sni", ("t.me", "example"))),
        ("tls.sni under @registry", Under("tls.sni", ListRef("registry"))),
        ("tls.sni in @registry", Member("tls.sni", ListRef("registry"))),
        ('tls.sni contains "T.CO."', Contains("tls.sni", ("t.co.",))),
        ('http.url contains ["A", "é"]', Contains("http.url", ("A", "é"))),
        ('tls.sni matches "^vpn[0-9]+\\\\."', Matches("tls.sni", r"^vpn[0-9]+\.")),
        ('client.address == "2001:DB8::0"', Compare("client.address", "==", ip_address("2001:db8::"))),
        (
            'server.address in ["192.0.2.0/24", "192.0.2.1"]',
            Member("server.address", (ip_network("192.0.2.0/24"), ip_network("192.0.2.1/32"))),
        ),
        ("server.address not in @cloud", Member("server.address", ListRef("cloud"), True)),
        ('"h2" in tls.alpn', Has("tls.alpn", "h2")),
        ('"h2" not in tls.alpn', Has("tls.alpn", "h2", True)),
    ],
)
def test_leaves(source: str, leaf: Node) -> None:
    assert parse(source, CHECKER.check) == leaf


MISTAKES = [
    ('tls.snii under "x"', 0, "no property `tls.snii`; did you mean tls.sni?"),
    ("client.port == servr.port", 15, "no property `servr.port`; did you mean server.port?"),
    ('"h2" in tls.alpm', 8, "no property `tls.alpm`; did you mean tls.alpn?"),
    ("zzz", 0, "no property `zzz`; there are: client.address, client.inside,"),
    ("tls.sni under @registri", 14, "@registri: no such list; did you mean @registry?"),
    ("tls.sni in @zzz", 11, "@zzz: no such list; there are: @cloud, @registry, @white"),
    ("server.port in @cloud", 15, "`@cloud`: a list has names, addresses and URLs, but no numbers"),
    ('server.port under "x"', 12, "server.port is an integer; `under` needs a name"),
    ("client.address < server.address", 15, "client.address is an address; `<` needs an integer or a number"),
    ('client.address matches "x"', 15, "client.address is an address; `matches` needs a text or a name"),
    ('tls.alpn contains "h2"', 9, '`contains` needs a text or a name; it goes with: "text" in tls.alpn'),
    ("server.port", 0, "server.port is an integer and does not stand alone; it goes with: == != < <= > >= in exists"),
    ("tls.alpn", 0, 'tls.alpn is a tuple of texts and does not stand alone; it goes with: "text" in, exists'),
    ("true", 0, "found `true`; expected a property"),
    ("443 == server.port", 0, "found `443`; expected a property (values stand right of the operator)"),
    ("443 in tls.alpn", 0, "found `443`; expected a property"),
    ('"h2" == tls.alpn', 0, 'found `"h2"`; expected a property'),
    ('"h2" in @registry', 8, "found `@registry`; expected a property that is a tuple of texts"),
    ('"h2" in ["h2"]', 8, "found `[`; expected a property that is a tuple of texts"),
    (
        '"t.co" in tls.sni',
        10,
        'tls.sni is a name; a text is `in` a tuple of texts only; did you mean `tls.sni contains "t.co"`?',
    ),
    ('"1" in server.port', 7, "server.port is an integer; a text is `in` a tuple of texts only"),
    ('server.port == "443"', 15, 'found `"443"`; expected an integer, as server.port is one'),
    ("server.port == 443.0", 15, "found `443.0`; expected an integer, as server.port is one"),
    ("client.inside == 1", 17, "found `1`; expected `true` or `false`"),
    ("server.port == [443]", 15, "found `[`; `==` goes with one value, `in` with several"),
    ("tls.sni == @registry", 11, "found `@registry`; `==` goes with one value, `in` with several"),
    ("server.port in 443", 15, "found `443`; expected several values in [ ] or a list, as @registry"),
    ("server.port in client.port", 15, "found `client.port`; expected several values"),
    ("server.port in [client.port]", 16, "found `client.port`; expected an integer"),
    ("server.address in [443]", 19, 'found `443`; expected an address: "192.0.2.1"'),
    ("server.port == tls.sni", 15, "server.port is an integer, tls.sni is a name"),
    ("client.inside == server.port", 17, "client.inside is a boolean, server.port is an integer"),
    ("server.port in [5..3]", 16, "5..3 is empty; the lower end of a range comes first"),
    ('protocol in ["a".."b"]', 13, '"a".."b": only numbers have ranges'),
    ('tls.sni under ["a".."b"]', 15, '"a".."b": only numbers have ranges'),
    ("tls.sni contains [1..2]", 18, "1..2: only numbers have ranges"),
    ("tls.sni under 5", 14, 'found `5`; expected a name: "messenger.example"'),
    ("tls.sni contains @registry", 17, "found `@registry`; `contains` goes with texts"),
    ('tls.sni contains ["a", ""]', 23, '"" is a part of every text'),
    ('tls.sni contains "é"', 17, '`"é"`: names are ASCII (punycode)'),
    ("tls.sni matches @registry", 16, "found `@registry`; `matches` goes with a regular expression"),
    ('tls.sni matches ["x"]', 16, "found `[`; `matches` goes with a regular expression"),
    ('tls.sni matches "("', 16, "no regular expression: missing ), unterminated subpattern at position 0"),
    ('tls.sni == "пример.example"', 11, "is not ASCII; names are written in punycode: 'xn--e1afmkfd.example'"),
    ('tls.sni == "\u212a.example"', 11, "is not ASCII; names are written in punycode"),
    ('tls.sni == "é..example"', 11, "is not ASCII; names are written in punycode"),
    (
        'tls.sni under "*.example"',
        14,
        '"*.example" has a wildcard; `under "example"` matches that name and all below it',
    ),
    ('tls.sni under ".example"', 14, "'.example' is no domain name"),
    ('tls.sni under "https://x"', 14, "'https://x' is no domain name"),
    ('tls.sni == ""', 11, "'' is no domain name"),
    ('client.address == "192.0.2"', 18, "'192.0.2' does not appear to be an IPv4 or IPv6 address"),
    ('client.address == "fe80::1%eth0"', 18, "'fe80::1%eth0' has a zone, which no packet carries"),
    ('client.address in ["192.0.2.0/33"]', 19, "'192.0.2.0/33' does not appear to be an IPv4 or IPv6 network"),
    (
        'client.address in ["192.0.2.1/24"]',
        19,
        "'192.0.2.1/24' is an address inside a block; did you mean 192.0.2.0/24 (all of it) or 192.0.2.1 (that one)?",
    ),
]


@pytest.mark.parametrize(("source", "position", "message"), MISTAKES, ids=[source for source, _, _ in MISTAKES])
def test_mistakes(source: str, position: int, message: str) -> None:
    with pytest.raises(ConditionError) as raised:
        parse(source, CHECKER.check)
    assert str(raised.value).startswith(f"column {position + 1}: ")
    assert message in str(raised.value)
    assert raised.value.position == position


def test_without_lists_there_is_none_to_suggest() -> None:
    with pytest.raises(ConditionError, match="@x: no such list; there are none"):
        compile_condition("tls.sni in @x", properties={"tls.sni": Type.NAME}, lists={})
