import pytest

from proxy.settings import ProxySettings, parse_listen
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


@pytest.mark.parametrize("address", ["0.0.0.0:1080", "[::]:1080", "192.0.2.1:1080", "proxy.example:1080"])
def test_beyond_loopback_needs_users_or_open(address: str) -> None:
    with pytest.raises(SettingsError, match="--open"):
        ProxySettings(listen=(address,)).check()
    ProxySettings(listen=(address,), open=True).check()
    ProxySettings(listen=(address,), users={"anna": ""}).check()


@pytest.mark.parametrize("address", ["127.0.0.1:1080", "127.1.2.3:0", "[::1]:1", "localhost:65535"])
def test_loopback_needs_neither(address: str) -> None:
    ProxySettings(listen=(address,)).check()


@pytest.mark.parametrize(
    "settings",
    [
        ProxySettings(listen=()),
        ProxySettings(handshake_seconds=0),
        ProxySettings(connect_seconds=-1),
        ProxySettings(max_handshakes=0),
        ProxySettings(users={"u" * 256: ""}),
        ProxySettings(users={"u": "é" * 128}),
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
