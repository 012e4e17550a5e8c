from __future__ import annotations

import pytest

from client.chat.typed import Mistake, Order, Say, meaning


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", None),
        ("   ", None),
        ("hello", Say("hello")),
        ("  hello ", Say("  hello ")),
        ("//etc is a path", Say("/etc is a path")),
        ("/send my file.txt", Order("send", "my file.txt")),
        ("/send   a ", Order("send", "a")),
        ("/routes", Order("routes")),
        ("/quit ", Order("quit")),
        ("/help", Order("help")),
        ("/send", Mistake("expected /send FILE")),
        ("/quit now", Mistake("expected /quit")),
        ("/rout", Mistake("there is no /rout; did you mean /routes?")),
        ("/xyzzy 1", Mistake("there is no /xyzzy; /help lists what there is")),
        ("/", Mistake("there is no /; /help lists what there is")),
    ],
)
def test_what_a_line_means(line: str, what: Say | Order | Mistake | None) -> None:
    assert meaning(line) == what
