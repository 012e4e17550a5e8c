from __future__ import annotations

from typing import Any

from client.narration import MOST_UNDECRYPTABLE, Narrator, afterwards
from client.settings import OriginAddress
from sidedoor.events import discard


class Listener:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.said: list[str] = []
        self.narrator = Narrator(OriginAddress("localhost", 8443), self.emit, self.said.append)

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append(event)

    def fails(self, failure: str, stage: str = "tcp", route: str = "direct") -> None:
        self.narrator("route_failed", route=route, stage=stage, failure=failure)


def test_the_first_failure_and_each_change_are_said_once() -> None:
    made = Listener()
    for failure in ("connection_refused", "connection_refused", "generic_timeout_error", "connection_refused"):
        made.fails(failure)
    assert made.said == [
        "cannot reach origin localhost:8443: tcp: connection refused; trying again",
        "cannot reach origin localhost:8443: tcp: no answer in time; trying again",
        "cannot reach origin localhost:8443: tcp: connection refused; trying again",
    ]
    assert made.events == ["route_failed"] * 4
    assert made.narrator.failures == ["direct: tcp: connection refused"]


def test_each_route_has_its_own_lines_and_a_connection_ends_them() -> None:
    made = Listener()
    made.fails("dns_nxdomain_error", "dns")
    made.fails("socks_server_failure", "socks_request", "proxy1")
    made.narrator("route_dialed", route="proxy1")
    assert made.said[0].startswith("cannot reach origin localhost:8443: dns: NXDOMAIN")
    assert made.said[1:] == [
        "cannot reach origin localhost:8443 by proxy1: socks_request: the proxy failed; trying again",
        "connected to origin localhost:8443 by proxy1",
    ]
    assert made.narrator.reached
    assert [failure.partition(" (")[0] for failure in made.narrator.failures] == ["direct: dns: NXDOMAIN"]


def test_a_connection_that_is_lost() -> None:
    made = Listener()
    made.narrator("route_dialed", route="direct")
    made.narrator("path_bad", route="direct", reason="ack_overdue")
    made.narrator("path_bad", route="direct", reason="dial_failed")
    assert not made.narrator.reached
    made.narrator("route_dialed", route="direct")
    assert made.said == [
        "connection to origin localhost:8443 lost: no answer in time; trying again",
        "connected to origin localhost:8443",
    ]


def test_a_probe_that_fails_while_messages_go_by_another_route_names_both() -> None:
    made = Listener()
    made.narrator("route_dialed", route="direct")
    made.narrator("path_bad", route="direct", reason="ack_overdue")
    made.narrator("route_dialed", route="proxy1")
    made.narrator("route_switched", old="direct", new="proxy1")
    for _ in range(2):
        made.fails("generic_timeout_error")
    made.narrator("path_bad", route="proxy1", reason="eof")
    made.fails("connection_refused")
    assert made.said[1:] == [
        "messages go by proxy1 now",
        "direct does not lead to origin localhost:8443: tcp: no answer in time; messages go by proxy1",
        "connection to origin localhost:8443 by proxy1 lost: the other side closed the connection; trying again",
        "cannot reach origin localhost:8443: tcp: connection refused; trying again",
    ]


def test_a_proxy_that_fails_while_messages_go_directly_is_no_loss() -> None:
    made = Listener()
    made.narrator("route_dialed", route="direct")
    made.fails("connection_refused", route="proxy1")
    assert made.said == ["proxy1 does not lead to origin localhost:8443: tcp: connection refused; messages go direct"]


def test_where_nothing_failed_nothing_is_said_but_on_demand() -> None:
    made = Listener()
    made.narrator("route_dialed", route="direct")
    assert not made.said
    made.narrator.connected()
    assert made.said == ["connected to origin localhost:8443"]


def test_an_ipv6_origin_is_in_brackets() -> None:
    said: list[str] = []
    Narrator(OriginAddress("::1", 443), Listener().emit, said.append).connected()
    assert said == ["connected to origin [::1]:443"]


def test_what_is_wrong_with_a_route_is_said_when_it_is_likely_and_once_for_each_kind() -> None:
    made = Listener()
    for kind, confidence in (("address_drop", 0.4), ("sni_drop", 0.6), ("sni_drop", 0.9), ("none", 0.9), ("none", 0.9)):
        made.narrator("diagnosed", route="direct", kind=kind, confidence=confidence)
    assert made.said == [
        "direct: TCP stands, the ClientHello goes unanswered (sni_drop, 60% sure)",
        "direct: nothing is wrong any more",
    ]


def test_two_kinds_that_take_turns_are_said_again_only_when_they_are_surer_or_after_all_was_well() -> None:
    made = Listener()
    told = [("dns_forged", 0.6), ("reset", 0.6), ("dns_forged", 0.6), ("reset", 0.6), ("dns_forged", 0.9)]
    for kind, confidence in (*told, ("none", 0.9), ("reset", 0.6)):
        made.narrator("diagnosed", route="direct", kind=kind, confidence=confidence)
    assert made.said == [
        "direct: the name leads to somebody else's address (dns_forged, 60% sure)",
        "direct: connections are reset (reset, 60% sure)",
        "direct: the name leads to somebody else's address (dns_forged, 90% sure)",
        "direct: nothing is wrong any more",
        "direct: connections are reset (reset, 60% sure)",
    ]


def test_lists_and_the_memory_are_told_of_once_each() -> None:
    made = Listener()
    for _ in range(2):
        made.narrator("proxy_list_refused", reason="older", detail="version 2 is older than 3, which is known")
    made.narrator("memory_unreadable", file="networks.json", detail="cut off")
    assert made.said == [
        "a list of proxies is not used: version 2 is older than 3, which is known",
        "memory file networks.json cannot be used, it is begun anew: cut off",
    ]
    assert made.events == ["proxy_list_refused", "proxy_list_refused", "memory_unreadable"]


def test_what_cannot_be_decrypted_is_said_once_for_each_sender_and_reason() -> None:
    made = Listener()
    for id_ in (1, 2):
        made.narrator("message_undecryptable", sender="alice", id=id_, reason="it is not encrypted")
        made.narrator("ack_refused", id=id_, route="direct", reason="it was changed")
    for sender in ("alice", "carol", "alice"):
        made.narrator("message_undecryptable", sender=sender, id=3, reason="it was changed")
    fit = "; do --key and --peer-key of both ends fit each other?"
    assert made.said == [
        f"a message from alice cannot be decrypted: it is not encrypted{fit}",
        f"an acknowledgement cannot be decrypted: it was changed{fit}",
        f"a message from alice cannot be decrypted: it was changed{fit}",
        f"a message from carol cannot be decrypted: it was changed{fit}",
    ]
    assert len(made.events) == 7


def test_senders_without_end_are_not_all_told_of() -> None:
    made = Listener()
    for number in range(MOST_UNDECRYPTABLE + 5):
        made.narrator("message_undecryptable", sender=f"sender{number}", id=1, reason="it was changed")
    assert len(made.said) == MOST_UNDECRYPTABLE


def test_what_becomes_of_what_has_no_ack() -> None:
    assert afterwards("alice.state", "chat", was_reached=True) == "kept in alice.state for the next chat"
    assert afterwards(None, "call", was_reached=True) == (
        "what the origin has already it may still deliver; with --state FILE the rest would be kept for the next call"
    )
    assert afterwards(None, "chat", was_reached=False) == (
        "the origin has none of it; with --state FILE it would be kept for the next chat"
    )


def test_an_origin_that_was_reached_once_may_have_something() -> None:
    made = Listener()
    made.fails("connection_refused")
    assert not made.narrator.was_reached
    made.narrator("route_dialed", route="direct")
    made.narrator("path_bad", route="direct", reason="eof")
    assert (made.narrator.reached, made.narrator.was_reached) == (False, True)


def test_what_becomes_of_attachments() -> None:
    made = Listener()
    made.narrator("attachment_queued", attachment=1, name="a", bytes=5)
    made.narrator("attachment_sent", attachment=1, name="a", bytes=5)
    made.narrator("attachment_failed", attachment=2, name="b", reason="the file was changed")
    made.narrator("attachment_received", sender="alice", name="a", path="in/a", bytes=5)
    made.narrator("attachment_refused", sender="alice", name="b", reason="it is too large")
    assert made.said == [
        "sent a (5 bytes)",
        "b was not sent: the file was changed",
        "received in/a from alice (5 bytes)",
        "b from alice was not received: it is too large",
    ]
    assert made.narrator.failed_attachments == 1


def test_the_first_connection_is_told_of_to_who_wants_it_and_each_switch_to_all() -> None:
    said: list[str] = []
    narrator = Narrator(OriginAddress("origin.example"), discard, said.append, greet=True)
    for event, fields in (
        ("route_dialed", {"route": "direct"}),
        ("route_switched", {"old": None, "new": "proxy2"}),
        ("route_dialed", {"route": "proxy1"}),
        ("route_switched", {"old": "direct", "new": "proxy1"}),
        ("failed_back", {"old": "proxy1", "new": "direct"}),
    ):
        narrator(event, **fields)
    assert said == [
        "connected to origin origin.example:443",
        "messages go by proxy1 now",
        "messages go direct now",
    ]
