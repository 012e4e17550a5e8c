"""Every mistake in a settings file names the file, the key and what to do."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from sidedoor.settings import SettingsError, convert, parse, read


class Action(enum.StrEnum):
    REJECT = "reject"
    DROP = "drop"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ports: list[int] = []
    action: Action | None = None

    def __post_init__(self) -> None:
        if self.ports == [0]:
            raise ValueError("port 0 is none")


class Direct(msgspec.Struct, frozen=True, tag_field="kind", tag="direct"):
    pass


class Proxied(msgspec.Struct, frozen=True, tag_field="kind", tag="socks5"):
    host: str


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    idle_seconds: float = 60.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:1080"
    limits: Limits | None = None
    rules: list[Rule] = []
    named: dict[str, Rule] = {}
    family: Annotated[Literal["ipv4", "ipv6"], msgspec.Meta(description="of addresses")] = "ipv4"
    version: Literal[4, 5] = 5
    route: Direct | Proxied = Direct()


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
        ("zzz = 1", "key `zzz` is unknown; known here: family, limits, listen, named, route, rules, version"),
        ("[limits]\nidle-second = 1", "key `limits.idle-second` is unknown; did you mean `idle-seconds`?"),
        ('[[rules]]\nnam = "a"', "key `rules[0].nam` is unknown; did you mean `name`?"),
        ('[[rules]]\nname = "a"\nport = 1', "key `rules[0].port` (rules 'a') is unknown; did you mean `ports`?"),
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
        (
            "[[rules]]\nname = 'a'\n[[rules]]\nname = 'b'\nports = [1, 'x']",
            "key `rules[1].ports[1]` (rules 'b'):",
            "found 'x'",
        ),
        ("[[rules]]\nname = 'a'\nports = [0]", "key `rules[0]` (rules 'a'):", "port 0 is none"),
        ("[named]\nfirst = 1", "key `named[...]`:", "Expected `object`, got `int`"),
    ],
)
def test_a_wrong_value_with_its_place(text: str, key: str, found: str) -> None:
    message = complaint(text)
    assert message.startswith(key)
    assert message.endswith(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\n[[rules]]\nports = []", "key `rules[0].name` is missing"),
        ("[named.first]\nports = []", "key `named[...].name` is missing"),
        ('[route]\nkind = "socks5"', "key `route.host` is missing"),
    ],
)
def test_a_key_that_is_missing(text: str, expected: str) -> None:
    assert complaint(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[[rules]]\nname = 'a'\naction = 'dropp'",
            "key `rules[0].action` (rules 'a'): expected one of reject, drop; found 'dropp'; did you mean `drop`?",
        ),
        ("family = 'ipv5'", "key `family`: expected one of ipv4, ipv6; found 'ipv5'; did you mean"),
        ("family = 'osi'", "key `family`: expected one of ipv4, ipv6; found 'osi'"),
        ("version = 6", "key `version`: expected one of 4, 5; found 6"),
        ("route = {kind = 'sock5'}", "key `route.kind`: expected one of direct, socks5; found 'sock5'; did you mean"),
    ],
)
def test_a_value_that_is_none_of_a_few(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rules]\nname = 'a'", "key `rules`: expected an array of tables, found one table; write [[rules]]"),
        ("[[limits]]\nidle-seconds = 1", "key `limits`: expected one table, found an array; write [limits]"),
        ("[[rules]]\nname = 'a'\nports = {}", "key `rules[0].ports` (rules 'a'): Expected `array`, got `object`"),
        ("named = []", "key `named`: Expected `object`, got `array`; found []"),
    ],
)
def test_brackets_too_few_and_too_many(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


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
