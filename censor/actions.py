"""Actions: what a rule does to the packets of a flow that it matches, as typed tables of a rules file.

Each is one table with a `kind`. docs/censor-rules.md is the reference. A span is a number, or [lowest, highest]: a
number between them is drawn for each flow (seeded, see censor/draws.py). A span of seconds may also be the points of a
distribution, [[number, share], ...]: so great a share of the draws is no greater than the number, in between linearly.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec

from censor.block_page import block_page

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
# Without limits here: msgspec 0.22 crashes in garbage collections on a union of a limited number and a tuple.
SecondsSpan = float | tuple[float | tuple[float, float], ...]
ProbabilitySpan = float | tuple[float, float]
CountSpan = int | tuple[int, int]
_SPAN_MAX = 1e12
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Direction = Literal["both", "to_server", "to_client"]
Text = Annotated[str, msgspec.Meta(min_length=1)]


def check_spans(settings: msgspec.Struct, *keys: str) -> None:
    """Raises ValueError for a span that is negative or ends before it begins."""
    for key in keys:
        span = getattr(settings, key)
        if isinstance(span, tuple) and any(isinstance(one, tuple) for one in span):
            if not _rises(span):
                raise ValueError(f"`{key}`: {span!r} is no distribution: [[least, 0], ..., [greatest, 1]], both rising")
            continue
        ends = span if isinstance(span, tuple) else (span or 0, span or 0)
        if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= _SPAN_MAX:
            raise ValueError(f"`{key}`: {span!r} is not a span: a number from 0 on, or [lowest, highest]")


def _rises(points: tuple[object, ...]) -> bool:
    """Whether these are the points of a distribution, from the share 0 to the share 1."""
    pairs = [point for point in points if isinstance(point, tuple)]
    numbers, shares = [number for number, _ in pairs], [share for _, share in pairs]
    ends = shares[0] == 0 and shares[-1] == 1 and all(0 <= number <= _SPAN_MAX for number in numbers)
    return len(pairs) == len(points) and ends and numbers == sorted(numbers) and shares == sorted(shares)


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What all actions are. `final`: it decides about the flow, and no later rule acts on the same message."""

    @property
    def final(self) -> bool:
        return True

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)


class Drop(Action, frozen=True, kw_only=True, tag="drop"):
    """The flow's packets vanish; with nothing else said, of datagrams that are messages of their own (DNS) that one.

    direction: whose packets. after_packets: so many more pass, counted over both directions behind the one that
    triggered it, which then passes, too. seconds: how long it lasts (None: as long as the flow). refresh: each further
    packet of the flow starts that time anew. trigger: whether the packet that triggered it is dropped.
    least_payload_bytes: packets with less payload pass (what is no message, where messages are large).
    """

    direction: Direction = "both"
    least_payload_bytes: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    after_packets: CountSpan = 0
    seconds: SecondsSpan | None = None
    refresh: bool = False
    trigger: bool = True

    def __post_init__(self) -> None:
        check_spans(self, "after_packets", "seconds")


class Reject(Action, frozen=True, kw_only=True, tag="reject"):
    """The flow's packets vanish and each sender is told: TCP by an RST, the rest by ICMP port unreachable."""


class Reset(Action, frozen=True, kw_only=True, tag="reset"):
    """Forged RSTs; the packet that triggered them passes unless `drop` (the flow's packets then all vanish).

    to: which ends. offsets: one RST for each, its sequence number so far beyond the exact one (Clayton 2006: 0, 1460,
    4380). count: how often they are all sent. flags: `auto` is RST+ACK to the client and RST to the server.
    delay_seconds: how long after the trigger they leave. ttl: the forged packets' own.
    rewrite: nothing is injected; the server's packets from now on become RST+ACKs in place (TSPU's SNI-I), so that
    sequence number and TTL give nothing away. seconds: how long they do (None: as long as the flow).
    repeat: later packets of the flow are answered in the same way.
    """

    to: Literal["both", "client", "server"] = "both"
    count: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    offsets: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=1 << 20)], ...], msgspec.Meta(min_length=1)] = (0,)
    flags: Literal["auto", "RST", "RST+ACK"] = "auto"
    ttl: Annotated[int, msgspec.Meta(ge=1, le=255)] = 64
    drop: bool = False
    delay_seconds: SecondsSpan = 0.0
    rewrite: bool = False
    seconds: SecondsSpan | None = None
    repeat: bool = False

    def __post_init__(self) -> None:
        check_spans(self, "delay_seconds", "seconds")
        if self.seconds is not None and not self.rewrite:
            raise ValueError("`seconds` goes with `rewrite` only")


class ForgeDns(Action, frozen=True, kw_only=True, tag="forge_dns"):
    """Forged DNS answers race the real one, which arrives too unless `drop`.

    addresses: a pool; `choose` says what one answer carries: all of it, or one after the other (`cyclic`, as the GFW
    orders its pools), or one drawn. rcode: the answer's when there are no addresses. injectors: how many answers.
    """

    addresses: tuple[str, ...] = ()
    choose: Literal["all", "cyclic", "random"] = "all"
    rcode: Literal["noerror", "servfail", "nxdomain", "refused"] = "nxdomain"
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 60
    injectors: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    drop: bool = False

    def __post_init__(self) -> None:
        for text in self.addresses:
            ipaddress.ip_address(text)  # its ValueError says which one and why


class BlockPage(Action, frozen=True, kw_only=True, tag="block_page"):
    """An HTTP answer in the server's name; the request vanishes and the server gets an RST."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 403
    body: str = "<html><head><title>Blocked</title></head><body>Access to this resource is restricted.</body></html>"
    location: str | None = None

    def __post_init__(self) -> None:
        block_page(self.status, b"", self.location)  # its ValueError says what is wrong


class Police(Action, frozen=True, kw_only=True, tag="police"):
    """A token bucket for each direction: what does not fit is dropped, nothing waits (RFC 2697's red packets)."""

    rate_bytes_per_second: Annotated[float, msgspec.Meta(gt=0)]
    burst_bytes: Annotated[int, msgspec.Meta(ge=1)]
    direction: Direction = "both"


class Delay(Action, frozen=True, kw_only=True, tag="delay"):
    """Each of the flow's packets is held for so long; drawn for each packet from a span. Order is kept."""

    seconds: SecondsSpan
    direction: Direction = "both"

    def __post_init__(self) -> None:
        check_spans(self, "seconds")


class Lose(Action, frozen=True, kw_only=True, tag="lose"):
    """Each of the flow's packets is dropped with this probability."""

    probability: Probability
    direction: Direction = "both"


class Freeze(Action, frozen=True, kw_only=True, tag="freeze"):
    """After so many bytes of payload or so many packets, counted from the flow's beginning, its packets vanish.

    Of a flow that existed before the rule (existing_flows = "act") what comes from then on counts.
    counted: which packets count. direction: which vanish. Without `packets` only bytes count, and the other way round.
    """

    bytes: CountSpan | None = None
    packets: CountSpan | None = None
    counted: Direction = "both"
    direction: Direction = "both"

    def __post_init__(self) -> None:
        if self.bytes is None and self.packets is None:
            raise ValueError("freeze needs `bytes` or `packets`")
        check_spans(self, "bytes", "packets")


class Residual(Action, frozen=True, kw_only=True, tag="residual"):
    """What was matched stays blocked for a time, whatever is said there: all packets of that key.

    A flow to which the same rule does something that lasts (a drop after some more packets) is left to that.

    key: `2-tuple`: client and server address; `3-tuple`: and the server's port; `4-tuple`: and the client's.
    probability: of each later flow to be hit, drawn for each key from a span; it is 1 after `certain_after` triggers of
    the same key.
    refresh: what starts the time anew: another `trigger`, or every `packet` that is hit, or nothing.
    trigger: whether the packet that triggered it vanishes, too.
    then: what a hit does: the packet vanishes (`drop`), and both ends get an RST (`reset`); or it passes, as it does a
    censor beside the path, and they get one (`inject`); `rewrite`: as Reset's.
    """

    key: Literal["2-tuple", "3-tuple", "4-tuple"] = "3-tuple"
    seconds: SecondsSpan
    probability: ProbabilitySpan = 1.0
    certain_after: Annotated[int, msgspec.Meta(ge=1)] | None = None
    refresh: Literal["never", "trigger", "packet"] = "trigger"
    delay_seconds: SecondsSpan = 0.0
    direction: Direction = "both"
    trigger: bool = False
    then: Literal["drop", "reset", "inject", "rewrite"] = "drop"

    def __post_init__(self) -> None:
        check_spans(self, "seconds", "delay_seconds", "probability")
        if (self.probability[1] if isinstance(self.probability, tuple) else self.probability) > 1:
            raise ValueError(f"`probability`: {self.probability!r} is more than 1")

    @property
    def final(self) -> bool:
        return self.trigger


class Probe(Action, frozen=True, kw_only=True, tag="probe"):
    """The flow's server is suspected to be a proxy: the prober looks at it (censor/prober)."""

    reason: str = ""

    @property
    def final(self) -> bool:
        return False


class Mark(Action, frozen=True, kw_only=True, tag="mark"):
    """A word on the flow that later rules can ask for (`flow.mark`)."""

    value: Text

    @property
    def final(self) -> bool:
        return False


class Log(Action, frozen=True, kw_only=True, tag="log"):
    """Nothing but the event."""

    @property
    def final(self) -> bool:
        return False


class Allow(Action, frozen=True, kw_only=True, tag="allow"):
    """The flow passes, whatever later rules say."""


AnyAction = (
    Drop
    | Reject
    | Reset
    | ForgeDns
    | BlockPage
    | Police
    | Delay
    | Lose
    | Freeze
    | Residual
    | Probe
    | Mark
    | Log
    | Allow
)
