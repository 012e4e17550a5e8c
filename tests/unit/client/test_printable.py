from __future__ import annotations

import pytest

from client.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\ufffd[2Jb"),
        ("\x9b31m", "\ufffd31m"),
        ("one\r\ntwo\nthree", "one\n    two\n    three"),
        ("a\tb", "a    b"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("beep\x07 back\x08 over\rwritten", "beep\ufffd back\ufffd over\ufffdwritten"),
        ("grüße 👋", "grüße 👋"),
    ],
)
def test_nothing_that_a_terminal_obeys_comes_through(text: str, shown: str) -> None:
    assert printable(text) == shown
