"""Every mistake in a settings file names the file, the key and what to do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sidedoor.settings import SettingsError, convert, parse, read


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ports: list[int] = []


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    idle_seconds: float = 60.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:1080"
    limits: Limits | None = None
    rules: list[Rule] = []
    named: dict[str, Rule] = {}


def complaint(text: str) -> str:
    with pytest.raises(SettingsError) as error:
        parse(text, Settings, origin="proxy.toml")
    message = str(error.value)
    assert message.startswith("proxy.toml: ")
    assert "\n" not in message
    return message.removeprefix("proxy.toml: ")


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('listen = "[::1]:1080"\n[limits]\nidle-seconds = 5\n[[rules]]\nname = "a"\nports = [443]\n')
    assert read(path, Settings) == Settings("[::1]:1080", Limits(5.0), [Rule("a", [443])])


def test_an_empty_file_is_the_defaults() -> None:
    assert parse("", Settings) == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listn = 1", "key `listn` is unknown; did you mean `listen`?"),
        ("zzz = 1", "key `zzz` is unknown; known here: limits, listen, named, rules"),
        ("[limits]\nidle-second = 1", "key `limits.idle-second` is unknown; did you mean `idle-seconds`?"),
        ('[[rules]]\nnam = "a"', "did you mean `name`?"),
        ('[named.first]\nnam = "a"', "did you mean `name`?"),
    ],
)
def test_an_unknown_key_and_the_nearest_right_one(text: str, expected: str) -> None:
    assert expected in complaint(text)


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("listen = 1080", "key `listen`:", "found 1080"),
        ("[limits]\nidle-seconds = 'long'", "key `limits.idle-seconds`:", "found 'long'"),
        ("[[rules]]\nname = 'a'\n[[rules]]\nname = 'b'\nports = [1, 'x']", "key `rules[1].ports[1]`:", "found 'x'"),
        ("[[rules]]\nports = []", "key `rules[0]`:", "found {'ports': []}"),
    ],
)
def test_a_wrong_value_with_its_place(text: str, key: str, found: str) -> None:
    message = complaint(text)
    assert message.startswith(key)
    assert message.endswith(found)


def test_no_toml() -> None:
    assert complaint("listen = ").startswith("not valid TOML: ")


def test_the_top_level_itself_has_the_wrong_type() -> None:
    with pytest.raises(SettingsError, match="settings: Expected `object`, got `array`"):
        convert([], Settings)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file or directory"):
        read(tmp_path / "none.toml", Settings)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"a = 1\n\xff")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text \(byte 6\)"):
        read(path, Settings)
