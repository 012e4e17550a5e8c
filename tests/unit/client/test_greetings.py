"""Which connection has said hello last: after switches, copies, ends."""

from __future__ import annotations

from typing import cast

import pytest

from client.greetings import HOME_SECONDS, Greetings
from client.line import Line, Owner
from client.messages import Hello, Record


class SaidLine(Line):
    """A line that only keeps what it is to say."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "direct", cast(Owner, None))
        self.said: list[Record] = []

    def say(self, record: Record) -> None:
        self.said.append(record)


@pytest.fixture
def greetings() -> Greetings:
    return Greetings(Hello("alice", 7))


@pytest.fixture
def in_use(greetings: Greetings) -> SaidLine:
    line = SaidLine(1)
    greetings.greet(line)
    return line


def test_hello_is_this_ends(in_use: SaidLine) -> None:
    assert in_use.said == [Hello("alice", 7)]


def test_a_standby_says_hello_with_its_first_copy_only(greetings: Greetings, in_use: SaidLine) -> None:
    standby = SaidLine(2)
    greetings.copied(standby, 10.0)
    greetings.copied(standby, 10.1)
    assert standby.said == [Hello("alice", 7)]
    assert len(in_use.said) == 1


def test_what_comes_in_comes_home_when_no_copy_went_out_for_a_while(greetings: Greetings, in_use: SaidLine) -> None:
    standby = SaidLine(2)
    greetings.copied(standby, 10.0)
    greetings.answered(in_use, 10.0 + HOME_SECONDS / 2)
    assert len(in_use.said) == 1
    greetings.answered(in_use, 10.0 + HOME_SECONDS)
    greetings.answered(in_use, 10.1 + HOME_SECONDS)
    assert len(in_use.said) == 2
    greetings.copied(standby, 20.0)
    assert len(standby.said) == 2, "it is told anew"


def test_who_was_not_away_need_not_come_home(greetings: Greetings, in_use: SaidLine) -> None:
    greetings.answered(in_use, 100.0)
    assert len(in_use.said) == 1


def test_the_line_in_use_says_hello_when_the_last_that_did_is_gone(greetings: Greetings, in_use: SaidLine) -> None:
    standby = SaidLine(2)
    greetings.copied(standby, 10.0)
    greetings.gone(standby, in_use)
    greetings.gone(standby, in_use)
    assert len(in_use.said) == 2


def test_another_that_is_gone_changes_nothing(greetings: Greetings, in_use: SaidLine) -> None:
    greetings.gone(SaidLine(2), in_use)
    assert len(in_use.said) == 1


def test_with_nothing_in_use_the_next_line_says_hello_anyway(greetings: Greetings, in_use: SaidLine) -> None:
    greetings.gone(in_use, None)
    successor = SaidLine(2)
    greetings.greet(successor)
    assert successor.said == [Hello("alice", 7)]
