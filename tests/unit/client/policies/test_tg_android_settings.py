from __future__ import annotations

import msgspec
import pytest

from client.policies.tg_android_settings import TgAndroidSettings
from sidedoor.settings import SettingsError, convert


def test_they_survive_json() -> None:
    settings = TgAndroidSettings(proxies="rotation", idle_seconds=25.0)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=TgAndroidSettings) == settings


def test_a_mistake_in_a_value_names_what_is_possible() -> None:
    with pytest.raises(SettingsError, match=r"`proxies`.*off, rotation"):
        convert({"name": "tg-android", "proxies": "on"}, TgAndroidSettings)


def test_the_longest_wait_is_that_of_the_first_connection() -> None:
    assert TgAndroidSettings().stage_seconds == 12.0
    assert TgAndroidSettings(reconnect_seconds=20.0).stage_seconds == 20.0
