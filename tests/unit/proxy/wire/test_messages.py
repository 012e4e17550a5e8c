import pytest

from proxy.wire.codes import AddressType
from proxy.wire.messages import Address, AuthResult, Credentials


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", Address(AddressType.IPV4, "192.0.2.1", 1)),
        ("2001:db8::1", Address(AddressType.IPV6, "2001:db8::1", 1)),
        ("[2001:DB8:0::1]", Address(AddressType.IPV6, "2001:db8::1", 1)),
        ("[192.0.2.1]", Address(AddressType.DOMAIN, "[192.0.2.1]", 1)),
        ("fe80::1%eth0", Address(AddressType.DOMAIN, "fe80::1%eth0", 1)),
        ("192.0.2.256", Address(AddressType.DOMAIN, "192.0.2.256", 1)),
        ("[::zz]", Address(AddressType.DOMAIN, "[::zz]", 1)),
        ("messenger.example", Address(AddressType.DOMAIN, "messenger.example", 1)),
    ],
)
def test_address_of(host: str, expected: Address) -> None:
    assert Address.of(host, 1) == expected


def test_text_of_an_address() -> None:
    assert str(Address.of("::1", 1080)) == "[::1]:1080"
    assert str(Address.of("192.0.2.1", 1080)) == "192.0.2.1:1080"
    assert str(Address.of("a.example", 1080)) == "a.example:1080"


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Credentials(b"anna", b"secret"))


def test_every_status_but_0_is_a_failure() -> None:
    assert AuthResult(0).ok
    assert not AuthResult(1).ok
    assert not AuthResult(255).ok
