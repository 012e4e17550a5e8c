from proxy.auth import Users


def test_users() -> None:
    users = Users({"anna": "secret", "": "", "jörg": "ü"})
    assert users
    assert users.verify(b"anna", b"secret")
    assert users.verify(b"", b"")
    assert users.verify("jörg".encode(), "ü".encode())
    assert not users.verify(b"anna", b"")
    assert not users.verify(b"anna", b"secret ")
    assert not users.verify(b"nobody", b"secret")
    assert not users.verify(b"\xff", b"")


def test_nobody() -> None:
    users = Users({})
    assert not users
    assert not users.verify(b"", b"")
