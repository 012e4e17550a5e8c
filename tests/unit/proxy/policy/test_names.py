import socket

import pytest

from proxy.policy.names import a_label, is_localhost, spelled_address, suffixes
from tests import ssrf


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.org", "example.org"),
        ("WWW.Example.ORG.", "www.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example。", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("_srv.example", "_srv.example"),
        ("Ü" * 64 + ".example.", "ü" * 64 + ".example"),  # too long a label: it has no address
    ],
)
def test_names_are_compared_as_they_are_looked_up(name: str, expected: str) -> None:
    assert a_label(name) == expected


def test_suffixes() -> None:
    assert suffixes("a.b.example") == ["a.b.example", "b.example", "example"]


def test_localhost() -> None:
    assert is_localhost("localhost")
    assert is_localhost("a.localhost")
    assert not is_localhost("notlocalhost")
    assert not is_localhost("localhost.example")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2130706433", "127.0.0.1"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3", "1.2.0.3"),
        ("1.65535", "1.0.255.255"),
        ("1.2.65535", "1.2.255.255"),
        ("0xffffffff", "255.255.255.255"),
        ("010.8", "8.0.0.8"),
        ("[2001:DB8::1%eth0]", "2001:db8::1"),
        ("192.0.2.1.", "192.0.2.1"),
        ("a.localhost.", "127.0.0.1"),
    ],
)
def test_spellings_of_addresses(name: str, expected: str) -> None:
    assert spelled_address(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "1.2.3.4.5",
        "4294967296",
        "256.1",
        "1.16777216",
        "1.2.3.256",
        "08.1",
        "0x",
        "0xg",
        "1..2",
        "-1",
        "",
    ],
)
def test_what_is_a_real_name_or_none(name: str) -> None:
    assert spelled_address(name) is None


NUMERIC = [form for form, _ in ssrf.INSIDE if not (set(form) & set(":[]") or form.endswith(".") or "ost" in form)]


@pytest.mark.parametrize("form", [form for form in NUMERIC if form.isascii()])
def test_numeric_spellings_mean_what_the_system_takes_them_for(form: str) -> None:
    [(*_, address)] = socket.getaddrinfo(form, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    assert spelled_address(form) == address[0]
