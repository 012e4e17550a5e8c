"""What needs no connection; the rest is in tests/integration/proxy/test_upstream.py."""

import pytest

from proxy.settings import Upstream
from proxy.upstream import Hop, reply_of_status
from proxy.wire import Credentials, ReplyCode
from sidedoor.settings import SettingsError


def test_a_hop_from_the_settings_says_its_password_to_nobody() -> None:
    hop = Hop.of("far", Upstream(url="socks5://[2001:db8::1]:1080", user="anna", password="secret"))
    assert hop == Hop("socks5", "2001:db8::1", 1080, "anna", "secret")
    assert str(hop) == "socks5://[2001:db8::1]:1080"
    assert "secret" not in f"{hop} {hop!r}"
    assert hop.credentials == Credentials(b"anna", b"secret")
    assert str(Hop.of("far", Upstream(url="http://proxy.example:3128"))) == "http://proxy.example:3128"
    assert Hop("http", "proxy.example", 3128).credentials is None
    with pytest.raises(SettingsError, match=r"upstreams\.far\.url"):
        Hop.of("far", Upstream(url="ftp://proxy.example:3128"))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, ReplyCode.SUCCEEDED),
        (299, ReplyCode.SUCCEEDED),
        (302, ReplyCode.GENERAL_FAILURE),
        (401, ReplyCode.GENERAL_FAILURE),
        (403, ReplyCode.NOT_ALLOWED),
        (407, ReplyCode.NOT_ALLOWED),
        (500, ReplyCode.GENERAL_FAILURE),
        (502, ReplyCode.HOST_UNREACHABLE),
        (503, ReplyCode.HOST_UNREACHABLE),
        (504, ReplyCode.HOST_UNREACHABLE),
    ],
)
def test_status_to_reply(status: int, code: ReplyCode) -> None:
    assert reply_of_status(status) is code
