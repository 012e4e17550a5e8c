from __future__ import annotations

import msgspec
import pytest

from client.policies.sidedoor_settings import SidedoorSettings
from sidedoor.settings import SettingsError, convert


def test_every_constant_is_explained() -> None:
    documentation = SidedoorSettings.__doc__ or ""
    assert not [field for field in SidedoorSettings.__struct_fields__ if f"`{field}`" not in documentation]


def test_a_misspelt_key_is_named_with_the_right_one() -> None:
    with pytest.raises(SettingsError, match=r"`probe_second`.*did you mean `probe_seconds`"):
        convert({"name": "sidedoor", "probe_second": 1.0}, SidedoorSettings)


def test_who_shows_no_proxy_at_the_start_cannot_show_four() -> None:
    with pytest.raises(SettingsError, match=r"first_proxies: needs standby = \"warm\""):
        convert({"name": "sidedoor", "standby": "cold", "first_proxies": 4}, SidedoorSettings)


def test_they_survive_json() -> None:
    settings = SidedoorSettings(standby="cold", probe_seconds=0.5)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=SidedoorSettings) == settings
