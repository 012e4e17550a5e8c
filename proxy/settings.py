"""The proxy's settings: one frozen type, and the rules that types cannot say."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

from sidedoor.settings import SettingsError

DEFAULT_LISTEN = "127.0.0.1:1080"


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one proxy process. Lengths of time are in seconds.

    Raises SettingsError from `check()`; the types are checked by `sidedoor.settings.read`.
    """

    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    """Addresses to listen on: "HOST:PORT", IPv6 as "[::1]:1080"; port 0 takes a free one."""
    users: dict[str, str] = {}
    """User -> password. With any user, every client has to authenticate; with none, nobody can."""
    open: bool = False
    """Serve a non-loopback address without users: whoever reaches it can use it."""
    handshake_seconds: float = 10.0
    """From accept to the complete request."""
    connect_seconds: float = 20.0
    """From the request to the connection, name resolution included."""
    idle_seconds: float = 3600.0
    """A flow without a byte in either direction for so long is closed."""
    half_close_seconds: float = 60.0
    """The same for a flow of which one direction has ended."""
    rate_bytes_per_second: float = 0.0
    """The most that each direction of a flow carries; 0: as much as it can."""
    workers: int = 1
    """Processes that share the connections. More than one needs Linux."""
    max_handshakes: int = 1024
    """Open handshakes; one more and the oldest is dropped."""

    def check(self) -> None:
        """Raise SettingsError for values that fit their types and make no sense."""
        if not self.listen:
            raise SettingsError("listen: is empty; name at least one HOST:PORT")
        for name in (
            "handshake_seconds",
            "connect_seconds",
            "idle_seconds",
            "half_close_seconds",
            "max_handshakes",
            "workers",
        ):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name}: is {getattr(self, name)}; give a number above 0")
        if not 0 <= self.rate_bytes_per_second < float("inf"):
            raise SettingsError(
                f"rate_bytes_per_second: is {self.rate_bytes_per_second}; give bytes per second, or 0 for no limit"
            )
        for user, password in self.users.items():
            if max(len(user.encode()), len(password.encode())) > 255:
                raise SettingsError(f"users: {user!r}: user or password is longer than the 255 bytes SOCKS5 carries")
        for address in self.listen:
            host, _ = parse_listen(address)
            if not (self.users or self.open or _is_loopback(host)):
                raise SettingsError(
                    f"listen: {address} is not a loopback address and there are no users, so anybody could use this "
                    f"proxy; add users, or say --open (open = true) if that is meant"
                )


def parse_listen(address: str) -> tuple[str, int]:
    """ "HOST:PORT" as (host, port); IPv6 in brackets, which do not come back. Raises SettingsError."""
    host, colon, port_text = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    well_formed = bool(colon and host) and (":" in host) == bracketed
    if not (well_formed and port_text.isascii() and port_text.isdecimal() and int(port_text) < 65536):
        raise SettingsError(
            f'listen: "{address}" is no address; write HOST:PORT (at most 65535), e.g. 127.0.0.1:1080 or [::1]:1080'
        )
    return host, int(port_text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name: where it leads is not known yet
