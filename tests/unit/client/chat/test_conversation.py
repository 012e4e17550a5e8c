from __future__ import annotations

from itertools import count

import pytest

from client.chat.conversation import PENDING_LINES, Conversation, Line


@pytest.fixture
def conversation() -> Conversation:
    ticks = count(1)
    return Conversation("alice", lambda: f"12:00:{next(ticks):02}")


def test_an_own_line_is_pending_until_the_other_end_has_shown_it(conversation: Conversation) -> None:
    conversation.said(1, "hello")
    assert conversation.pending == ["12:00:01 alice: hello ·"]
    conversation("message_sent", id=1, route="direct")
    assert conversation.pending == ["12:00:01 alice: hello ✓"]
    assert conversation.take() == []
    conversation("message_acked", id=1, route="direct")
    assert conversation.pending == []
    assert conversation.take() == [Line("12:00:01 alice: hello ✓✓")]
    assert conversation.take() == []


def test_what_others_say_is_finished_at_once(conversation: Conversation) -> None:
    conversation.said(1, "one")
    conversation.heard("bob", "grüß dich".encode())
    conversation.notice("connected")
    assert conversation.take() == [Line("12:00:02 bob: grüß dich"), Line("connected", notice=True)]


def test_messages_of_an_earlier_chat_are_not_shown(conversation: Conversation) -> None:
    conversation("message_sent", id=7, route="direct")
    conversation("message_acked", id=7, route="direct")
    assert (conversation.pending, conversation.take()) == ([], [])


@pytest.mark.parametrize("end", ["attachment_sent", "attachment_failed"])
def test_a_file_shows_how_far_it_is(conversation: Conversation, end: str) -> None:
    conversation("attachment_queued", attachment=1, name="a.jpg", bytes=200)
    assert conversation.pending == ["· a.jpg"]
    conversation("attachment_progress", attachment=1, name="a.jpg", sent=50, bytes=200)
    assert conversation.pending == ["✓ a.jpg 25 %"]
    conversation(end, attachment=1, name="a.jpg")
    assert conversation.pending == []


def test_of_many_pending_lines_the_last_are_shown(conversation: Conversation) -> None:
    for id_ in range(1, PENDING_LINES + 3):
        conversation.said(id_, f"line {id_}")
    assert conversation.pending[0] == "(2 more)"
    assert conversation.pending[1].endswith("line 3 ·")
    assert len(conversation.pending) == 1 + PENDING_LINES


def test_how_the_last_dial_of_a_route_ended(conversation: Conversation) -> None:
    assert conversation.dial_of("direct") is None
    conversation("route_failed", route="direct", stage="tcp", failure="connection_refused")
    assert conversation.dial_of("direct") == "tcp: connection_refused"
    conversation("route_dialed", route="direct")
    assert conversation.dial_of("direct") == ""


def test_what_a_terminal_obeys_is_replaced_and_further_lines_are_indented(conversation: Conversation) -> None:
    conversation.heard("bob", b"a\x1b[2Jb\nc")
    assert conversation.take()[0].text == "12:00:01 bob: a\ufffd[2Jb\n    c"


def test_a_name_that_others_chose_is_no_less_dangerous_nor_are_bytes_that_are_no_text(
    conversation: Conversation,
) -> None:
    conversation.heard("b\x1bob", b"\xff")
    assert conversation.take()[0].text == "12:00:01 b\ufffdob: \ufffd"
