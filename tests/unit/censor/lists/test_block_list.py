"""censor/lists/block_list.py"""

from __future__ import annotations

import pytest

from censor.lists.block_list import PROBLEMS_LIMIT, REASON_LIMIT_CHARACTERS, BlockList, Draft, Problem
from censor.lists.domains import DomainSet
from censor.lists.prefixes import PrefixSet
from sidedoor.settings import SettingsError


def test_a_draft_becomes_a_list() -> None:
    draft = Draft()
    draft.rows = 3
    draft.add_domains(["A.example", "b.example"])
    draft.add_addresses(["192.0.2.0/25", "192.0.2.128/25", "2001:db8::1"])
    draft.urls.add("c.example/page")
    draft.skip(7, "odd")
    assert draft.finish("f", "rows", "today") == BlockList(
        domains=DomainSet(["a.example", "b.example"]),
        networks=PrefixSet(["192.0.2.0/24", "2001:db8::1"]),
        urls=frozenset({"c.example/page"}),
        rows=3,
        skipped=1,
        problems=(Problem(7, "odd"),),
        updated="today",
    )


def test_a_row_is_taken_whole_or_not_at_all() -> None:
    draft = Draft()
    with pytest.raises(ValueError, match="domain name"):
        draft.add_domains(["a.example", "192.0.2.1"])
    with pytest.raises(ValueError, match="host bits"):
        draft.add_addresses(["192.0.2.1", "192.0.2.1/24"])
    assert draft.finish("f", "rows") == Draft().finish("f", "rows")


def test_the_first_problems_are_kept_and_all_counted() -> None:
    draft = Draft()
    draft.rows = 1000
    for line in range(1, 101):
        draft.skip(line, "x" * 1000)
    found = draft.finish("f", "rows")
    assert found.skipped == 100
    assert [problem.line for problem in found.problems] == list(range(1, PROBLEMS_LIMIT + 1))
    assert len(found.problems[0].reason) == REASON_LIMIT_CHARACTERS + len("...")


def test_a_list_of_which_most_is_malformed_is_something_else() -> None:
    draft = Draft()
    draft.rows = 4
    for line in (3, 4):
        draft.skip(line, "'<p>' is not a domain name")
    assert draft.finish("f", "a name").skipped == 2
    draft.skip(9, "late")
    with pytest.raises(SettingsError) as caught:
        draft.finish("f.txt", "a name")
    expected = "f.txt: line 3: '<p>' is not a domain name; expected a name (3 of 4 rows are malformed)"
    assert str(caught.value) == expected


def test_covers_url() -> None:
    found = BlockList(DomainSet(), PrefixSet(), frozenset({"c.example/page?a=1", "d.example/"}))
    assert found.covers_url("c.example", "/page?a=1")
    assert found.covers_url("d.example", "/")
    assert found.covers_url("d.example", "")
    assert not found.covers_url("c.example", "/page")
    assert not found.covers_url("www.c.example", "/page?a=1")


@pytest.mark.parametrize(
    ("domains", "intervals", "urls"),
    [(["a.example"], [], set()), ([], ["2001:db8::1"], set()), ([], [], {"a.example/"})],
)
def test_blocks_anything(domains: list[str], intervals: list[str], urls: set[str]) -> None:
    draft = Draft()
    assert not draft.finish("f", "rows").blocks_anything
    draft.add_domains(domains)
    draft.add_addresses(intervals)
    draft.urls |= urls
    assert draft.finish("f", "rows").blocks_anything
