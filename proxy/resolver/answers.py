"""What DNS says about a name. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum


class RecordType(IntEnum):
    """The types that are asked for, RFC 1035 section 3.2.2 and RFC 3596 section 2.1."""

    A = 1
    AAAA = 28


class Status(Enum):
    """What an answer amounts to."""

    FOUND = "found"
    NO_ADDRESS = "no address"  # the name exists, without a record of this type (RFC 2308 section 2.2)
    NO_NAME = "no such name"  # NXDOMAIN
    FAILED = "failed"  # SERVFAIL, REFUSED and their like, or no answer at all
    TRUNCATED = "truncated"  # too long for UDP: to be asked for over TCP


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question, or to those for both families."""

    status: Status
    addresses: tuple[str, ...] = ()
    ttl_seconds: float = 0.0
    """How long it holds: the least TTL on the way to the addresses; without any, that of RFC 2308 section 5."""
    partial: bool = False
    """Nothing is known about one of the families: its answer failed, or was not waited for."""
    error: str = ""
    """With FAILED: who was asked and what came back."""


def combine(answers: Sequence[Answer]) -> Answer:
    """One answer of those for AAAA and A, in this order; one may be missing.

    Addresses of one family are enough. Where there are none, a failure is more than a "no": the other family might have
    had some.
    """
    failed = [answer for answer in answers if answer.status is Status.FAILED]
    sound = [answer for answer in answers if answer.status is not Status.FAILED]
    addresses = tuple(address for answer in sound for address in answer.addresses)
    ttl = min((answer.ttl_seconds for answer in sound), default=0.0)
    if addresses:
        return Answer(Status.FOUND, addresses, ttl, partial=len(sound) < len(RecordType))
    if failed:
        return failed[0]
    no_name = any(answer.status is Status.NO_NAME for answer in sound)
    return Answer(Status.NO_NAME if no_name else Status.NO_ADDRESS, ttl_seconds=ttl)
