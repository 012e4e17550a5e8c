"""censor/profiles/__init__.py"""

from __future__ import annotations

import tomllib

import pytest

from censor import profiles
from censor.rules_file import profile_rules
from sidedoor.settings import SettingsError


def test_names_are_in_order_and_have_texts() -> None:
    names = profiles.names()
    assert list(names) == sorted(names)
    assert {"ip-2017", "telegram-2018", "tspu-2021-throttle", "tspu-2022", "tspu-2025-freeze"} <= set(names)
    assert all("profile" in tomllib.loads(profiles.text(name)) for name in names)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tspu-2202", r"no profile 'tspu-2202'; did you mean tspu-2022\?"),
        ("x", r"no profile 'x' \(there are: .*ip-2017"),
    ],
)
def test_an_unknown_name(name: str, says: str) -> None:
    with pytest.raises(KeyError) as caught:
        profiles.text(name)
    with pytest.raises(SettingsError, match=says):
        profile_rules(name)
    assert caught.value.args[0].startswith(f"no profile '{name}'")


def test_names_are_those_of_the_files() -> None:
    names = profiles.names()
    assert list(names) == sorted(names)
    assert "gfw-rst" in names
    assert all(tomllib.loads(profiles.text(name))["profile"]["title"] for name in names)


def test_an_unknown_name_is_told_with_the_nearest_and_all() -> None:
    with pytest.raises(KeyError) as caught:
        profiles.text("gfw-rts")
    message = str(caught.value.args[0])
    assert message.startswith("no profile 'gfw-rts'; did you mean gfw-rst? (there are: ")
    with pytest.raises(KeyError, match="no profile 'zzz' "):
        profiles.text("zzz")


def test_what_is_outside_the_folder_is_none() -> None:
    with pytest.raises(KeyError):
        profiles.text("../profiles/gfw-rst")
