"""censor/analyzers/all.py: what holds of every analyzer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Analyzer, Finding, Outcome, Read
from censor.analyzers.all import ANALYZERS, PROPERTIES
from censor.properties import FLOW_PROPERTIES
from tests.unit.censor.rule_sets import DATAGRAMS, STREAMS
from tests.unit.censor.test_properties import OF_TYPE

WANTED = frozenset(PROPERTIES)
SOCKS = (
    b"\x05\x01\x00",
    b"\x04\x01\x00\x50\xcb\x00\x71\x0auser\0",
    b"\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03\x01a\x00\x50",
)
HEADS = st.sampled_from((*STREAMS, *SOCKS, *DATAGRAMS))
PAYLOADS = st.one_of(
    st.binary(max_size=200),
    HEADS,
    st.builds(lambda head, cut, tail: head[:cut] + tail, HEADS, st.integers(0, 700), st.binary(max_size=20)),
)


def readers(analyzer: Analyzer) -> list[Read]:
    return [
        read for read in (analyzer.stream, analyzer.first_payload, analyzer.datagram and analyzer.datagram()) if read
    ]


def test_properties_are_the_flows_and_the_analyzers() -> None:
    assert len(PROPERTIES) == len(FLOW_PROPERTIES) + sum(len(analyzer.properties) for analyzer in ANALYZERS)


@pytest.mark.parametrize("analyzer", ANALYZERS, ids=lambda analyzer: analyzer.name)
def test_names_start_with_the_analyzers(analyzer: Analyzer) -> None:
    assert analyzer.name in analyzer.properties
    assert {name.partition(".")[0] for name in analyzer.properties} == {analyzer.name}
    assert readers(analyzer)


@given(PAYLOADS)
def test_any_bytes_are_good_input(payload: bytes) -> None:
    for analyzer in ANALYZERS:
        for read in readers(analyzer):
            outcome = read(payload, WANTED)
            if not isinstance(outcome, Finding):
                assert outcome in (Outcome.MORE, Outcome.OTHER)
                continue
            assert set(outcome.properties) <= set(analyzer.properties)
            if not outcome.partial:
                assert set(outcome.properties) == set(analyzer.properties)
            assert outcome.consumed <= len(payload)
            for name, value in outcome.properties.items():
                assert value is None or OF_TYPE[analyzer.properties[name]](value), (name, value)


@given(PAYLOADS)
def test_what_nobody_wants_may_be_left_out_but_is_not_absent(payload: bytes) -> None:
    for analyzer in ANALYZERS:
        for some, every in zip(readers(analyzer), readers(analyzer), strict=True):
            least, most = some(payload, frozenset()), every(payload, WANTED)
            if isinstance(least, Finding) and isinstance(most, Finding):
                assert least.properties.items() <= most.properties.items()
