from proxy.handshake.events import CredentialsPresented


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(CredentialsPresented(b"anna", b"secret"))
