import re
from pathlib import Path

import msgspec
import pytest

from proxy.settings import (
    Admin,
    Listener,
    ProxySettings,
    ResolverSettings,
    Rule,
    UdpSettings,
    Upstream,
    User,
    parse_listen,
    parse_server,
    parse_upstream,
)
from sidedoor.settings import SettingsError, parse


def test_the_defaults_are_sound() -> None:
    ProxySettings().check()


def test_from_toml() -> None:
    settings = parse('listen = ["[::1]:1080"]\nusers = {anna = "secret"}\nidle_seconds = 5', ProxySettings)
    assert settings.listen == ("[::1]:1080",)
    assert settings.users == {"anna": "secret"}
    settings.check()


def test_an_unknown_key_is_named_with_the_nearest_right_one() -> None:
    with pytest.raises(SettingsError, match=r"`lisen` is unknown; did you mean `listen`"):
        parse('lisen = ["x"]', ProxySettings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('users.anna = {pasword = "x"}', "key `users.anna.pasword` is unknown; did you mean `password`?"),
        (
            "users.anna = 1234",
            "key `users.anna`: expected a string or a table with `password`; found an integer, not shown",
        ),
        ("listen = [1]", "key `listen[0]`: expected a string or a table with `address`; found the integer 1"),
        ("udp = 3", "key `udp`: expected a table; found the integer 3"),
        ("[admin]", "key `admin.listen` is missing; expected a string"),
        (
            '[[rules]]\naction = "alow"',
            "key `rules[0].action`: expected one of allow, deny; found 'alow'; did you mean `allow`?",
        ),
        (
            '[[rules]]\nname = "web"\naction = "allow"\ndestination = []',
            "key `rules[0].destination` (rules 'web') is unknown; did you mean `destinations`?",
        ),
        (
            '[[rules]]\naction = "allow"\nports = [443.0]',
            "key `rules[0].ports[0]`: expected an integer or a string; found the number 443.0",
        ),
        ('upstreams.far = "http://x"', "key `upstreams.far`: expected a table with `url`; found a string, not shown"),
    ],
)
def test_what_does_not_fit_the_types_is_named_with_what_does(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(text, ProxySettings, origin="proxy.toml")
    assert str(error.value) == f"proxy.toml: {expected}"


@pytest.mark.parametrize("address", ["0.0.0.0:1080", "[::]:1080", "192.0.2.1:1080", "proxy.example:1080"])
def test_beyond_loopback_needs_users_or_open(address: str) -> None:
    with pytest.raises(SettingsError, match="--open"):
        ProxySettings(listen=(address,)).check()
    ProxySettings(listen=(address,), open=True).check()
    ProxySettings(listen=(address,), users={"anna": ""}).check()


def test_a_load_balancers_clients_need_users_or_open_wherever_it_is() -> None:
    listener = Listener(address="127.0.0.1:1080", proxy_protocol_from=("127.0.0.1",))
    with pytest.raises(SettingsError, match="has proxy_protocol_from and there are no users"):
        ProxySettings(listen=(listener,)).check()
    ProxySettings(listen=(listener,), open=True).check()
    ProxySettings(listen=(listener,), users={"anna": ""}).check()


@pytest.mark.parametrize("address", ["127.0.0.1:1080", "127.1.2.3:0", "[::1]:1", "localhost:65535"])
def test_loopback_needs_neither(address: str) -> None:
    ProxySettings(listen=(address,)).check()


@pytest.mark.parametrize(
    "settings",
    [
        ProxySettings(listen=()),
        ProxySettings(listen=("127.0.0.1:1080", "127.0.0.1:1080")),
        ProxySettings(protocols=()),
        ProxySettings(handshake_seconds=0),
        ProxySettings(connect_seconds=-1),
        ProxySettings(max_handshakes=0),
        ProxySettings(users={"u" * 256: ""}),
        ProxySettings(users={"u": "é" * 128}),
        ProxySettings(users={"u": User(password="", max_flows=-1)}),
        ProxySettings(users={"u": User(password="", quota_seconds=0)}),
        ProxySettings(drain_seconds=-1),
        ProxySettings(drain_seconds=float("inf")),
        ProxySettings(listen=(Listener(address="127.0.0.1:1", certificate="c.pem"),)),
        ProxySettings(listen=(Listener(address="127.0.0.1:1", key="k.pem"),)),
        ProxySettings(listen=(Listener(address="127.0.0.1:1", proxy_protocol_from=("192.0.2.1/24",)),)),
        ProxySettings(via="nobody"),
        ProxySettings(rules=(Rule(action="allow", via="nobody"),)),
        ProxySettings(egress=("192.0.2.1", "192.0.2.2")),
        ProxySettings(rules=(Rule(action="allow", egress=("here",)),)),
        ProxySettings(resolver=ResolverSettings(kind="dns")),
        ProxySettings(resolver=ResolverSettings(kind="dns", servers=("dns.example:53",))),
        ProxySettings(resolver=ResolverSettings(kind="doh", url="http://dns.example/")),
        ProxySettings(resolver=ResolverSettings(cache_names=-1)),
        ProxySettings(udp=UdpSettings(advertise="here")),
        ProxySettings(udp=UdpSettings(idle_seconds=0)),
        ProxySettings(admin=Admin(listen="0.0.0.0:9080")),
        ProxySettings(admin=Admin(listen="unix:")),
        ProxySettings(admin=Admin(listen="unix:/" + "x" * 107)),
        ProxySettings(connect_seconds=1e308),
        ProxySettings(workers=100_000),
    ],
)
def test_what_fits_the_types_and_makes_no_sense(settings: ProxySettings) -> None:
    with pytest.raises(SettingsError):
        settings.check()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:1080", ("127.0.0.1", 1080)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_parse_listen(address: str, expected: tuple[str, int]) -> None:
    assert parse_listen(address) == expected


@pytest.mark.parametrize(
    "address", ["", "1080", ":1080", "::1:1080", "host", "host:", "host:x", "host:-1", "host:65536", "[host]:1", "h:١"]
)
def test_parse_listen_refuses(address: str) -> None:
    with pytest.raises(SettingsError, match="HOST:PORT"):
        parse_listen(address)


def test_everything_at_once_makes_sense() -> None:
    ProxySettings(
        listen=("127.0.0.1:0", Listener(address="[::]:1443", certificate="c.pem", key="k.pem")),
        users={"anna": User(password="secret", max_flows=2), "bert": ""},
        upstreams={"far": Upstream(url="socks5://192.0.2.1:1080")},
        via="far",
        rules=(Rule(action="allow", via="far", egress=("192.0.2.1", "2001:db8::1")),),
        resolver=ResolverSettings(kind="dns", servers=("192.0.2.53", "[2001:db8::53]:5353")),
        admin=Admin(listen="unix:/run/sidedoor.sock"),
    ).check()
    ProxySettings(admin=Admin(listen="127.0.0.1:0")).check()


@pytest.mark.parametrize("key", ["users", "sources", "destinations", "ports", "commands", "egress"])
def test_an_empty_list_in_a_rule_is_an_error(key: str) -> None:
    """What a template leaves empty must not match everything."""
    with pytest.raises(SettingsError, match=rf"`rules\[0\]\.{key}`: is empty; expected at least one"):
        parse(f'[[rules]]\naction = "allow"\n{key} = []', ProxySettings)
    settings = ProxySettings(rules=(Rule(action="allow", ports=(1,)),))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=ProxySettings) == settings


def test_short_forms_become_tables() -> None:
    settings = ProxySettings(listen=("127.0.0.1:1",), users={"anna": "secret"})
    assert settings.listeners == (Listener(address="127.0.0.1:1"),)
    assert settings.accounts == {"anna": User(password="secret")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("2001:db8::1", ("2001:db8::1", 53)), ("192.0.2.1:54", ("192.0.2.1", 54))],
)
def test_parse_server(text: str, expected: tuple[str, int]) -> None:
    assert parse_server(text) == expected


def test_parse_upstream() -> None:
    assert parse_upstream("far", "http://[::1]:8080") == ("http", "::1", 8080)


@pytest.mark.parametrize(
    "url", ["", "socks5:/x:1", "https://x:1", "socks5://u:p@x:1", "socks5://x", "http://x:1/path", "socks5://"]
)
def test_parse_upstream_refuses(url: str) -> None:
    with pytest.raises(SettingsError, match=r"upstreams\.far\.url"):
        parse_upstream("far", url)


def test_a_password_in_an_upstreams_url_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"//\*\*\*@x:1") as error:
        parse_upstream("far", "socks5://anna:secret@x:1")
    assert "secret" not in str(error.value)


def test_the_docs_say_of_every_key_whether_a_reload_changes_it() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/proxy-operation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:a reload|a restart only) \| (.*) \|$", text, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([^`]*)`", row)]
    assert len(rows) == 2
    assert sorted(named) == sorted(
        {"..._seconds" if key.endswith("_seconds") else key for key in ProxySettings.__struct_fields__}
    )


def test_the_repr_of_settings_shows_no_password() -> None:
    settings = ProxySettings(
        users={"anna": "secret-1", "bert": User(password="secret-2", max_flows=2), "nobody": ""},
        upstreams={"far": Upstream(url="http://carl:secret-3@192.0.2.1:80", user="carl", password="secret-4")},
        resolver=ResolverSettings(kind="doh", url="https://dora:secret-5@dns.example/"),
    )
    shown = f"{settings!r} {settings.accounts!r} {settings.__rich_repr__()!r}"
    assert "secret" not in shown
    for name in ("'anna': '***'", "User(password='***', max_flows=2,", "//***@192.0.2.1", "//***@dns", "user='carl'"):
        assert name in shown
    assert repr(User(password="")).startswith("User(password='',")


def test_the_manual_has_every_key() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/proxy.md").read_text(encoding="utf-8")
    table = text.partition("## Settings")[2].partition("## Replies")[0]
    named = set(re.findall(r"`\.?([a-z_]+)`|`[a-z_]+(?:\[\]|\.\*)\.([a-z_]+)`", table))
    keys = {key for pair in named for key in pair if key}
    for type_ in (ProxySettings, Listener, User, Upstream, UdpSettings, Admin):
        assert {field.encode_name for field in msgspec.structs.fields(type_)} <= keys | {"address"}, type_
