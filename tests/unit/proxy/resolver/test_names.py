import sys

import pytest

from proxy.resolver.names import known_addresses, query_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example", "a.example"),
        ("A.Example.", "a.example"),
        ("localname", "localname"),
        ("_dmarc.a_b.example", "_dmarc.a_b.example"),
        ("3com.example", "3com.example"),
        ("1.0x7g", "1.0x7g"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example.", "xn--strae-oqa.example"),  # IDNA 2008: a letter of its own
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),  # UTS 46: an ideographic full stop
        ("x" * 63 + ".example", "x" * 63 + ".example"),
        (".".join(["x" * 49] * 5) + ".abc", ".".join(["x" * 49] * 5) + ".abc"),  # 253 bytes
    ],
)
def test_names_as_they_are_asked_for(host: str, name: str) -> None:
    assert query_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..example",
        ".example",
        "a.example..",
        "x" * 64 + ".example",
        ".".join(["x" * 49] * 5) + ".abcd",  # 254 bytes
        "-a.example",
        "a-.example",
        "a b.example",
        "a\\.example",
        "a/b",
        "[::1",
        "fe80::1%eth0",
        "☃" * 64 + ".example",
        "a‍.example",  # a zero-width joiner where RFC 5892 allows none
    ],
)
def test_what_is_no_name(host: str) -> None:
    assert query_name(host) is None


@pytest.mark.parametrize("host", ["127.1", "127.0.0.1.", "2130706433", "0x7f.1", "0X7F000001", "1.0x", "017700000001"])
def test_what_inet_aton_takes_for_an_address_is_no_name(host: str) -> None:
    assert known_addresses(host) == ()
    assert query_name(host) is None


def test_without_the_package_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    assert query_name("BÜCHER.example") == "xn--bcher-kva.example"
    assert query_name("ü" * 64 + ".example") is None


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("2001:DB8:0::1", ("2001:db8::1",)),
        ("localhost", ("::1", "127.0.0.1")),
        ("LocalHost.", ("::1", "127.0.0.1")),
        ("a.localhost", ("::1", "127.0.0.1")),
        ("notlocalhost", ()),
        ("localhost.example", ()),
        ("fe80::1%1", ()),
    ],
)
def test_what_needs_no_asking(host: str, addresses: tuple[str, ...]) -> None:
    assert known_addresses(host) == addresses
