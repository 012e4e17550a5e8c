"""Cases: what a decorated function becomes, and what all of them have to be."""

from __future__ import annotations

import re
from collections import Counter

from lab.benchmarks.conformance.case import Case, Needs, case
from lab.benchmarks.conformance.cases import CASES, TOPICS
from lab.benchmarks.conformance.runner import SETUPS
from lab.benchmarks.conformance.stage import Stage


def test_a_function_becomes_a_case() -> None:
    @case("udp-x", "RFC 1928", sent="a", right="b", needs=Needs.USER, optional=True)
    def made(stage: Stage) -> None:
        """Never called here."""

    assert isinstance(made, Case)
    assert (made.id, made.topic, made.needs, made.optional) == ("udp-x", "udp", Needs.USER, True)


def test_ids_are_unique_and_begin_with_a_topic() -> None:
    assert [id for id, times in Counter(one.id for one in CASES).items() if times > 1] == []
    assert not [one.id for one in CASES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", one.id)]
    assert {one.topic for one in CASES} == set(TOPICS)


def test_cases_say_everything_in_a_line_of_a_table() -> None:
    for one in CASES:
        assert all((one.source, one.sent, one.right)), one.id
        assert not re.search(r"\n|  |\|", one.source + one.sent + one.right), one.id


def test_there_is_a_setup_for_whatever_a_case_needs() -> None:
    assert set(SETUPS) == set(Needs)
    longest = SETUPS[Needs.LONGEST_USER].login
    assert longest
    assert (len(longest.user), len(longest.password)) == (255, 255)
