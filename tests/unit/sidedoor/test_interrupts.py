from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from signal import SIG_IGN, SIGINT, default_int_handler, getsignal

import pytest

from sidedoor.interrupts import QuietInterrupts


@pytest.fixture(autouse=True)
def as_at_the_start() -> Iterator[None]:
    """Python's own handler, which pytest has replaced or not."""
    before = signal.signal(SIGINT, default_int_handler)
    yield
    signal.signal(SIGINT, before)


def test_the_handler_is_another_one_meanwhile_only() -> None:
    with QuietInterrupts():
        assert getsignal(SIGINT) is not default_int_handler
    assert getsignal(SIGINT) is default_int_handler


def test_a_failed_import_leaves_the_handler_as_it_was() -> None:
    with pytest.raises(ImportError), QuietInterrupts():
        raise ImportError
    assert getsignal(SIGINT) is default_int_handler


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(SIGINT, SIG_IGN)
    with QuietInterrupts():
        assert getsignal(SIGINT) is SIG_IGN
    assert getsignal(SIGINT) is SIG_IGN


def test_in_another_thread_nothing_changes() -> None:
    found = []

    def run() -> None:
        with QuietInterrupts():
            found.append(getsignal(SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [default_int_handler]
