"""The table `[censor]` of a rules file: how the censor as a whole looks at traffic (docs/censor-rules.md)."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec

from censor.actions import CountSpan, Seconds, check_spans

Fail = Literal["open", "closed"]
AnalyzerName = Literal["tls", "http", "dns", "quic", "socks", "ssh", "signature", "entropy", "mtproto"]


class TcpTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[censor.tcp]`: how the bytes of a connection are put together before they are looked at.

    reassembly: `none`: each segment by itself; `arrival`: as they come, whatever their sequence numbers; `in_order`:
    what comes in order, the rest is not kept; `full`: out-of-order segments wait for those before them.
    overlap: which copy of a byte counts where segments overlap (`full`). limit_bytes: no more of a direction is looked
    at. resync_segments: with so many segments behind the same gap the bytes are read on behind it (`in_order`, `full`;
    None: the gap is waited for). segments: no more data segments of a direction (`none`: of a flow) are looked at
    (None: no limit; `none`: one).
    unparsed_bytes: a data segment so long that nothing recognises ends the looking (`none`).
    extend_segments: so many more are looked at behind one that an analyzer of `extend_for` recognised.
    inspect: whose bytes. handshake: handshakes are followed packet by packet, so that who opened a connection is known
    even when the server answers a SYN with a SYN.
    """

    reassembly: Literal["none", "arrival", "in_order", "full"] = "full"
    overlap: Literal["first", "last"] = "first"
    limit_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 16384
    resync_segments: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    segments: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    unparsed_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    extend_segments: CountSpan = 0
    extend_for: tuple[AnalyzerName, ...] = ()
    inspect: Literal["client", "both"] = "client"
    handshake: bool = False

    def __post_init__(self) -> None:
        check_spans(self, "extend_segments")


class FragmentsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[censor.fragments]`: what becomes of IP fragments; censor/fragments.py. limit: most of one datagram."""

    policy: Literal["reassemble", "pass", "drop", "hold"] = "reassemble"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 45


class OverloadTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[censor.overload]`: beyond so many packets a second new flows pass unseen (0: never)."""

    packets_per_second: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class CensorTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[censor]`. Raises ValueError for an `inside` that is no block.

    fail: what happens to new flows when the censor process has died; strict: with "closed", existing flows stop, too.
    profile: a shipped rules file that this one is laid over. seed: of all draws. time_scale: how many of the rules'
    seconds (`from_seconds`, `until_seconds`) pass in one. inside: the censored side; empty: whoever opens a flow is
    inside. single_segments: packets come as they are on the wire, not as super-packets of up to 64 KB.
    inspect_everything: every packet is looked at, and the kernel decides nothing by itself.
    remember_names: the name of every TLS flow to port 443 is read, whatever the rules, so that rules that kill existing
    flows find those that were opened before them.
    flow_idle_seconds: a flow so long without a packet is forgotten (0: never).
    """

    fail: Fail = "open"
    strict: bool = False
    profile: str | None = None
    seed: int = 0
    time_scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    inside: tuple[str, ...] = ()
    single_segments: bool = False
    inspect_everything: bool = False
    remember_names: bool = True
    flow_idle_seconds: Seconds = 0.0
    tcp: TcpTable = TcpTable()
    fragments: FragmentsTable = FragmentsTable()
    overload: OverloadTable = OverloadTable()

    def __post_init__(self) -> None:
        if self.strict and self.fail != "closed":
            raise ValueError('`strict` needs fail = "closed"')
        for text in self.inside:
            ipaddress.ip_network(text)  # its ValueError says which one and why
