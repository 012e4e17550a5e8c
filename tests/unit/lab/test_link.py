"""The FIFO of held verdicts: what is due when, and how long to wait."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from lab.link import HeldPackets, JitteredPackets, LinkSettings, ends_of
from sidedoor.settings import SettingsError, parse


def test_nothing_held_waits_for_ever_and_releases_nothing() -> None:
    held = HeldPackets(0.02)
    assert held.wait_seconds(5.0) is None
    assert held.due(5.0) is None


def test_a_packet_goes_after_the_delay_and_only_once() -> None:
    held = HeldPackets(0.02)
    held.hold(7, 10.0)
    assert held.wait_seconds(10.005) == pytest.approx(0.015)
    assert held.due(10.019) is None
    assert held.due(10.0201) == 7
    assert held.due(10.1) is None
    assert held.wait_seconds(10.1) is None


def test_what_is_overdue_does_not_wait() -> None:
    held = HeldPackets(0.02)
    held.hold(1, 10.0)
    assert held.wait_seconds(11.0) == 0.0


def test_one_id_releases_every_batch_that_is_due_and_no_later_one() -> None:
    held = HeldPackets(0.01)
    for last_id, t in ((64, 1.000), (128, 1.001), (129, 1.002), (140, 1.005)):
        held.hold(last_id, t)
    assert held.due(1.0121) == 129
    assert held.wait_seconds(1.0121) == pytest.approx(0.0029)
    assert held.due(float("inf")) == 140


def jittered(*drawn: float) -> JitteredPackets:
    """Of 20 ms, 5 ms more or less; `drawn` are the numbers from 0 to 1, one for each packet."""
    numbers: Iterator[float] = iter(drawn)
    return JitteredPackets(0.02, 0.005, lambda: next(numbers))


HOME, AWAY = b"home" + b"away", b"away" + b"home"


def test_with_jitter_each_packet_has_a_delay_of_its_own() -> None:
    held = jittered(0.0, 1.0, 0.5)
    assert held.wait_seconds(0.0) is None
    for id_ in (1, 2, 3):
        held.hold(id_, bytes([id_]), 10.0)
    assert held.wait_seconds(10.0) == pytest.approx(0.015)
    assert held.due(10.0149) == []
    assert held.due(10.0151) == [1]
    assert held.due(10.1) == [3, 2]
    assert held.wait_seconds(11.0) is None


def test_between_two_addresses_no_packet_overtakes_another() -> None:
    held = jittered(1.0, 0.0, 0.0)
    held.hold(1, HOME, 10.0)
    held.hold(2, HOME, 10.001)
    held.hold(3, AWAY, 10.002)
    assert held.due(10.0171) == [3]
    assert held.due(10.0249) == []
    assert held.due(10.0251) == [1, 2]


def test_what_is_overdue_with_jitter_does_not_wait() -> None:
    held = jittered(1.0)
    held.hold(1, HOME, 10.0)
    assert held.wait_seconds(11.0) == 0.0


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        (bytes(IP(src="192.0.2.1", dst="198.51.100.2", proto=6)), bytes([192, 0, 2, 1, 198, 51, 100, 2])),
        (bytes(IPv6(src="2001:db8::1", dst="2001:db8::2")), bytes(IPv6(src="2001:db8::1", dst="2001:db8::2"))[8:]),
    ],
)
def test_ends_are_the_addresses(packet: bytes, ends: bytes) -> None:
    assert ends_of(packet[:40]) == ends


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("delay_seconds = 0.01\njitter_seconds = 0.02", "`jitter_seconds` .0.02. is more than `delay_seconds`"),
        ("mode = 'netem'\nloss = 0.01", '`mode` = "netem" is for delay alone'),
        ("mode = 'netem'\njitter_seconds = 0.01", '`mode` = "netem" is for delay alone'),
        ("loss = 1.5", "loss"),
    ],
)
def test_settings_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(text, LinkSettings)


def test_settings_from_text() -> None:
    assert parse("delay_seconds = 0.05\nmode = 'user'", LinkSettings) == LinkSettings(delay_seconds=0.05, mode="user")
    with pytest.raises(SettingsError, match="did you mean `delay_seconds`"):
        parse("delay_second = 0.05", LinkSettings)
