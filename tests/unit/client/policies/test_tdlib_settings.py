from __future__ import annotations

import msgspec
import pytest

from client.policies.tdlib_settings import TdlibSettings


@pytest.mark.parametrize(("rtt", "r"), [(0.0, 2.0), (0.6, 2.0), (2.0, 4.0)])
def test_r_is_the_larger_of_2_s_and_one_and_a_half_rtt_and_a_second(rtt: float, r: float) -> None:
    settings = TdlibSettings()
    assert settings.pause(settings.pong_factor, 135.0, rtt) == 2.5 * r
    assert settings.pause(settings.read_factor, 135.0, rtt) == 3.5 * r


def test_not_online_the_pauses_are_fixed() -> None:
    assert TdlibSettings(online=False).pause(2.5, 135.0, 4.0) == 135.0


def test_they_survive_json() -> None:
    settings = TdlibSettings(proxies="user", online_limits=((1.0, 2),))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=TdlibSettings) == settings
