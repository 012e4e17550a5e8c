"""From options and a settings file to settings: what an option gives goes over the file; what is missing is named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from client.origin import parse_address
from client.routes.settings import DirectRoute, RouteSettings, Socks5Route
from client.settings import ProxyListSettings
from sidedoor.settings import SettingsError, UsageError, convert, read

T = TypeVar("T", bound=msgspec.Struct)

ROUTE_FORMS = {
    "direct": "direct:",
    "alternate": "alternate:ADDRESS[:PORT],...",
    "doh": "doh://ADDRESS[:PORT][/PATH][?name=NAME&ca=FILE]",
    "socks5": "socks5://[USER:PASSWORD@]HOST[:PORT]",
    "socks5-tls": "socks5-tls://[USER:PASSWORD@]HOST[:PORT][?name=NAME&ca=FILE]",
    "http-connect": "http-connect://[USER:PASSWORD@]HOST[:PORT]",
    "obfuscated": "obfuscated://KEY@HOST:PORT",
    "tls-fragment": "tls-fragment:[?records=N]",
    "tcp-segment": "tcp-segment:[?wait=SECONDS]",
}
"""How `--route` writes each kind; user names and passwords are percent-encoded where they have to be."""
_CERTIFIED: dict[str, tuple[str, type]] = {"name": ("server_name", str), "ca": ("ca_file", str)}
_QUERY_KEYS: dict[str, dict[str, tuple[str, type]]] = {kind: {} for kind in ROUTE_FORMS} | {
    "doh": _CERTIFIED,
    "socks5-tls": _CERTIFIED,
    "tls-fragment": {"records": ("records", int)},
    "tcp-segment": {"wait": ("wait_seconds", float)},
}
_TYPES: dict[str, type[RouteSettings]] = {type_.__struct_config__.tag: type_ for type_ in get_args(RouteSettings)}
_WITHOUT_HOST = ("direct", "tls-fragment", "tcp-segment")
_NAMED = re.compile(r"([\w.-]+)=([a-z0-9-]+:.*)")

_ORDER = ("name", "peer", "origin", "ca_file", "listen", "certificate", "key", "target")


def make_settings(config: str | None, type_: type[T], options: dict[str, Any], *, hint: str = "") -> T:
    """File and options as settings. Raises SettingsError; UsageError names every required option that is missing."""
    for key in ("name", "peer"):
        if options.get(key) == "":
            raise UsageError(f"--{key} is empty; expected the name of an end, such as alice")
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
        given["origin"] = origin_address(options["origin"])
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
    host, port = parse_address(address, "--proxy")
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


def route_options(routes: Sequence[str], proxies: Sequence[str]) -> tuple[RouteSettings, ...] | None:
    """`--route` and `--proxy` as routes in that order; None: neither is given. Raises SettingsError.

    Proxies alone come after the direct route; with `--route` there is a direct route only where it is named.
    """
    if not routes and not proxies:
        return None
    first = [route_of(text) for text in routes] or [DirectRoute()]
    return (*first, *(proxy_route(text) for text in proxies))


def route_of(text: str) -> RouteSettings:
    """ "[NAME=]KIND:..." as a route (`ROUTE_FORMS`); without NAME it has that of its kind and place.

    Raises SettingsError, which has no password in it.
    """
    named = _NAMED.fullmatch(text)
    name, url = named.groups() if named else (None, text)
    kind, separator, rest = url.partition(":")
    if not separator or kind not in ROUTE_FORMS:
        close = difflib.get_close_matches(kind, ROUTE_FORMS, 1)
        hint = f"; did you mean `{close[0]}:`?" if close else ""
        known = ", ".join(ROUTE_FORMS)
        raise SettingsError(f"--route: no kind of route is called {kind!r}; expected one of {known}{hint}")
    try:
        fields = _fields(kind, url, rest)
    except ValueError as error:
        raise SettingsError(f"--route {kind}: {error}; expected {ROUTE_FORMS[kind]}") from error
    if kind != "direct":
        fields["name"] = name or _name_of(kind, fields)
    elif name:
        raise SettingsError("--route direct: the direct route has no name of its own; expected direct:")
    try:
        return convert(fields, _TYPES[kind], origin=f"--route {kind}")
    except SettingsError as error:
        raise SettingsError(_as_typed(str(error), kind)) from error


def _as_typed(message: str, kind: str) -> str:
    """With the option's own words for the settings' keys."""
    for typed, (field, _) in _QUERY_KEYS[kind].items():
        message = message.replace(f"key `{field}`", f"`{typed}`")
    return message


def _fields(kind: str, url: str, rest: str) -> dict[str, Any]:
    """The route's settings, as they are written in the URL. Raises ValueError."""
    parts = urlsplit(url)
    fields: dict[str, Any] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)):
        if key not in _QUERY_KEYS[kind]:
            known = " and ".join(_QUERY_KEYS[kind]) or "none"
            raise ValueError(f"`{key}` is no option of this kind (known: {known})")
        field, type_ = _QUERY_KEYS[kind][key]
        try:
            fields[field] = type_(value)
        except ValueError:
            raise ValueError(f"`{key}={value}` is no number") from None
    if kind == "alternate":
        return fields | {"addresses": rest.split(",")}
    if kind in _WITHOUT_HOST:
        if parts.netloc or parts.path:
            raise ValueError(f"{parts.netloc or parts.path!r} is too much")
        return fields
    if not parts.hostname:
        raise ValueError("no host")
    fields["address" if kind == "doh" else "host"] = parts.hostname
    if parts.port is not None:
        fields["port"] = parts.port
    if kind == "doh":
        return fields | ({"path": parts.path} if parts.path else {})
    if kind == "obfuscated":
        if parts.port is None:
            raise ValueError("no port")
        return fields | {"key": unquote(parts.username or "")}
    login = {"username": parts.username, "password": parts.password}
    return fields | {key: unquote(text) for key, text in login.items() if text is not None}


def _name_of(kind: str, fields: dict[str, Any]) -> str:
    """Two proxies of one kind differ in their host, and be it in its port."""
    port = f":{fields['port']}" if "port" in fields else ""
    if "host" not in fields:
        return kind
    host = f"[{fields['host']}]" if ":" in fields["host"] else fields["host"]
    return f"{kind}-{host}{port}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def origin_address(text: str, option: str = "--origin") -> dict[str, Any]:
    """ "HOST[:PORT]", given to `option`, as the settings' field. Raises SettingsError."""
    if "/" in text:
        raise SettingsError(f"{option} {text!r}: expected HOST[:PORT], no URL")
    if not text:
        raise SettingsError(f"{option} is empty; expected HOST[:PORT]")
    host, port = parse_address(text if ":" in text else f"{text}:443", option)
    if port == 0:
        raise SettingsError(f"{option} {text!r}: port 0 is nobody's; expected HOST[:PORT] with a port of 1 to 65535")
    return {"host": host, "port": port}


def _hosts(resolve: tuple[str, ...]) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for text in resolve:
        name, separator, address = text.partition("=")
        if not separator:
            raise SettingsError(f"--resolve {text!r}: expected NAME=ADDRESS")
        hosts.setdefault(name, []).append(address)
    return hosts
