"""Users' limits in shared memory, in one process; several are in tests/integration/proxy/test_ledger.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import ledger as module
from proxy.ledger import DOWN, FILE_BYTES, SLOTS, UNNAMED, UP, Ledger
from proxy.relay.bucket import BURST_SECONDS, WAIT_SECONDS
from sidedoor.settings import SettingsError

DAY = 86400.0


class Clocks:
    """The wall clock of a ledger and the monotonic one of its users, set by hand."""

    def __init__(self) -> None:
        self.wall = 1.7e9
        self.monotonic = 1000.0

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def open(self, path: Path | None = None, places: int = 2) -> Ledger:
        path_text = "" if path is None else str(path)
        return Ledger(places, path_text, wall=lambda: self.wall)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def ledger(clocks: Clocks) -> Iterator[Ledger]:
    made = clocks.open()
    yield made
    made.close()


def test_each_name_has_a_slot_of_its_own_and_keeps_it(ledger: Ledger) -> None:
    anna, bert = ledger.slot_of("anna"), ledger.slot_of("bert")
    assert len({anna, bert, UNNAMED}) == 3
    assert (ledger.slot_of("anna"), ledger.slot_of("bert")) == (anna, bert)
    assert ledger.names() == ["", "anna", "bert"]


def test_who_has_no_name_has_the_first_slot(ledger: Ledger) -> None:
    assert ledger.slot_of("") == UNNAMED


def test_the_longest_name_has_255_bytes(ledger: Ledger) -> None:
    longest = "ä" * 127 + "x"
    slot = ledger.slot_of(longest)
    assert ledger.names()[slot] == longest
    with pytest.raises(SettingsError, match="longer than the 255 bytes"):
        ledger.slot_of(longest + "x")


def test_one_name_too_many_is_an_error_and_the_others_stay(ledger: Ledger) -> None:
    slots = [ledger.slot_of(f"user{i}") for i in range(SLOTS - 1)]
    with pytest.raises(SettingsError, match=r"users: 'late' .* restart the proxy"):
        ledger.slot_of("late")
    assert [ledger.slot_of(f"user{i}") for i in range(SLOTS - 1)] == slots


def test_where_there_is_no_memfd_a_temporary_file_will_do(monkeypatch: pytest.MonkeyPatch, clocks: Clocks) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ledger = clocks.open()
    assert ledger.slot_of("anna") == 1
    ledger.close()


# Connections


def test_connections_are_limited_over_all_places(ledger: Ledger) -> None:
    anna = ledger.slot_of("anna")
    assert [ledger.open_flow(anna, place, 3) for place in (0, 1, 1, 0)] == [True, True, True, False]
    assert ledger.flows(anna) == 3
    ledger.close_flow(anna, 1)
    assert ledger.open_flow(anna, 0, 3)
    assert not ledger.open_flow(anna, 1, 3)
    assert ledger.open_flow(ledger.slot_of("bert"), 0, 3), "the limit is each user's own"


def test_without_a_limit_connections_are_counted(ledger: Ledger) -> None:
    assert all(ledger.open_flow(UNNAMED, 0, 0) for _ in range(100))
    assert ledger.flows(UNNAMED) == 100


def test_a_dead_worker_leaves_no_connections(ledger: Ledger) -> None:
    anna = ledger.slot_of("anna")
    for place in (0, 0, 1):
        ledger.open_flow(anna, place, 3)
    ledger.forget_place(0)
    assert ledger.flows(anna) == 1
    assert ledger.open_flow(anna, 0, 2)


# Rate


def take_rate(ledger: Ledger, direction: int, want: int, now: float, rate: float) -> int:
    return ledger.take(UNNAMED, direction, want, now, rate, 0, DAY)


def test_after_a_pause_a_burst_may_go_then_the_rate(ledger: Ledger) -> None:
    burst = int(1e6 * BURST_SECONDS)
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == burst
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == 0
    assert take_rate(ledger, UP, 10**9, 1000.05, 1e6) == pytest.approx(50_000, abs=1)
    assert take_rate(ledger, UP, 10**9, 2000.0, 1e6) == burst


def test_no_more_is_taken_than_wanted(ledger: Ledger) -> None:
    assert [take_rate(ledger, UP, 70_000, 1000.0, 1e6) for _ in range(2)] == [70_000, 30_000]


def test_directions_have_rates_of_their_own(ledger: Ledger) -> None:
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == take_rate(ledger, DOWN, 10**9, 1000.0, 1e6) > 0


def test_a_process_whose_time_is_a_little_older_gets_nothing_twice(ledger: Ledger) -> None:
    take_rate(ledger, UP, 10**9, 1000.0, 1e6)
    assert take_rate(ledger, UP, 10**9, 999.9, 1e6) == 0
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == 0


def test_what_did_not_go_is_given_back(ledger: Ledger) -> None:
    took = take_rate(ledger, UP, 10**9, 1000.0, 1e6)
    ledger.give_back(UNNAMED, UP, 300)
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == 300
    ledger.give_back(UNNAMED, UP, took * 9)
    assert take_rate(ledger, UP, 10**9, 1000.0, 1e6) == took, "never more than a burst"


def test_a_rate_below_a_byte_per_burst_goes_on_byte_by_byte(ledger: Ledger) -> None:
    assert take_rate(ledger, UP, 100, 1000.0, 1.0) == 1
    assert take_rate(ledger, UP, 100, 1000.9, 1.0) == 0
    assert take_rate(ledger, UP, 100, 1001.1, 1.0) == 1


def test_how_long_to_wait(ledger: Ledger) -> None:
    take_rate(ledger, UP, 100, 1000.0, 0.5)
    assert ledger.wait_seconds(UNNAMED, UP, 0.5) == 2.0
    take_rate(ledger, DOWN, 10**9, 1000.0, 1e6)
    assert ledger.wait_seconds(UNNAMED, DOWN, 1e6) == WAIT_SECONDS
    assert ledger.wait_seconds(UNNAMED, UP, 0.0) == WAIT_SECONDS, "it was the quota"


# Quota


def take_quota(ledger: Ledger, want: int, now: float = 1000.0, quota: int = 1000, direction: int = UP) -> int:
    return ledger.take(UNNAMED, direction, want, now, 0.0, quota, DAY)


def test_a_quota_is_used_up_to_the_byte_by_both_directions(ledger: Ledger, clocks: Clocks) -> None:
    assert take_quota(ledger, 700) == 700
    assert not ledger.exhausted(UNNAMED, 1000, DAY, clocks.wall)
    assert take_quota(ledger, 700, direction=DOWN) == 300
    assert take_quota(ledger, 1) == 0
    assert ledger.used(UNNAMED) == 1000
    assert ledger.exhausted(UNNAMED, 1000, DAY, clocks.wall)


def test_where_there_is_no_quota_nothing_is_charged(ledger: Ledger, clocks: Clocks) -> None:
    assert take_quota(ledger, 700, quota=0) == 700
    assert ledger.used(UNNAMED) == 0
    assert not ledger.exhausted(UNNAMED, 0, DAY, clocks.wall)


def test_a_new_quota_begins_so_long_after_the_first_byte(ledger: Ledger, clocks: Clocks) -> None:
    take_quota(ledger, 500)
    clocks.go_on(DAY - 1)
    assert take_quota(ledger, 900, clocks.monotonic) == 500
    clocks.go_on(1)
    assert not ledger.exhausted(UNNAMED, 1000, DAY, clocks.wall)
    assert take_quota(ledger, 900, clocks.monotonic) == 900
    assert ledger.used(UNNAMED) == 900


def test_a_clock_set_back_makes_no_new_quota(ledger: Ledger, clocks: Clocks) -> None:
    take_quota(ledger, 1000)
    clocks.wall -= 3600
    assert take_quota(ledger, 1) == 0


def test_a_clock_that_was_years_ahead_does_not_hold_a_quota_for_years(ledger: Ledger, clocks: Clocks) -> None:
    take_quota(ledger, 1000)
    clocks.wall -= 10 * 365 * DAY
    assert take_quota(ledger, 1) == 1


def test_a_quota_that_was_lowered_below_what_is_used_gives_nothing(ledger: Ledger) -> None:
    take_quota(ledger, 1000)
    assert take_quota(ledger, 1, quota=500) == 0
    assert ledger.used(UNNAMED) == 1000


def test_what_is_given_back_is_not_charged(ledger: Ledger) -> None:
    take_quota(ledger, 1000)
    ledger.give_back(UNNAMED, UP, 400)
    assert ledger.used(UNNAMED) == 600


def test_what_was_taken_without_a_quota_is_not_returned_to_one(ledger: Ledger) -> None:
    take_quota(ledger, 1000)
    take_quota(ledger, 400, quota=0)
    ledger.give_back(UNNAMED, UP, 400)
    assert ledger.used(UNNAMED) == 1000


def test_what_the_last_quota_was_charged_with_is_not_given_to_the_new_one(tmp_path: Path, clocks: Clocks) -> None:
    one, other = clocks.open(tmp_path / "state"), clocks.open(tmp_path / "state")
    take_quota(one, 1000)
    clocks.go_on(DAY)
    take_quota(other, 1000)
    one.give_back(UNNAMED, UP, 400)
    assert one.used(UNNAMED) == 1000
    other.give_back(UNNAMED, UP, 400)
    assert one.used(UNNAMED) == 600
    for ledger in (one, other):
        ledger.close()


def test_rate_and_quota_hold_together(ledger: Ledger) -> None:
    assert ledger.take(UNNAMED, UP, 10**9, 1000.0, 1e4, 1500, DAY) == 1000
    assert ledger.take(UNNAMED, UP, 10**9, 1001.0, 1e4, 1500, DAY) == 500
    assert ledger.take(UNNAMED, UP, 10**9, 1001.0, 1e4, 9000, DAY) == 500, "the rate was charged with what went only"


# The file


def test_names_and_quotas_outlive_a_restart_and_nothing_else(tmp_path: Path, clocks: Clocks) -> None:
    path = tmp_path / "state"
    first = clocks.open(path)
    anna = first.slot_of("anna")
    first.open_flow(anna, 1, 0)
    first.take(anna, UP, 700, 1000.0, 1e4, 1000, DAY)
    first.close()
    assert path.stat().st_mode & 0o777 == 0o600

    clocks.monotonic = 5.0  # the host was started again, too
    second = clocks.open(path, places=7)
    assert second.names() == ["", "anna"]
    assert second.used(anna) == 700
    assert second.flows(anna) == 0
    assert second.take(anna, UP, 10**6, 5.0, 1e4, 1000, DAY) == 300
    second.close()


def test_two_proxies_with_one_file_share_it(tmp_path: Path, clocks: Clocks) -> None:
    one, other = clocks.open(tmp_path / "state"), clocks.open(tmp_path / "state")
    assert [one.slot_of("anna"), other.slot_of("bert"), one.slot_of("bert"), other.slot_of("anna")] == [1, 2, 2, 1]
    take_quota(one, 900)
    assert take_quota(other, 900) == 100
    for ledger in (one, other):
        ledger.close()


def test_a_full_file_says_what_to_remove(tmp_path: Path, clocks: Clocks) -> None:
    ledger = clocks.open(tmp_path / "state")
    for i in range(SLOTS - 1):
        ledger.slot_of(f"user{i}")
    with pytest.raises(SettingsError, match=f"remove {tmp_path / 'state'}"):
        ledger.slot_of("late")
    ledger.close()


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in (b"x", b"x" * FILE_BYTES, bytes(FILE_BYTES)):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=f"state: {path}: is no state of this version"):
            Ledger(1, str(path))
        assert path.read_bytes() == content


def spoil(path: Path, offset: int, data: bytes) -> None:
    ledger = Ledger(1, str(path))
    ledger.slot_of("anna")
    ledger.close()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_file_that_names_too_many_users_is_refused(tmp_path: Path) -> None:
    spoil(tmp_path / "state", 56, b"\xff" * 8)
    with pytest.raises(SettingsError, match=r"state: .* names, more than it has room for; remove it"):
        Ledger(1, str(tmp_path / "state"))


def test_a_file_with_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    spoil(tmp_path / "state", FILE_BYTES - 256 * SLOTS + 256, b"\x01\xff")
    with pytest.raises(SettingsError, match=r"state: .* the name in slot 1 is not UTF-8"):
        Ledger(1, str(tmp_path / "state"))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"state: .*/missing/state: cannot be opened: No such file"):
        Ledger(1, str(tmp_path / "missing" / "state"))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match=r"state: .*/pipe: cannot be used: "):
        Ledger(1, str(tmp_path / "pipe"))


def test_on_a_full_disk_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        if offset:
            raise OSError(28, "No space left on device")
        return write(fd, data[:4096], offset)

    write = os.pwrite
    path = tmp_path / "state"
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "pwrite", full)
        with pytest.raises(SettingsError, match="No space left"):
            Ledger(1, str(path))
    assert path.stat().st_size == 0
    Ledger(1, str(path)).close()
