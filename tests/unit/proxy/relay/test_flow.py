import pytest

from proxy.relay.flow import Ended, Limits, Reason, is_loopback


def test_flows_are_looked_at_often_enough_for_the_shorter_limit() -> None:
    assert Limits(3600, 60).sweep_seconds == 5
    assert Limits(3600, 2).sweep_seconds == 0.5
    assert Limits(1, 60).sweep_seconds == 0.25


def test_reasons_are_words_for_the_events() -> None:
    assert [reason.value for reason in Reason] == [
        "eof",
        "client_reset",
        "target_reset",
        "idle",
        "half_closed",
        "quota",
        "closed",
        "stopped",
    ]
    assert Ended(1, 2, Reason.EOF) == Ended(1, 2, Reason.EOF)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.127", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_addresses_of_the_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
