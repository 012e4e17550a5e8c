"""The numbers are those of the RFCs: they go over the wire, so a typo would be a different protocol."""

from proxy.wire.codes import AddressType, AuthStatus, Command, Method, ReplyCode


def test_rfc_1928() -> None:
    assert [int(method) for method in Method] == [0, 1, 2, 0xFF]
    assert [int(command) for command in Command] == [1, 2, 3]
    assert [int(type_) for type_ in AddressType] == [1, 3, 4]
    assert [int(code) for code in ReplyCode] == list(range(9))


def test_rfc_1929() -> None:
    assert AuthStatus.SUCCEEDED == 0
    assert AuthStatus.FAILED != 0
