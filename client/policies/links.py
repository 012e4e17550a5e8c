"""The connections of the policy `sidedoor`: what each is for, how far its dial is, what it has shown. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from client.policies.evidence import Evidence
from client.policies.hedging import Doubt
from client.policies.trial import Trial

Role = Literal["candidate", "carrier", "spare", "probe", "drain"]
"""`candidate`: dialed to carry. `carrier`: messages go out by it. `spare`: established through a proxy, idle but for
hedges. `probe`: a trial of a path without a proxy. `drain`: was the carrier, waits for its last answers."""

UNKNOWN_STAGE_SECONDS = 0.3
"""How long the first stage may take: the 250 ms of RFC 8305 section 8, and some for a machine that stalls."""
STAGE_FACTOR = 2.5
STAGE_MARGIN_SECONDS = 0.1
"""A later stage may take so many times the slowest before it and the margin: it has one round trip, or two."""
LOSS_SECONDS = 1.5
"""A dial that lost a segment stands again within this: TCP sends a SYN again after 1 s (RFC 6298 section 2.1)."""
LOST_QUERY_SECONDS = 2.5
"""... or a look-up: it is sent again after 2 s (`client.settings.ResolverSettings`)."""


@dataclass(slots=True)
class Link:
    """One connection. `evidence` is None until it is established; `announced`: a candidate reported as a probe.

    `stage`: where the dial is; `addresses`: how many of the origin's are tried, side by side (RFC 8305).
    """

    number: int
    route: str
    role: Role
    dialed_at: float
    evidence: Evidence | None = None
    announced: bool = False
    remembered: bool = False
    doubt: Doubt | None = None
    trial: Trial | None = None
    stage: str = ""
    addresses: int = 0
    _stage_at: float = 0.0
    _slowest_stage: float | None = None

    def __post_init__(self) -> None:
        self._stage_at = self.dialed_at

    @property
    def established(self) -> Evidence:
        """The evidence of a connection that stands."""
        assert self.evidence is not None, f"connection {self.number} is not established"
        return self.evidence

    def reached(self, stage: str, now: float, addresses: int = 0) -> None:
        """The dial has entered its next stage."""
        self.stage, self.addresses = stage, addresses
        took = now - self._stage_at
        # A stage that takes no time (an address that needs no query) says nothing about the path.
        if took > 0.001:
            self._slowest_stage = max(took, self._slowest_stage or 0.0)
        self._stage_at = now

    @property
    def slowest_stage_seconds(self) -> float | None:
        """The slowest stage that this dial has passed: a round trip, or two. None: none of them says anything."""
        return self._slowest_stage

    @property
    def lost_until(self) -> float:
        """Until when a stuck dial may only have lost a segment; not so where SYNs to two addresses have no answer."""
        if self.stage == "tcp" and self.addresses > 1:
            return self.dialed_at
        return self.dialed_at + (LOST_QUERY_SECONDS if self.stage == "dns" else LOSS_SECONDS)

    @property
    def stuck_at(self) -> float:
        """When this dial is to be called stuck in its stage, unless it goes on before."""
        if self._slowest_stage is None:
            return self._stage_at + UNKNOWN_STAGE_SECONDS
        return self._stage_at + STAGE_FACTOR * self._slowest_stage + STAGE_MARGIN_SECONDS
