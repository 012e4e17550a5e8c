"""The proxy's settings: frozen types, and the rules that types cannot say.

Lengths of time are in seconds, sizes in bytes. `ProxySettings` is the whole file; its docstrings are its manual, which
`sidedoor proxy schema` gives to editors as a JSON schema.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from sidedoor.settings import Secret, SettingsError

DEFAULT_LISTEN = "127.0.0.1:1080"
UNIX_PATH_BYTES = 107
"""What a socket's address has room for (unix(7))."""

Protocol = Literal["socks5", "socks4", "http"]
CommandName = Literal["connect", "bind", "udp_associate"]
NotEmpty = msgspec.Meta(min_length=1)
"""Of a list in a rule: one that a template left empty would match everything."""

HIDDEN = "***"
"""What is shown in place of a password."""


class Discreet:
    """For tables that have passwords in them: their repr, which tracebacks and failed assertions show, has none."""

    __slots__ = ()
    __struct_fields__: ClassVar[tuple[str, ...]]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, _without_secrets(name, getattr(self, name))) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


def _without_secrets(name: str, value: object) -> object:
    match name, value:
        case "password", str() if value:
            return HIDDEN
        case "url", str():
            return re.sub("//.*@", f"//{HIDDEN}@", value)
        case "users", dict():
            return {user: HIDDEN if isinstance(one, str) else one for user, one in value.items()}
        case _:
            return value


class Listener(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to listen on that needs more than its name."""

    address: str
    """"HOST:PORT", as in `listen`."""
    certificate: str = ""
    """PEM file with the certificate and its chain: clients speak TLS. Goes with `key`."""
    key: str = ""
    """PEM file with the private key."""
    proxy_protocol_from: tuple[str, ...] = ()
    """Networks (CIDR) of load balancers: every connection has to come from one and to begin with a PROXY protocol
    header, version 1 or 2, which says who the client is."""


class User(Discreet, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user who needs more than a password."""

    password: Secret
    """As it is, or its hash by `sidedoor proxy hash-password`."""
    max_flows: int = 0
    """Connections at a time, over all workers; 0: no limit."""
    rate_bytes_per_second: float = 0.0
    """The most that all flows of this user carry together, each direction, over all workers; 0: no limit."""
    quota_bytes: int = 0
    """Bytes in both directions per `quota_seconds`, over all workers; 0: no limit."""
    quota_seconds: float = 86400.0
    """A new quota begins so long after the first byte of the last one."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule; the first that matches decides. What is left out matches everything; empty lists are errors."""

    action: Literal["allow", "deny"]
    """What happens to requests that match."""
    name: str = ""
    """What logs, metrics and errors call it; else its position."""
    users: Annotated[tuple[str, ...], NotEmpty] = ()
    """Names of users."""
    sources: Annotated[tuple[str, ...], NotEmpty] = ()
    """Networks (CIDR) or addresses of clients."""
    destinations: Annotated[tuple[str, ...], NotEmpty] = ()
    """Networks (CIDR), addresses, and domains; a domain stands for its sub-domains, too."""
    ports: Annotated[tuple[int | str, ...], NotEmpty] = ()
    """Ports of the destination: numbers, and ranges like "8000-8999"."""
    commands: Annotated[tuple[CommandName, ...], NotEmpty] = ()
    """What clients ask for: SOCKS5's commands; HTTP CONNECT is "connect", too."""
    via: str = ""
    """With "allow": go through this one of `upstreams`."""
    egress: Annotated[tuple[str, ...], NotEmpty] = ()
    """With "allow": go out from these addresses instead of those of the settings, one per family."""


class Upstream(Discreet, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another proxy to go through."""

    url: str
    """"socks5://HOST:PORT" or "http://HOST:PORT". Names are resolved there."""
    user: str = ""
    """Who to authenticate as there; empty: nobody."""
    password: Secret = ""
    """This user's password."""


class ResolverSettings(Discreet, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How names of destinations become addresses."""

    kind: Literal["system", "dns", "doh"] = "system"
    """The system's own look-up; given DNS servers; or DNS over HTTPS (RFC 8484)."""
    servers: tuple[str, ...] = ()
    """With "dns": addresses of servers, "ADDRESS" or "ADDRESS:PORT", IPv6 with a port in brackets; asked in turn."""
    url: str = ""
    """With "doh": the server's URL, e.g. "https://dns.example/dns-query"."""
    ca: str = ""
    """With "doh": PEM file of the authorities to trust; else the system's."""
    timeout_seconds: float = 3.0
    """For one try; there are two."""
    cache_names: int = 4096
    """The most names to remember ("dns" and "doh"; the system has a cache of its own); 0: none."""
    ttl_least_seconds: float = 5.0
    """Answers are kept for their TTL, but not shorter than this."""
    ttl_most_seconds: float = 3600.0
    """And not longer than this."""


class UdpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """UDP ASSOCIATE."""

    advertise: str = ""
    """The address in replies where clients do not reach the one that is bound (NAT, containers)."""
    fragments: Literal["reassemble", "drop"] = "reassemble"
    """What to do with fragments (FRAG other than 0)."""
    idle_seconds: float = 300.0
    """An association without a datagram for so long ends."""


class Admin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The admin endpoint: metrics, health, list flows, close one, drain."""

    listen: str
    """"unix:PATH" (mode 0600), or "HOST:PORT" on the loopback."""


class ProxySettings(Discreet, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one proxy.

    Raises SettingsError from `check()`; the types are checked by `sidedoor.settings.read`.
    """

    listen: tuple[str | Listener, ...] = (DEFAULT_LISTEN,)
    """Addresses to listen on: "HOST:PORT", IPv6 as "[::1]:1080"; port 0 takes a free one. Tables for TLS and more."""
    protocols: tuple[Protocol, ...] = ("socks5", "socks4", "http")
    """What is served, all of it on each port: SOCKS5, SOCKS4 and 4a, HTTP CONNECT."""
    users: dict[str, Secret | User] = {}
    """User -> password. With any user, every client has to authenticate; with none, nobody can."""
    open: bool = False
    """Serve a non-loopback address without users: whoever reaches it can use it."""
    rules: tuple[Rule, ...] = ()
    """What is allowed; the first rule that matches decides, what none matches is allowed (but see `inside`)."""
    inside: Literal["auto", "deny", "allow"] = "auto"
    """Destinations inside: loopback, private, link-local and special addresses. "auto" denies them where a client
    may come from another host; a rule that names such an address allows it."""
    upstreams: dict[str, Upstream] = {}
    """Other proxies, for `via`."""
    via: str = ""
    """The one of `upstreams` that all go through unless their rule says otherwise."""
    egress: tuple[str, ...] = ()
    """Local addresses that connections to destinations come from, one per family."""
    resolver: ResolverSettings = ResolverSettings()
    """How names of destinations become addresses."""
    udp: UdpSettings = UdpSettings()
    """UDP ASSOCIATE."""
    admin: Admin | None = None
    """The admin endpoint; left out: none."""
    access_log: str = ""
    """File for one JSON line per request and flow; "-": stdout; empty: none."""
    state: str = ""
    """File in which quotas outlive a restart; empty: they do not."""
    handshake_seconds: float = 10.0
    """From accept to the complete request."""
    connect_seconds: float = 20.0
    """From the request to the connection, name resolution included."""
    bind_seconds: float = 60.0
    """How long BIND waits for the peer."""
    idle_seconds: float = 3600.0
    """A flow without a byte in either direction for so long is closed."""
    half_close_seconds: float = 60.0
    """The same for a flow of which one direction has ended."""
    drain_seconds: float = 30.0
    """At SIGTERM, how long flows may go on; 0: not at all."""
    rate_bytes_per_second: float = 0.0
    """The most that each direction of a flow carries; 0: as much as it can."""
    workers: int = 1
    """Processes that share the connections. More than one needs Linux."""
    max_handshakes: int = 1024
    """Open handshakes; one more, and the source with the most of them loses its oldest."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """`listen`, all of them as tables."""
        return tuple(Listener(address=one) if isinstance(one, str) else one for one in self.listen)

    @property
    def accounts(self) -> dict[str, User]:
        """`users`, all of them as tables."""
        return {name: User(password=one) if isinstance(one, str) else one for name, one in self.users.items()}

    def check(self) -> None:
        """Raise SettingsError for values that fit their types and make no sense."""
        if not self.listen:
            raise SettingsError("listen: is empty; name at least one HOST:PORT")
        places = [parse_listen(listener.address) for listener in self.listeners]
        for host, port in places:
            if port and places.count((host, port)) > 1:
                raise SettingsError(f"listen: {host} port {port} is named twice; once is enough")
        if not self.protocols:
            raise SettingsError("protocols: is empty, so nobody would be served; expected some of socks5, socks4, http")
        for name in _ABOVE_ZERO:
            _check_number(name, getattr(self, name), above_zero=True)
        for name in ("rate_bytes_per_second", "drain_seconds"):
            _check_number(name, getattr(self, name))
        for listener in self.listeners:
            self._check_listener(listener)
        for user, account in self.accounts.items():
            _check_user(user, account)
        for via, key in [(self.via, "via"), *((rule.via, f"rules[{i}].via") for i, rule in enumerate(self.rules))]:
            if via and via not in self.upstreams:
                known = ", ".join(self.upstreams) or "none"
                raise SettingsError(f'{key}: "{via}" is not among the upstreams; expected one of: {known}')
        for name, upstream in self.upstreams.items():
            parse_upstream(name, upstream.url)
        _check_egress("egress", self.egress)
        for i, rule in enumerate(self.rules):
            _check_egress(f"rules[{i}].egress", rule.egress)
        _check_resolver(self.resolver)
        _check_number("udp.idle_seconds", self.udp.idle_seconds, above_zero=True)
        if self.udp.advertise:
            _check_address("udp.advertise", self.udp.advertise)
        if self.admin is not None:
            _check_admin(self.admin.listen)

    def _check_listener(self, listener: Listener) -> None:
        host, _ = parse_listen(listener.address)
        for network in listener.proxy_protocol_from:
            parse_network(f"listen: {listener.address}: proxy_protocol_from", network)
        # Whoever a load balancer lets in comes from another host, wherever the balancer itself is.
        what = "has proxy_protocol_from" if is_loopback_host(host) else "is not a loopback address"
        if not (self.users or self.open) and (listener.proxy_protocol_from or not is_loopback_host(host)):
            raise SettingsError(
                f"listen: {listener.address} {what} and there are no users, so anybody could use this proxy; add "
                f"users, or say --open (open = true) if that is meant"
            )
        if bool(listener.certificate) != bool(listener.key):
            there, missing = ("certificate", "key") if listener.certificate else ("key", "certificate")
            raise SettingsError(f"listen: {listener.address} has a {there} and no {missing}; TLS needs both")


_MOST = {"seconds": 1e9, "workers": 1024, "max_handshakes": 1e6, "max_flows": 1e9, "cache_names": 1e7}
"""The most that numbers may be, by the ends of their keys: beyond that there are typing errors, and overflows."""
_ABOVE_ZERO = (
    "handshake_seconds",
    "connect_seconds",
    "bind_seconds",
    "idle_seconds",
    "half_close_seconds",
    "max_handshakes",
    "workers",
)


def parse_listen(address: str, key: str = "listen") -> tuple[str, int]:
    """ "HOST:PORT" as (host, port); IPv6 in brackets, which do not come back. Raises SettingsError."""
    host, colon, port_text = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    well_formed = bool(colon and host) and (":" in host) == bracketed
    if not (well_formed and port_text.isascii() and port_text.isdecimal() and int(port_text) < 65536):
        raise SettingsError(
            f'{key}: "{address}" is no address; write HOST:PORT (at most 65535), e.g. 127.0.0.1:1080 or [::1]:1080'
        )
    return host, int(port_text)


def parse_network(key: str, text: str) -> IPv4Network | IPv6Network:
    """A network in CIDR notation, or one address. Raises SettingsError, which names `key`."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise SettingsError(f'{key}: "{text}" is no network; expected one like 192.0.2.0/24 ({error})') from None


def parse_upstream(name: str, url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an upstream's URL. Raises SettingsError."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("socks5", "http") or not separator or "@" in rest or "/" in rest:
        url = re.sub("//.*@", "//***@", url)  # there may be a password in it
        raise SettingsError(
            f'upstreams.{name}.url: "{url}" is no URL of a proxy; expected socks5://HOST:PORT or http://HOST:PORT, '
            f"with user and password in keys of their own"
        )
    return scheme, *parse_listen(rest, f"upstreams.{name}.url")


def is_loopback_host(host: str) -> bool:
    """Whether what listens on `host` is reached from this host only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name: where it leads is not known yet


def _check_number(key: str, value: float, *, above_zero: bool = False) -> None:
    most = next((most for end, most in _MOST.items() if key.endswith(end)), 1e18)
    if (above_zero and not value > 0) or not 0 <= value <= most:
        least = "above 0" if above_zero else "of at least 0"
        raise SettingsError(f"{key}: is {value}; give a number {least}, and at most {most:.0f}")


def _check_user(name: str, user: User) -> None:
    if max(len(name.encode()), len(user.password.encode())) > 255:
        raise SettingsError(f"users: {name!r}: user or password is longer than the 255 bytes SOCKS5 carries")
    for limit in ("max_flows", "rate_bytes_per_second", "quota_bytes"):
        _check_number(f"users.{name}.{limit}", getattr(user, limit))
    _check_number(f"users.{name}.quota_seconds", user.quota_seconds, above_zero=True)


def _check_egress(key: str, addresses: tuple[str, ...]) -> None:
    versions = [_check_address(key, address) for address in addresses]
    if len(set(versions)) < len(versions):
        raise SettingsError(f"{key}: has two addresses of one family; expected at most one IPv4 and one IPv6 address")


def _check_address(key: str, address: str) -> int:
    try:
        return ip_address(address).version
    except ValueError:
        raise SettingsError(f'{key}: "{address}" is no IP address') from None


def _check_resolver(resolver: ResolverSettings) -> None:
    if resolver.kind == "dns" and not resolver.servers:
        raise SettingsError('resolver.servers: is empty; kind "dns" expects at least one address')
    if resolver.kind == "doh" and not resolver.url.startswith("https://"):
        raise SettingsError(f'resolver.url: is "{resolver.url}"; kind "doh" expects an https:// URL')
    for server in resolver.servers:
        parse_server(server)
    for key in ("timeout_seconds", "ttl_most_seconds"):
        _check_number(f"resolver.{key}", getattr(resolver, key), above_zero=True)
    for key in ("ttl_least_seconds", "cache_names"):
        _check_number(f"resolver.{key}", getattr(resolver, key))


def parse_server(text: str) -> tuple[str, int]:
    """(address, port) of a DNS server, port 53 where none is named. Raises SettingsError."""
    try:
        return str(ip_address(text)), 53
    except ValueError:
        host, port = parse_listen(text, "resolver.servers")
        _check_address("resolver.servers", host)
        return host, port


def _check_admin(listen: str) -> None:
    if listen.startswith("unix:"):
        path = listen.removeprefix("unix:")
        if not path:
            raise SettingsError('admin.listen: "unix:" names no path; expected unix:/PATH')
        if len(path.encode()) > UNIX_PATH_BYTES:
            raise SettingsError(
                f"admin.listen: the path is {len(path.encode())} bytes long; expected at most {UNIX_PATH_BYTES}"
            )
        return
    host, _ = parse_listen(listen, "admin.listen")
    if not is_loopback_host(host):
        raise SettingsError(
            f"admin.listen: {listen} is not a loopback address; expected one, or unix:/PATH (it asks for no password)"
        )
