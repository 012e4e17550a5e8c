"""From options and a settings file to settings: what an option gives goes over the file; what is missing is named."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from client.origin import parse_address
from client.settings import ProxyListSettings, Socks5Route
from sidedoor.settings import SettingsError, UsageError, convert, read

T = TypeVar("T", bound=msgspec.Struct)

_ORDER = ("name", "peer", "origin", "ca_file", "listen", "certificate", "key")


def make_settings(config: str | None, type_: type[T], options: dict[str, Any], *, hint: str = "") -> T:
    """File and options as settings. Raises SettingsError; UsageError names every required option that is missing."""
    data: dict[str, Any] = read(config, dict) if config is not None else {}
    data |= {key: value for key, value in options.items() if value is not None}
    required = {field.encode_name for field in msgspec.structs.fields(type_) if field.required}
    missing = [f"--{key.replace('_', '-')}" for key in _ORDER if key in required - data.keys()]
    if missing and config is None:
        are = "are" if len(missing) > 1 else "is"
        raise UsageError(f"{_listed(missing)} {are} required (or --config with a file that has them){hint}")
    return convert(msgspec.to_builtins(data), type_, origin=config or "options")


def end_options(resolve: tuple[str, ...], options: dict[str, str | None]) -> dict[str, Any]:
    """The options that sender and receiver share, as settings' fields. Raises SettingsError."""
    given: dict[str, Any] = dict(options)
    if options["origin"] is not None:
        given["origin"] = _origin_address(options["origin"])
    if resolve:
        given["resolver"] = {"hosts": _hosts(resolve)}
    return given


def proxy_route(text: str) -> Socks5Route:
    """ "NAME=[USER:PASSWORD@]HOST:PORT" as a route. Raises SettingsError."""
    name, separator, where = text.partition("=")
    if not separator:
        raise SettingsError(f"--proxy {text!r}: expected NAME=HOST:PORT")
    login, _, address = where.rpartition("@")
    username, _, password = login.partition(":")
    host, port = parse_address(address)
    try:
        return Socks5Route(name=name, host=host, port=port, username=username or None, password=password or None)
    except ValueError as error:
        raise SettingsError(f"--proxy {text!r}: {error}") from error


def listed_proxies(text: str) -> ProxyListSettings:
    """ "PUBLIC_KEY=FILE" as settings. Raises SettingsError."""
    public_key, separator, file = text.partition("=")
    try:
        if not separator or not file:
            raise ValueError("expected PUBLIC_KEY=FILE")
        return ProxyListSettings(file=file, public_key=public_key)
    except ValueError as error:
        raise SettingsError(f"--proxy-list {text!r}: {error}") from error


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _origin_address(text: str) -> dict[str, Any]:
    host, port = parse_address(text if ":" in text else f"{text}:443")
    return {"host": host, "port": port}


def _hosts(resolve: tuple[str, ...]) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for text in resolve:
        name, separator, address = text.partition("=")
        if not separator:
            raise SettingsError(f"--resolve {text!r}: expected NAME=ADDRESS")
        hosts.setdefault(name, []).append(address)
    return hosts
