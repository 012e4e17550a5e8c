from proxy.wire.errors import Fault, ProtocolError


def test_the_peer_is_to_blame_unless_told_otherwise() -> None:
    error = ProtocolError("greeting: version 4")
    assert (str(error), error.fault, error.reply) == ("greeting: version 4", Fault.REMOTE, b"")
