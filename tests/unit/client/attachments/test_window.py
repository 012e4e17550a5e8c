from __future__ import annotations

import pytest

from client.attachments.window import TARGET_SECONDS, PieceWindow


def round_trip(window: PieceWindow, seconds: float) -> None:
    for _ in range(int(window.size)):
        window.acked(seconds)


def test_it_doubles_each_round_trip_up_to_the_most() -> None:
    window = PieceWindow(most=8)
    sizes = []
    for _ in range(5):
        sizes.append(int(window.size))
        round_trip(window, 0.3)
    assert sizes == [1, 2, 4, 8, 8]
    assert window.fits(7)
    assert not window.fits(8)


def test_a_queue_of_its_own_ends_the_doubling_and_is_kept_short() -> None:
    """125 kB/s: each piece of 32 KB takes 0.26 s of the link, so that more than one only wait for each other."""
    window = PieceWindow(most=8)
    for _ in range(50):
        round_trip(window, 0.04 + 0.26 * int(window.size))
    assert int(window.size) == 1


def test_it_settles_where_the_queue_is_the_target() -> None:
    window = PieceWindow(most=64)
    for _ in range(300):
        round_trip(window, 0.04 + 0.01 * max(0, int(window.size) - 4))
    assert 4 + 10 - 2 <= window.size <= 4 + 10 + 2
    assert pytest.approx(0.01 * 10) == TARGET_SECONDS


def test_an_earlier_ack_is_the_new_base_and_one_piece_always_goes() -> None:
    window = PieceWindow(most=4)
    window.acked(1.0)
    window.acked(0.1)
    for _ in range(20):
        window.acked(5.0)
    assert window.size == 1.0
    assert window.fits(0)


def test_another_path_begins_anew() -> None:
    window = PieceWindow(most=8)
    for _ in range(4):
        round_trip(window, 0.3)
    window.path_changed()
    assert window.size == 1.0
    window.acked(2.0)
    assert window.size == 2.0, "what is slow for one path is usual for another"
