"""What is to hold of every analyzer: how its outcome comes about as bytes come in, and how much work it does."""

from __future__ import annotations

import sys
from types import FrameType

from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome, Read, Wanted


def read_growing(read: Read, data: bytes, wanted: Wanted) -> Finding | Outcome:
    """The outcome for `data`, after checking that each beginning of it says MORE or, from some length on, the same."""
    outcome: Finding | Outcome = Outcome.MORE
    for length in range(len(data) + 1):
        previous, outcome = outcome, read(data[:length], wanted)
        assert previous in (Outcome.MORE, outcome)
    return outcome


def damaged(sound: bytes) -> st.SearchStrategy[bytes]:
    """`sound` with some bytes of it replaced by any others."""
    return st.tuples(st.integers(0, len(sound)), st.integers(0, 4), st.binary(max_size=4)).map(
        lambda damage: sound[: damage[0]] + damage[2] + sound[damage[0] + damage[1] :]
    )


def calls(read: Read, data: bytes, wanted: Wanted) -> int:
    """How many functions, of Python and built in, are called for reading `data`: there is one in each loop's body."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        read(data, wanted)
    finally:
        sys.setprofile(None)
    return count
