from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.delivery import Entry, Inbox, Outbox
from client.messages import Message


def copy(id_: int, base: int = 1) -> Message:
    return Message("alice", "bob", 1, id_, base, 0.0, b"%d" % id_)


def shown(inbox: Inbox, *ids: int) -> list[int]:
    return [message.id for id_ in ids for message, _ in inbox.receive(copy(id_)).shown]


def ids(outbox: Outbox, connection: int) -> list[int]:
    found = []
    while (entry := outbox.next(connection)) is not None:
        found.append(entry.id)
    return found


# -- the sender's side


def test_ids_count_from_one_and_the_ack_gives_the_latency() -> None:
    outbox = Outbox()
    assert [outbox.submit(b"a", 1.0), outbox.submit(b"b", 2.0)] == [1, 2]
    assert outbox.next(7) == Entry(1, b"a", 1.0, attempts=1, connections={7})
    assert outbox.acked(1, 1.5) == [(1, 0.5)]
    assert outbox.acked(1, 1.6) == []
    assert (outbox.duplicate_acks, len(outbox), outbox.base, outbox.peak) == (1, 1, 2, 2)


def test_an_empty_outbox_begins_where_it_ends() -> None:
    outbox = Outbox()
    assert (outbox.base, outbox.next(1)) == (1, None)
    outbox.submit(b"", 0.0)
    outbox.acked(1, 0.0)
    assert outbox.base == 2


def test_what_a_lost_connection_carried_goes_first_and_by_the_same_ids() -> None:
    outbox = Outbox()
    for _ in range(4):
        outbox.submit(b"", 0.0)
    assert ids(outbox, 1) == [1, 2, 3, 4]
    outbox.acked(1, 0.1)
    outbox.submit(b"", 0.2)
    assert outbox.lost(1) == 3
    assert outbox.lost(1) == 0
    assert ids(outbox, 2) == [2, 3, 4, 5]
    assert outbox.lost(1) == 0, "they went by connection 2 since"


def test_an_ack_that_comes_while_the_copy_waits_to_go_again_saves_it() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.submit(b"", 0.0)
    ids(outbox, 1)
    outbox.lost(1)
    outbox.acked(2, 0.1)
    assert ids(outbox, 2) == [3]


def test_an_ack_stands_for_all_before_it_and_for_nothing_that_was_never_submitted() -> None:
    outbox = Outbox()
    for second in range(3):
        outbox.submit(b"", float(second))
    assert outbox.acked(4, 5.0) == []
    assert outbox.acked(2, 5.0) == [(1, 5.0), (2, 4.0)]
    assert (outbox.base, outbox.last_id, len(outbox), outbox.duplicate_acks) == (3, 3, 1, 0)


def test_a_later_life_goes_on_with_the_ids_of_the_earlier_one() -> None:
    outbox = Outbox(limit_messages=1, last_id=6)
    assert (outbox.base, outbox.last_id) == (7, 6)
    assert [outbox.restore(b"a", 1.0), outbox.restore(b"b", 2.0)] == [7, 8]
    assert outbox.full
    assert ids(outbox, 1) == [7, 8]
    assert outbox.acked(6, 3.0) == []


def test_bytes_under_way_are_bounded_but_one_message_may_be_longer() -> None:
    outbox = Outbox(window_bytes=10)
    for size in (20, 4, 5, 6):
        outbox.submit(bytes(size), 0.0)
    assert ids(outbox, 1) == [1]
    outbox.acked(1, 0.0)
    assert ids(outbox, 1) == [2, 3]
    outbox.lost(1)
    assert ids(outbox, 2) == [2, 3]
    outbox.acked(3, 0.0)
    assert ids(outbox, 2) == [4]


def test_the_window_counts_from_the_lowest_id_without_an_ack() -> None:
    outbox = Outbox(window_messages=2)
    for _ in range(4):
        outbox.submit(b"", 0.0)
    assert ids(outbox, 1) == [1, 2]
    outbox.acked(1, 0.0)
    assert ids(outbox, 1) == [3]
    outbox.acked(2, 0.0)
    assert ids(outbox, 1) == [4]


def test_a_full_outbox_takes_nothing_more() -> None:
    outbox = Outbox(limit_messages=1)
    outbox.submit(b"", 0.0)
    assert outbox.full
    with pytest.raises(OverflowError, match="1 messages"):
        outbox.submit(b"", 0.0)


def test_a_hedge_goes_by_a_second_connection_once_and_is_no_loss_with_either() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.submit(b"", 0.0)
    assert outbox.copy(1, 2) is None, "it never went out"
    assert ids(outbox, 1) == [1, 2, 3]
    copied = outbox.copy(2, 2)
    assert copied is not None
    assert (copied.attempts, copied.connections) == (2, {1, 2})
    assert outbox.copy(2, 2) is None
    outbox.acked(1, 0.1)
    assert outbox.copy(1, 2) is None
    assert outbox.lost(2) == 1
    assert ids(outbox, 1) == [], "it went by connection 1, which stands"
    outbox.copy(2, 3)
    assert outbox.lost(1) == 2
    assert ids(outbox, 3) == [3]


# -- the receiver's side


def test_copies_are_dropped_and_order_is_restored() -> None:
    inbox = Inbox()
    assert shown(inbox, 2, 3, 2) == []
    assert shown(inbox, 1) == [1, 2, 3]
    assert shown(inbox, 1, 2, 3, 4) == [4]
    assert (inbox.delivered, inbox.duplicates, inbox.reordered) == (4, 4, 1)


def test_only_a_copy_of_what_was_shown_asks_for_the_ack_again() -> None:
    inbox = Inbox()
    inbox.receive(copy(1))
    inbox.receive(copy(3))
    assert inbox.receive(copy(1)).ack_again
    held = inbox.receive(copy(3))
    assert held.duplicate
    assert not held.ack_again


def test_late_is_what_arrives_after_a_higher_id() -> None:
    inbox = Inbox()
    inbox.receive(copy(2))
    assert inbox.receive(copy(1)).shown == ((copy(1), True), (copy(2), False))


def test_beyond_the_window_a_copy_is_refused_without_an_ack() -> None:
    inbox = Inbox(window_messages=2)
    arrival = inbox.receive(copy(3))
    assert (arrival.shown, arrival.duplicate, arrival.ack_again, inbox.refused) == ((), False, False, 1)


def test_a_receiver_without_memory_begins_at_the_base() -> None:
    inbox = Inbox()
    inbox.receive(copy(3))
    assert [message.id for message, _ in inbox.receive(copy(8, base=7)).shown] == []
    assert [message.id for message, _ in inbox.receive(copy(7, base=7)).shown] == [7, 8]
    assert inbox.receive(copy(3)).duplicate


# -- both, with two bad routes between them


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), window=st.integers(1, 16))
def test_any_loss_duplication_and_reordering_ends_in_each_shown_once_and_in_order(
    seed: int, count: int, window: int
) -> None:
    chance = random.Random(seed)
    outbox, inbox = Outbox(window_messages=window), Inbox(window_messages=4 * window)
    for _ in range(count):
        outbox.submit(b"", 0.0)
    connection = 1
    copies: list[Message] = []
    acks: list[int] = []
    seen: list[int] = []
    steps = 0
    while len(outbox):
        steps += 1
        bad = steps < 300  # Then the weather clears.
        if (entry := outbox.next(connection)) is not None and not (bad and chance.random() < 0.3):
            message = copy(entry.id, outbox.base)
            copies += [message] * (1 if chance.random() < 0.8 else 2)
        if copies and (not bad or chance.random() < 0.5):
            arrival = inbox.receive(copies.pop(chance.randrange(len(copies))))
            seen += [message.id for message, _ in arrival.shown]
            acks += [message.id for message, _ in arrival.shown if not bad or chance.random() < 0.7]
            acks += [inbox.next_id - 1] if arrival.ack_again else []
        if acks and (not bad or chance.random() < 0.5):
            outbox.acked(acks.pop(chance.randrange(len(acks))), 1.0)
        if chance.random() < 0.05 or not (bad or copies or acks):
            outbox.lost(connection)
            connection += 1
            if not bad:
                for id_ in range(1, inbox.next_id):
                    outbox.acked(id_, 1.0)  # A shown message's copy is answered with its ack again.
    assert seen == list(range(1, count + 1))
