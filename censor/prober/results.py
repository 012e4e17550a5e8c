"""What probes come to, and what that is evidence of. Sans-IO."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from censor.prober.settings import Evidence, ProbeName

KEPT_BYTES = 256
"""Of what the server says, the result keeps so many."""


class End(enum.StrEnum):
    """How the connection ended, or why there was none."""

    PROBER = "prober"
    """The prober closed it: it knew enough."""
    FIN = "fin"
    RST = "rst"
    SILENCE = "silence"
    """The server let the time go by."""
    REFUSED = "refused"
    """An RST to the SYN."""
    UNREACHABLE = "unreachable"
    """ICMP, or no route."""
    TIMEOUT = "timeout"
    """No answer to the SYN."""


class Outcome(enum.StrEnum):
    """What came of a probe. How a silent server closes tells implementations apart (Frolov et al., NDSS 2020)."""

    ANSWERED_PROXY = "answered_proxy"
    """With what proxies say."""
    ANSWERED_OTHER = "answered_other"
    NO_ANSWER = "no_answer"
    """It took the connection and was silent."""
    CLOSED = "closed"
    """It said nothing and sent a FIN."""
    RESET = "reset"
    """It said nothing and sent an RST."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"


OUTCOMES = {
    End.PROBER: Outcome.NO_ANSWER,
    End.FIN: Outcome.CLOSED,
    End.RST: Outcome.RESET,
    End.SILENCE: Outcome.NO_ANSWER,
    End.REFUSED: Outcome.REFUSED,
    End.UNREACHABLE: Outcome.UNREACHABLE,
    End.TIMEOUT: Outcome.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe's result.

    evidence: what the answers show; said: the same for people. received: the first KEPT_BYTES of `received_bytes`.
    seconds: from the SYN to the end; answer_seconds: to the first byte of the server, None where none came.
    """

    probe: ProbeName
    outcome: Outcome
    end: End
    evidence: tuple[Evidence, ...] = ()
    said: str = ""
    received: bytes = b""
    received_bytes: int = 0
    answer_seconds: float | None = None
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether the server said anything."""
        return self.received_bytes > 0

    @property
    def connected(self) -> bool:
        return self.end not in (End.REFUSED, End.UNREACHABLE, End.TIMEOUT)


def judge(convicting: tuple[Evidence, ...], results: dict[ProbeName, ProbeResult]) -> tuple[Evidence, ...]:
    """Which evidence of `convicting`, in that order, the results show."""
    shown = {one for result in results.values() for one in result.evidence}
    if (
        is_answered_replay(results)
        and (control := results.get("random"))
        and control.connected
        and not control.answered
    ):
        shown.add("replay")
    return tuple(one for one in convicting if one in shown)


def is_answered_replay(results: dict[ProbeName, ProbeResult]) -> bool:
    """Whether the server answered a replay. Random bytes show whether it answers anything: an echo, an HTTP server."""
    replay = results.get("replay")
    return replay is not None and replay.answered
