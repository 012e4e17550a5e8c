"""censor/profiles/__init__.py"""

from __future__ import annotations

import tomllib

import pytest

from censor import profiles


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
