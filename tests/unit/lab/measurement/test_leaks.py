"""Leaks: what counts and what does not, on crafted packets."""

from __future__ import annotations

from typing import Any

from lab.measurement.leaks import Leaks, find_leaks
from lab.measurement.packets import parse
from tests.unit.lab.measurement.story import Story
from tests.unit.lab.measurement.traffic import CLIENT, MESSENGER, PROXY, REALTIME, RESOLVER, Frame, pcap, tcp, udp

QUESTION = b"\0\1\1\0\0\1\0\0\0\0\0\0\x09mesSenger\x07example\0\0\1\0\1"
ON_PROXY = 10.0, 20.0  # the switch and the way back


def leaks(frames: list[Frame], *more: dict[str, Any], back: bool = True) -> Leaks:
    story = Story()
    story.add(ON_PROXY[0], "client", "route_switched", old="direct", new="proxy1")
    if back:
        story.add(ON_PROXY[1], "client", "failed_back", old="proxy1", new="direct")
    return find_leaks(
        parse(pcap(frames), start=REALTIME),
        story.events + list(more),
        client_addresses=[CLIENT, "2001:db8:1::10"],
        messenger_addresses=[MESSENGER, "2001:db8:2::10"],
        messenger_names=["messenger.example"],
        proxy_addresses=[PROXY],
        capture_dropped=0,
    )


def to_messenger(port: int = 40000, flags: str = "PA") -> bytes:
    return tcp((CLIENT, port), (MESSENGER, 443), flags, 1, 1, b"" if "S" in flags else b"x")


def probe(t: float, event: str, **fields: Any) -> dict[str, Any]:
    return {"t": t, "source": "client", "event": event, "route": "direct"} | fields


def test_only_the_time_on_the_proxy_counts_after_a_grace_of_a_second() -> None:
    frames = [(t, to_messenger()) for t in (9.0, 10.9, 11.1, 19.9, 20.1)]
    found = leaks(frames)
    assert found.packets == 2
    assert found.capture_dropped == 0
    assert found.examples[0] == "11.100 s: tcp 192.0.2.10:40000 > 203.0.113.10:443, 41 bytes, PSH, ACK"


def test_a_bare_header_says_so() -> None:
    silent = tcp((CLIENT, 40000), (MESSENGER, 443), "", 1, 1)
    assert leaks([(12.0, silent)]).examples == ["12.000 s: tcp 192.0.2.10:40000 > 203.0.113.10:443, 40 bytes, no flag"]


def test_an_answer_to_a_late_segment_is_counted_apart() -> None:
    def reset(flags: str) -> bytes:
        return tcp((CLIENT, 40000), (MESSENGER, 443), flags, 1, 1, b"")

    found = leaks([(12.0, reset("R")), (13.0, reset("RA"))])
    assert found.reset_answers == 1
    assert found.packets == 1, "an abort that late is the client's own doing"
    assert found.examples[0].endswith("RST, ACK")


def test_without_a_way_back_the_rest_of_the_run_counts() -> None:
    assert leaks([(99.0, to_messenger())], back=False).packets == 1


def test_a_client_that_is_started_again_begins_anew() -> None:
    again = [
        {"t": 5.0, "source": "lab", "event": "role_started", "role": "client"},
        {"t": 11.5, "source": "lab", "event": "role_started", "role": "proxy1"},
        {"t": 12.0, "source": "lab", "event": "role_started", "role": "client"},
    ]
    assert leaks([(11.7, to_messenger()), (12.5, to_messenger())], *again).packets == 1


def test_a_second_proxy_and_a_return_without_a_switch_change_nothing() -> None:
    more = [
        probe(12.0, "route_switched", old="proxy1", new="proxy2"),
        probe(21.0, "route_switched", old="proxy1", new="direct"),
    ]
    assert leaks([(12.5, to_messenger()), (21.5, to_messenger())], *more).packets == 1


def test_the_name_counts_wherever_it_goes_but_inside_the_proxy() -> None:
    hello = tcp((CLIENT, 1), (RESOLVER, 443), "PA", 1, 1, b"\x16..messenger.example..")
    socks = tcp((CLIENT, 2), (PROXY, 1080), "PA", 1, 1, b"\x05\1\0\3\x11messenger.example\1\xbb")
    other = udp((CLIENT, 4), (RESOLVER, 53), QUESTION.replace(b"mesSenger", b"passenger"))
    question = udp((CLIENT, 3), (RESOLVER, 53), QUESTION)
    empty = tcp((CLIENT, 5), (RESOLVER, 443), "S", 1, 1)
    found = leaks([(12.0, hello), (12.0, socks), (12.0, other), (12.0, empty), (12.0, question)])
    assert found.packets == 2
    assert found.examples[1].startswith("12.000 s: udp 192.0.2.10:3 >")


def test_what_comes_back_and_what_others_send_does_not_count() -> None:
    answer = tcp((MESSENGER, 443), (CLIENT, 40000), "PA", 1, 1, b"x")
    shopper = tcp(("192.0.2.20", 5), (MESSENGER, 443), "PA", 1, 1, b"x")
    assert leaks([(12.0, answer), (12.0, shopper)]).packets == 0


def test_probes_are_apart_by_their_sockets() -> None:
    v6 = tcp(("2001:db8:1::10", 41002), ("2001:db8:2::10", 443), "PA", 1, 1, b"x")
    frames = [(14.0, to_messenger(41000)), (14.0, to_messenger(41001)), (14.0, v6), (14.0, to_messenger(41003))]
    sockets = [f"{CLIENT}:41001", "[2001:db8:1::10]:41002"]
    found = leaks(frames, probe(18.0, "probe_ended", ok=True, local=f"{CLIENT}:41000", sockets=sockets))
    assert found.packets == 1
    assert found.probe_bytes == 41 + 41 + 61


def test_a_probe_that_became_the_direct_path_costs_until_then_only() -> None:
    ended = probe(18.0, "probe_ended", ok=True, local=f"{CLIENT}:41000")
    found = leaks([(17.0, to_messenger(41000)), (20.1, to_messenger(41000))], ended)
    assert (found.packets, found.probe_bytes) == (0, 41)


def test_probes_are_apart_by_the_time_at_which_they_begin() -> None:
    question = udp((CLIENT, 3), (RESOLVER, 53), QUESTION)
    frames = [(14.1, question), (14.2, to_messenger(41000, "S")), (16.0, to_messenger(41000, "R"))]
    frames += [(14.3, to_messenger(40000)), (17.5, to_messenger(42000, "S"))]
    around = [probe(14.0, "probe_started"), probe(15.0, "probe_ended", ok=False), probe(17.0, "probe_started")]
    assert leaks(frames, *around).packets == 1


def test_a_syn_that_is_sent_again_does_not_hide_behind_a_later_probe() -> None:
    frames = [(t, to_messenger(40000, "S")) for t in (13.5, 14.5, 16.5)]
    assert leaks(frames, probe(14.0, "probe_started"), probe(15.0, "probe_ended", ok=False)).packets == 3


def test_another_dial_during_a_probe_that_lists_its_sockets_is_a_leak() -> None:
    question = udp((CLIENT, 3), (RESOLVER, 53), QUESTION)
    frames = [(14.1, question), (14.2, to_messenger(41000, "S")), (14.3, to_messenger(40000, "S"))]
    around = [probe(14.0, "probe_started"), probe(15.0, "probe_ended", ok=False, sockets=[f"{CLIENT}:41000"])]
    found = leaks(frames, *around)
    assert found.packets == 1
    assert ":40000 >" in found.examples[0]


def test_a_probe_of_a_proxy_excuses_nothing() -> None:
    around = [
        probe(14.0, "probe_started") | {"route": "proxy2"},
        probe(15.0, "probe_ended"),  # of nothing that was announced
    ]
    assert leaks([(14.5, to_messenger(41000, "S"))], *around).packets == 1
