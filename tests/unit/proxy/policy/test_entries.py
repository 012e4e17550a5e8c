import re

import pytest

from proxy.policy.entries import check_rule, parse_destinations, parse_ports, parse_sources
from proxy.settings import ProxySettings, Rule, Upstream
from sidedoor.settings import SettingsError

SETTINGS = ProxySettings(users={"anna": ""}, upstreams={"far": Upstream(url="socks5://192.0.2.1:1080")})


def test_ports() -> None:
    assert parse_ports("rules[0]", (443, "80", "8000-8999", "1-65535")) == [
        (443, 443),
        (80, 80),
        (8000, 8999),
        (1, 65535),
    ]


@pytest.mark.parametrize("port", ["80-", "-80", "", "http", "90-80", "1-65536", "٨٠", "1-2-3", 0, 65536, -1])
def test_what_is_no_port(port: int | str) -> None:
    found = re.escape(f'"{port}"' if isinstance(port, str) else str(port))
    with pytest.raises(SettingsError, match=rf"^rules\[2\]\.ports: {found}: expected a port"):
        parse_ports("rules[2]", (port,))


def test_destinations() -> None:
    networks, domains = parse_destinations(
        "rules[0]", ("192.0.2.0/24", "2001:db8::1", "::/0", "Example.ORG.", "bücher.example", "localhost", "face.b00c")
    )
    assert [str(network) for network in networks] == ["192.0.2.0/24", "2001:db8::1/128", "::/0"]
    assert domains == ["example.org", "xn--bcher-kva.example", "localhost", "face.b00c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*.example.org", 'expected "example.org", which stands for its sub-domains'),
        ("192.0.2.1/24", "host bits"),
        ("192.0.2.0/33", "is no network"),
        ("127.1", "is no network"),
        ("2130706433", "is no network"),
        ("0x7f.0x1", "is no network"),
        ("fe80::1%eth0", "expected a network"),
        ("[::1]", "expected a network"),
        ("::1::", "is no network"),
        ("example.org:443", "ports have a key of their own"),
        ("https://example.org", "expected a network"),
        ("a..example", "expected a network"),
        ("", "expected a network"),
        (".", "expected a network"),
        ("*", "expected a network"),
        ("a b.example", "expected a network"),
    ],
)
def test_what_is_no_destination(text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=rf"^rules\[1\]\.destinations: .*{re.escape(expected)}") as caught:
        parse_destinations("rules[1]", (text,))
    assert f'"{text}"' in str(caught.value)


def test_sources() -> None:
    assert [str(network) for network in parse_sources("rules[0]", ("192.0.2.0/24", "::1"))] == [
        "192.0.2.0/24",
        "::1/128",
    ]
    with pytest.raises(SettingsError, match=r'^rules\[0\]\.sources: "localhost" is no network'):
        parse_sources("rules[0]", ("localhost",))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(action="deny", users=("bert",)), r'rules\[0\]\.users: "bert" is not among the users; expected .*anna'),
        (Rule(action="deny", via="far"), r"rules\[0\]\.via: .* expected \"allow\""),
        (Rule(action="deny", egress=("192.0.2.1",)), r"rules\[0\]\.egress: .* expected \"allow\""),
    ],
)
def test_rules_that_cannot_be_meant(rule: Rule, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        check_rule("rules[0]", rule, SETTINGS)


def test_nobody_is_among_no_users() -> None:
    with pytest.raises(SettingsError, match="expected one of: none"):
        check_rule("rules[0]", Rule(action="deny", users=("bert",)), ProxySettings())


def test_rules_that_can() -> None:
    check_rule("rules[0]", Rule(action="allow", users=("anna",), via="far", egress=("192.0.2.1",)), SETTINGS)
