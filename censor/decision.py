"""Sans-IO: what is to be done with one packet, and the report of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from censor.packets import Packet, address, flow_name


@dataclass(frozen=True, slots=True)
class Hit:
    """One packet that the censor acted on; `flow` is told from the client's side. Fields as in docs/events.md."""

    rule: str
    action: str
    flow: str
    name: str
    source_address: str
    destination_address: str
    packet_bytes: int
    collateral: bool = False
    """The rule says what it is meant for (`intended`), and the flow is not that."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A server that may be a proxy. address: 4 or 16 bytes. first_payload: what its client said first."""

    address: bytes
    port: int
    first_payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A residual block to be put into the kernel: packets of that key, for so long from `begins` on (packets' clock).

    Ports are 0 where the kind has none. What the kernel does with them is the rule's
    (censor/kernel/residual_blocks.py).
    """

    rule: str
    kind: str
    client_address: bytes
    server_address: bytes
    server_port: int
    client_port: int
    protocol: int
    begins: float
    seconds: float


@dataclass(slots=True)
class Decision:
    """What to do with a packet: inject `before`, give the verdict, inject `after`, report `hits`.

    mark: the packet mark that goes with the verdict (which the kernel saves as the flow's connmark); None: none.
    watch: the flow's later packets, of both directions, are all to come here.
    delay_seconds: how long the packet is held first. later: packets to inject, and after how many seconds.
    """

    accept: bool = True
    mark: int | None = None
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    hits: tuple[Hit, ...] = ()
    watch: bool = False
    delay_seconds: float = 0.0
    later: tuple[tuple[float, bytes], ...] = ()
    suspects: tuple[Suspect, ...] = ()
    blocked: tuple[Blocked, ...] = field(default=())

    @property
    def injected(self) -> int:
        """Packets that go out at once."""
        return len(self.before) + len(self.after)

    def inject(self, made: tuple[bytes, ...], packet: Packet) -> None:
        """Have `made` sent because of `packet`, on whose passing was decided.

        What goes to the sender of a packet that passes leaves before it: no answer to it can be first then, however
        near its receiver is. What goes to the receiver leaves behind it, to be in sequence.
        """
        if not self.accept:
            self.after += made
            return
        for one in made:
            destination = one[16:20] if one[0] >> 4 == 4 else one[24:40]  # RFC 791, 8200
            if destination == packet.source:
                self.before += (one,)
            else:
                self.after += (one,)


PASS = Decision()
"""Nothing is to be done. Never changed."""


def hit(
    rule: str, action: str, packet: Packet, name: str, *, from_client: bool = True, collateral: bool = False
) -> Hit:
    """The report of an action of `rule` on `packet`, which belongs to a flow for `name`."""
    return Hit(
        rule=rule,
        action=action,
        flow=flow_name(packet, reverse=not from_client),
        name=name,
        source_address=address(packet.source),
        destination_address=address(packet.destination),
        packet_bytes=packet.length,
        collateral=collateral,
    )
