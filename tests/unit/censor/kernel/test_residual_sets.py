"""censor/kernel/residual_sets.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import pytest

from censor.kernel import residual_sets
from censor.kernel.residual_sets import Residual, Scope

CLIENT, SERVER = bytes([192, 0, 2, 10]), bytes([203, 0, 113, 10])


def rules(residual: Residual) -> list[str]:
    """What is in the base chain, without its name."""
    lines = residual_sets.residuals_script([residual], [], [], 9).splitlines()
    assert lines[0] == "flush chain inet sidedoor residual"
    return [line.removeprefix("add rule inet sidedoor residual ") for line in lines[1:]]


@pytest.mark.parametrize(
    ("scope", "key", "type_"),
    [
        (Scope.TWO_TUPLE, CLIENT + SERVER, "ipv4_addr . ipv4_addr"),
        (
            Scope.THREE_TUPLE,
            CLIENT + SERVER + b"\x06\0\0\0\x01\xbb\0\0",
            "ipv4_addr . ipv4_addr . inet_proto . inet_service",
        ),
        (
            Scope.FOUR_TUPLE,
            CLIENT + SERVER + b"\x06\0\0\0\xc3\x50\0\0\x01\xbb\0\0",
            "ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service",
        ),
    ],
)
def test_a_key_and_the_set_that_it_is_in(scope: Scope, key: bytes, type_: str) -> None:
    assert residual_sets.residual_key(scope, CLIENT, SERVER, 6, 50000, 443) == key
    script = residual_sets.residuals_script([], [Residual(3, scope)], [], 9)
    assert f"set residual3_v4 {{ type {type_}; flags dynamic,timeout; timeout 1h; size 1048576; }}" in script
    assert f"set residual3_v6 {{ type {type_.replace('4_', '6_')}; flags" in script


def test_both_directions_are_told_from_the_client() -> None:
    assert rules(Residual(3)) == [
        "ip saddr . ip daddr . meta l4proto . th dport @residual3_v4 goto residual3",
        "ip daddr . ip saddr . meta l4proto . th sport @residual3_v4 goto residual3",
        "ip6 saddr . ip6 daddr . meta l4proto . th dport @residual3_v6 goto residual3",
        "ip6 daddr . ip6 saddr . meta l4proto . th sport @residual3_v6 goto residual3",
    ]
    assert rules(Residual(3, Scope.TWO_TUPLE))[1] == "ip daddr . ip saddr @residual3_v4 goto residual3"
    four = "ip daddr . ip saddr . meta l4proto . th dport . th sport @residual3_v4 goto residual3"
    assert rules(Residual(3, Scope.FOUR_TUPLE))[1] == four


def test_a_server_whoever_its_client_is() -> None:
    assert residual_sets.residual_key(Scope.SERVER, b"", SERVER, 6, 0, 443) == SERVER + b"\x06\0\0\0\x01\xbb\0\0"
    script = residual_sets.residuals_script([], [Residual(3, Scope.SERVER)], [], 9)
    assert "set residual3_v4 { type ipv4_addr . inet_proto . inet_service; flags" in script
    assert rules(Residual(3, Scope.SERVER))[:2] == [
        "ip daddr . meta l4proto . th dport @residual3_v4 goto residual3",
        "ip saddr . meta l4proto . th sport @residual3_v4 goto residual3",
    ]


def test_the_client_alone() -> None:
    found = rules(Residual(3, client_only=True))
    assert [line.split(" . ")[0] for line in found] == ["ip saddr", "ip6 saddr"]


def test_packets_that_are_hit_begin_the_block_anew() -> None:
    fields = "ip saddr . ip daddr"
    assert rules(Residual(3, Scope.TWO_TUPLE, refresh_seconds=420))[0] == (
        f"{fields} @residual3_v4 update @residual3_v4 {{ {fields} timeout 420s }} goto residual3"
    )


def test_what_does_not_hit_every_time_is_queued() -> None:
    residual = Residual(3, Scope.TWO_TUPLE, action="queue")
    assert rules(residual)[0] == "ip saddr . ip daddr @residual3_v4 meta mark set meta mark | 0x10000000"
    assert "chain residual3" not in residual_sets.residuals_script([], [residual], [], 9)
    assert residual_sets.residuals_script([], [], [residual], 9).splitlines()[1:] == [
        "delete set inet sidedoor residual3_v4",
        "delete set inet sidedoor residual3_v6",
    ]


def test_drops_are_logged_by_their_rule_and_counted() -> None:
    script = residual_sets.residuals_script([], [Residual(3)], [], 9)
    assert 'log prefix "residual3" group 9 snaplen 128' in script
    assert "chain residual3_act { counter drop; }" in script


def test_removal_takes_everything() -> None:
    assert residual_sets.residuals_script([], [], [Residual(3)], 9).splitlines()[1:] == [
        "flush chain inet sidedoor residual3",
        "flush chain inet sidedoor residual3_act",
        "delete chain inet sidedoor residual3",
        "delete chain inet sidedoor residual3_act",
        "delete set inet sidedoor residual3_v4",
        "delete set inet sidedoor residual3_v6",
        "delete set inet sidedoor residual3_seen_v4",
        "delete set inet sidedoor residual3_seen_v6",
    ]


@pytest.mark.parametrize(("prefix", "serial"), [("residual12", 12), ("residual", None), ("rule1", None)])
def test_serials(prefix: str, serial: int | None) -> None:
    assert residual_sets.serial_of(prefix) == serial
    assert serial is None or residual_sets.log_prefix(serial) == prefix
