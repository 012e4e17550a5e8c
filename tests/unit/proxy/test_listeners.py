import pytest

from proxy.listeners import bind, name_of
from sidedoor.settings import UsageError


def test_name_of() -> None:
    assert name_of(("127.0.0.1", 1080)) == "127.0.0.1:1080"
    assert name_of(("::1", 1080, 0, 0)) == "[::1]:1080"


def test_a_malformed_address() -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        bind(["1080"])
