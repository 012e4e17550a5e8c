"""Every mistake in settings: one line with the key, what was found and what is expected; no secret in it."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest

from sidedoor.settings import Secret, SettingsError, convert, parse


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


class Direct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="direct"):
    pass


class Proxied(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="socks5"):
    host: str
    tries: Annotated[int, msgspec.Meta(ge=2, le=16)] = 3


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    idle_seconds: float = 60.0


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    password: Secret
    flows: int = 0
    nested: dict[str, Rule] = {}


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    children: list[Tree] = []


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: tuple[str | Rule, ...] = ()
    open: bool = False
    limits: Limits | None = None
    rules: list[Rule] = []
    named: dict[str, Rule] = {}
    users: dict[str, Secret | User] = {}
    family: Annotated[Literal["ipv4", "ipv6"], msgspec.Meta(description="of addresses")] = "ipv4"
    protocols: tuple[Literal["http", "socks5"], ...] = ()
    passwords: list[Secret] = []
    short: Annotated[Secret, msgspec.Meta(max_length=2)] = ""
    share: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    version: Literal[4, 5] = 5
    route: Direct | Proxied = Direct()
    tree: Tree = Tree()
    since: date | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    noted: datetime | None = None
    title: Annotated[str, msgspec.Meta(min_length=1)] = "-"
    pause: Annotated[float, msgspec.Meta(gt=0.5)] = 1.0
    routes: list[Direct | Proxied] = []
    matrix: list[list[int]] = []
    dates: list[date] = []
    marks: set[int] = set()


def complaint(text: str) -> str:
    with pytest.raises(SettingsError) as error:
        parse(text, Settings, origin="proxy.toml")
    message = str(error.value)
    assert message.startswith("proxy.toml: key `")
    assert "\n" not in message
    return message.removeprefix("proxy.toml: key ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listn = 1", "`listn` is unknown; did you mean `listen`?"),
        ("[limits]\nidle-second = 1", "`limits.idle-second` is unknown; did you mean `idle-seconds`?"),
        ("[limits]\nzzz = 1", "`limits.zzz` is unknown; known here: idle-seconds"),
        ('[[rules]]\nnam = "a"', "`rules[0].nam` is unknown; did you mean `name`?"),
        ('[[rules]]\nname = "a"\nport = 1', "`rules[0].port` (rules 'a') is unknown; did you mean `ports`?"),
        ('[named.first]\nnam = "a"', "`named.first.nam` is unknown; did you mean `name`?"),
        ('[users]\nbert = "x"\nanna = {pasword = "x"}', "`users.anna.pasword` is unknown; did you mean `password`?"),
        (
            "[limits]\nfamily = 'ipv4'",
            "`limits.family` is unknown; it belongs to the top level: write it above the first [table]",
        ),
        (
            "[route]\nkind = 'direct'\nhost = 'h'",
            "`route.host` is unknown where `kind` is 'direct'; known here: kind",
        ),
        (
            "[[routes]]\nkind = 'direct'\n[[routes]]\nkind = 'socks5'\nhosts = 'h'",
            "`routes[1].hosts` is unknown where `kind` is 'socks5'; did you mean `host`?",
        ),
    ],
)
def test_an_unknown_key_and_the_nearest_right_one(text: str, expected: str) -> None:
    assert complaint(text) == expected


def test_a_key_that_is_near_to_none_gets_a_list_of_all() -> None:
    assert complaint("zzz = 1").startswith("`zzz` is unknown; known here: dates, family, limits, listen, ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listen = [1]", "`listen[0]`: expected a string or a table with `name`; found the integer 1"),
        ("listen = [1.5]", "`listen[0]`: expected a string or a table with `name`; found the number 1.5"),
        ("open = 'yes'", "`open`: expected true or false; found the string 'yes'"),
        ("[limits]\nidle-seconds = 'long'", "`limits.idle-seconds`: expected a number; found the string 'long'"),
        ("limits = true", "`limits`: expected a table; found true"),
        ("limits = 2026-01-31", "`limits`: expected a table; found 2026-01-31"),
        (
            "[[rules]]\nname = 'a'\n[[rules]]\nname = 'b'\nports = [1, 'x']",
            "`rules[1].ports[1]` (rules 'b'): expected an integer; found the string 'x'",
        ),
        ("[[rules]]\nname = 'a'\nports = [0]", "`rules[0]` (rules 'a'): port 0 is none"),
        ("named = []", "`named`: expected a table; found an array"),
        ("[named]\nfirst = 1", "`named.first`: expected a table with `name`; found the integer 1"),
        (
            "[named.'a b'.ports]",
            '`named."a b".ports`: expected an array of integers; found a table',
        ),
        ("[users.anna]\npassword = ''\nnested = {a = 1}", "`users.anna.nested.a`: expected a table with `name`; found"),
        ("share = -1", "`share`: expected a number of at least 0; found the integer -1"),
        ("pause = 0.5", "`pause`: expected a number above 0.5; found the number 0.5"),
        ("route = {kind = 'socks5', host = 'h', tries = 17}", "`route.tries`: expected an integer from 2 to 16; found"),
        ("title = ''", "`title`: is empty; expected at least one character"),
        ("until = 2027-01-31T00:00:00", "`until`: expected a time with its zone, as 2027-01-31T00:00:00Z; found 2027"),
        ("noted = 5", "`noted`: expected a time; found the integer 5"),
        ("since = 5", "`since`: Expected `date | null`, got `int`; found the integer 5"),
        ("matrix = [5]", "`matrix[0]`: expected an array of integers; found the integer 5; put it in brackets"),
        ("matrix = 5", "`matrix`: expected an array of arrays; found the integer 5; put it in brackets"),
        ("dates = 5", "`dates`: expected an array; found the integer 5; put it in brackets"),
        ("rules = [{name = '', action = 5}]", "`rules[0].action` (rules ''): expected one of reject, drop; found the"),
        ("protocols = 'http'", "`protocols`: expected an array of any of http, socks5; found the string 'http'; put"),
    ],
)
def test_a_wrong_value_and_what_is_expected(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "users.anna = 918273",
        "users.anna = true",
        "users.anna = 2026-09-18",
        "users.anna.password = 918273",
        "users.anna.password = 918273.5",
        "users.anna = ['918273']",
        "users = 'anna:918273'",
        "passwords = [918273]",
        "passwords = 918273",
        "short = '918273'",
    ],
)
def test_a_secret_is_not_shown(text: str) -> None:
    message = complaint(text)
    assert not any(secret in message for secret in ("918273", "true", "2026"))
    assert "expected" in message.lower()
    assert message.partition("; put")[0].endswith(("not shown", "; found an array"))


def test_a_type_that_holds_itself() -> None:
    assert complaint("tree = {children = [5]}") == "`tree.children[0]`: expected a table; found the integer 5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\n[[rules]]\nports = []", "`rules[0].name` is missing; expected a string"),
        ("[named.first]\nports = []", "`named.first.name` is missing; expected a string"),
        ("users.anna = {}", "`users.anna.password` is missing; expected a string"),
        ('[route]\nkind = "socks5"', "`route.host` is missing; expected a string"),
    ],
)
def test_a_key_that_is_missing(text: str, expected: str) -> None:
    assert complaint(text) == expected


def test_a_missing_key_of_a_type_that_has_no_word_in_toml() -> None:
    class Moment(msgspec.Struct):
        at: date

    with pytest.raises(SettingsError, match=r"key `at` is missing$"):
        convert({}, Moment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[[rules]]\nname = 'a'\naction = 'dropp'",
            "`rules[0].action` (rules 'a'): expected one of reject, drop; found 'dropp'; did you mean `drop`?",
        ),
        ("family = 'ipv5'", "`family`: expected one of ipv4, ipv6; found 'ipv5'; did you mean"),
        ("family = 'osi'", "`family`: expected one of ipv4, ipv6; found 'osi'"),
        ("version = 6", "`version`: expected one of 4, 5; found 6"),
        ("route = {kind = 'sock5'}", "`route.kind`: expected one of direct, socks5; found 'sock5'; did you mean"),
    ],
)
def test_a_value_that_is_none_of_a_few(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rules]\nname = 'a'", "`rules`: expected an array of tables, found one table; write [[rules]]"),
        ("[listen]\nname = 'a'", "`listen`: expected an array of strings or tables, found one table; write [[listen]]"),
        ("[[limits]]\nidle-seconds = 1", "`limits`: expected a table, found an array; write [limits]"),
    ],
)
def test_brackets_too_few_and_too_many(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


def test_a_brackets_hint_has_the_whole_header() -> None:
    assert complaint("[[users.anna]]\npassword = ''").endswith("found an array; write [users.anna], in single brackets")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"named": {1: {"name": ""}}}, "settings: Expected `str`, got `int` - at `key` in `$.named`"),
        ({"marks": {"x"}}, "key `marks[0]`: expected an integer"),
        ({"listen": [None]}, "key `listen[0]`: expected a string or a table with `name`; found None"),
    ],
)
def test_what_toml_cannot_say(data: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        convert(data, Settings)
    assert expected in str(error.value)


def test_a_mistake_that_no_value_makes_alone() -> None:
    made: list[int] = []

    class Third(msgspec.Struct):
        def __post_init__(self) -> None:
            made.append(1)
            if len(made) == 3:
                raise ValueError("three are too many")

    with pytest.raises(SettingsError, match=r"three are too many"):
        convert({"a": {}, "b": {}, "c": {}}, dict[str, Third])
