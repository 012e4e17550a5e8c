"""censor/prober/settings.py"""

from __future__ import annotations

import pytest

from censor.prober.settings import ProberSettings, parse_address
from proxy.wire import Address
from sidedoor.settings import SettingsError, parse


def test_a_file_says_what_it_says() -> None:
    settings = parse('probes = ["replay", "tls"]\ndelay = [0, 1.5]\ndestination = "[2001:db8::1]:9"\n', ProberSettings)
    assert (settings.probes, settings.delay, settings.block_seconds) == (("replay", "tls"), (0, 1.5), 180)
    assert parse('delay = "imc2020"\n', ProberSettings) == ProberSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('probes = ["socks5"]', "probes"),
        ("probes = []", "probes"),
        ('probes = ["tls", "tls"]', "names a probe twice"),
        ("delay = [2.0, 1.0]", "2 is more than 1"),
        ("delay = [-1.0, 1.0]", "delay"),
        ('delay = "imc2021"', "delay"),
        ("time_scale = 0", "time_scale"),
        ("concurrency = 0", "concurrency"),
        ("convict_probability = 1.1", "convict_probability"),
        ('verdict = ["socks"]', "verdict"),
        ('destination = "192.0.2.1"', "`destination`: '192.0.2.1': expected HOST:PORT"),
        ("block_second = 1", "did you mean `block_seconds`"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(text, ProberSettings)


def test_addresses() -> None:
    assert parse_address("192.0.2.1:80") == Address.of("192.0.2.1", 80)
    assert parse_address("[2001:db8::1]:443") == Address.of("2001:db8::1", 443)
    assert parse_address("a.example:65535") == Address.of("a.example", 65535)


@pytest.mark.parametrize("text", ["", "a", ":80", "a:", "a:0", "a:65536", "a:+1", "a:\u0663", "2001:db8::1:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        parse_address(text)
