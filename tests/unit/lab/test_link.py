"""The FIFO of held verdicts: what is due when, and how long to wait."""

import pytest

from lab.link import HeldPackets, LinkSettings
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


def test_settings_from_text() -> None:
    assert parse("delay_seconds = 0.05\nmode = 'user'", LinkSettings) == LinkSettings(delay_seconds=0.05, mode="user")
    with pytest.raises(SettingsError, match="did you mean `delay_seconds`"):
        parse("delay_second = 0.05", LinkSettings)
