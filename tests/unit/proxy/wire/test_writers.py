import pytest

from proxy.wire import (
    Address,
    AddressType,
    AuthResult,
    Command,
    Credentials,
    Fault,
    Greeting,
    Method,
    MethodChoice,
    ProtocolError,
    Reply,
    ReplyCode,
    Request,
    write_auth_result,
    write_credentials,
    write_greeting,
    write_method_choice,
    write_reply,
    write_request,
    write_success,
)


def test_bytes_of_every_message() -> None:
    assert write_greeting(Greeting((Method.NO_AUTH, Method.USER_PASSWORD))) == b"\x05\x02\x00\x02"
    assert write_method_choice(MethodChoice(Method.NONE_ACCEPTABLE)) == b"\x05\xff"
    assert write_credentials(Credentials(b"anna", b"")) == b"\x01\x04anna\x00"
    assert write_auth_result(AuthResult(1)) == b"\x01\x01"
    assert (
        write_request(Request(Command.CONNECT, Address.of("192.0.2.1", 443))) == b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb"
    )
    assert write_request(Request(Command.BIND, Address.of("a.b", 1))) == b"\x05\x02\0\x03\x03a.b\0\x01"
    assert write_reply(Reply(ReplyCode.SUCCEEDED, Address.of("::1", 2))) == b"\x05\0\0\x04" + bytes(15) + b"\x01\0\x02"


def test_an_error_reply_is_a_full_ipv4_one() -> None:
    assert write_reply(Reply(ReplyCode.HOST_UNREACHABLE)) == b"\x05\x04\x00\x01" + bytes(6)


def test_success_is_a_reply() -> None:
    for bound in (Address.of("::1", 2), Address.of("192.0.2.1", 443)):
        assert write_success(bound) == write_reply(Reply(ReplyCode.SUCCEEDED, bound))


@pytest.mark.parametrize(
    "address",
    [
        Address(AddressType.DOMAIN, "x" * 256, 1),
        Address(AddressType.IPV4, "1.2.3", 1),
        Address(AddressType.IPV6, "x", 1),
        Address(AddressType.IPV4, "1.2.3.4", 65536),
        Address(AddressType.IPV4, "1.2.3.4", -1),
    ],
)
def test_what_the_format_cannot_carry_is_our_fault(address: Address) -> None:
    with pytest.raises(ProtocolError) as raised:
        write_request(Request(Command.CONNECT, address))
    assert raised.value.fault is Fault.LOCAL


def test_credentials_are_255_bytes_at_most() -> None:
    assert len(write_credentials(Credentials(b"u" * 255, b"p" * 255))) == 513
    with pytest.raises(ProtocolError, match="user"):
        write_credentials(Credentials(b"u" * 256, b""))
