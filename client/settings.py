"""What the messenger's three parts are told: frozen types, validated at the edge (`sidedoor.settings`)."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from client.attachments.pieces import LIMIT_BYTES
from client.delivery import WINDOW_MESSAGES
from client.encryption import decode_key
from client.policies.catalogue import PolicySettings
from client.policies.sidedoor_settings import SidedoorSettings
from client.routes.settings import DirectRoute as DirectRoute
from client.routes.settings import RouteSettings, parse_key
from client.routes.settings import Socks5Route as Socks5Route
from sidedoor.settings import Secret

EndName = Annotated[str, msgspec.Meta(min_length=1)]
"""Of a sender or receiver, as the origin knows it."""


class OriginSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The origin server. `listen`: "HOST:PORT", IPv6 hosts in brackets; `certificate` (chain) and `key`: PEM files.

    `proxy_list`: what `sidedoor client proxies sign` wrote, for those who ask; it is read again when it changes.
    """

    listen: tuple[str, ...]
    certificate: str
    key: str
    proxy_list: str | None = None


class OriginAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the origin is: the name that its certificate carries, and the TCP port."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 443

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class BridgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The far end of the obfuscated route. `listen`: as the origin's; `key`: 64 hexadecimal digits, which its clients
    have, too; `target`: where all streams go; `limit_connections`: at a time."""

    listen: tuple[str, ...]
    key: Secret
    target: OriginAddress
    limit_connections: int = 4096

    def __post_init__(self) -> None:
        parse_key(self.key)


class ProxyListSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Further routes, from a list that its maker signed (`client.proxy_list`) and that comes by any route.

    `file`: where the newest list is kept; `public_key`: its maker's, 64 hexadecimal digits; `refresh_seconds`: how
    often to ask for a newer one; `most_proxies`: use so many of the list's proxies only (which: by this end's name), so
    that who watches this client learns no more; None: all.
    """

    file: str
    public_key: str
    refresh_seconds: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    most_proxies: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-fA-F]{64}", self.public_key):
            raise ValueError("public_key: expected 64 hexadecimal digits, as `sidedoor client proxies key` prints them")


class ResolverSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How names become addresses on the client's side.

    `nameservers`: "ADDRESS" or "ADDRESS:PORT" (IPv6 then in brackets); empty: those of the host's resolv.conf.
    `hosts`: names that need no query; `hosts_file`: a table of more of them (hosts(5)), None: no table. `localhost` and
    names below it are the loopback addresses without any query (RFC 6761 section 6.3). `try_seconds` for each try,
    `total_seconds` for all of them.
    """

    nameservers: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = {}
    hosts_file: str | None = "/etc/hosts"
    try_seconds: float = 2.0
    total_seconds: float = 4.0


class DialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long the stages of a dial may take, in seconds.

    TCP repeats a lost SYN after 1 s and 2 s more (RFC 6298): 3.5 s lets both count. `stagger_seconds` between the
    addresses of one name: RFC 8305 section 8. `socks_seconds`: for all that is said to a proxy, SOCKS or HTTP.
    """

    connect_seconds: float = 3.5
    stagger_seconds: float = 0.25
    socks_seconds: float = 5.0
    tls_seconds: float = 5.0
    upgrade_seconds: float = 5.0


class EndSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What sender and receiver have in common.

    `name`: this end's; `ca_file`: PEM of the authority that the origin's certificate must come from; `keylog_file`:
    where TLS secrets go, in NSS key log format, for reading captures; None: nowhere. `state_file`: what survives this
    process; None: nothing does.

    `key_file` (made by `sidedoor client key`), or what is in it as `private_key`, and `peer_key` (what that printed at
    the other end) go together: with them all is encrypted from end to end, and what is not is refused.
    """

    name: EndName
    origin: OriginAddress
    ca_file: str
    keylog_file: str | None = None
    resolver: ResolverSettings = ResolverSettings()
    dial: DialSettings = DialSettings()
    key_file: str | None = None
    private_key: Secret | None = None
    peer_key: str | None = None
    state_file: str | None = None

    def __post_init__(self) -> None:
        if self.key_file is not None and self.private_key is not None:
            raise ValueError("key_file and private_key are one thing: give one of them")
        own = self.key_file if self.private_key is None else self.private_key
        if (own is None) != (self.peer_key is None):
            missing = "peer_key" if self.peer_key is None else "key_file"
            raise ValueError(f"key_file and peer_key go together, and there is no {missing}")
        if self.peer_key is not None:
            try:
                decode_key(self.peer_key)
            except ValueError as error:
                raise ValueError(f"peer_key: {error}") from error


class ReceiverSettings(EndSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The receiving end of a measurement, which reaches the origin directly, and by no other route. After a failure it
    pauses `backoff_seconds`, each time twice as long up to the most; after `keepalive_seconds` of silence it pings,
    after twice that it dials anew. `attachments_folder`: where they go; None: they are refused, as are longer ones than
    `attachment_limit_bytes`."""

    backoff_seconds: float = 0.1
    most_backoff_seconds: float = 5.0
    keepalive_seconds: float = 10.0
    attachments_folder: str | None = None
    attachment_limit_bytes: int = LIMIT_BYTES


class SenderSettings(EndSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sending end. `peer`: the receiver's name; `routes`: in order of preference; limits in messages.

    `proxy_list`: where more routes come from; `memory_file`: what worked on which network is kept there (None:
    nowhere); `network_poll_seconds`: how often to see whether this host is on another network.
    `attachment_window_bytes`: how much of an attachment is under way at most; a message that comes meanwhile waits for
    no more than that.
    """

    peer: EndName
    routes: tuple[RouteSettings, ...] = (DirectRoute(),)
    proxy_list: ProxyListSettings | None = None
    memory_file: str | None = None
    network_poll_seconds: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    policy: PolicySettings = SidedoorSettings()
    window_messages: int = WINDOW_MESSAGES
    limit_messages: int = 4096
    attachment_window_bytes: int = 256 << 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name and self.name == self.peer:
            raise ValueError(f"peer is {self.peer!r}, this end's own name; expected the other end's")
        names = [route.name for route in self.routes]
        if not names:
            raise ValueError("no routes: at least one is needed")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two routes have the same name: {twice!r}")


class ChatSettings(SenderSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Both ends in one: what is sent to `peer`, and what comes to `name`, by one connection of the policy's choice.

    `attachments_folder` and `attachment_limit_bytes` are the receiver's. The queue is kept in `state_file`, what came
    in a file beside it (`client.messenger`). Who listens does not notice a block by its own messages: so the policy
    looks more often whether an idle path is alive.
    """

    policy: PolicySettings = SidedoorSettings(keepalive_seconds=3.0)
    attachments_folder: str | None = None
    attachment_limit_bytes: int = LIMIT_BYTES


class ListenerSettings(ChatSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The receiving end by every route. It sends nothing and so needs no `peer`; `state_file` is what came."""

    peer: str = ""


class ProbeSettings(ChatSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who looks which routes work sends nothing to anybody, and needs no name."""

    name: str = ""
    peer: str = ""
