import errno
import re
from pathlib import Path

import pytest

from proxy.dial import REPLIES, reply_of
from proxy.wire import ReplyCode


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ECONNREFUSED, 5),
        (errno.ENETUNREACH, 3),
        (errno.EHOSTUNREACH, 4),
        (errno.ETIMEDOUT, 4),
        (errno.EPERM, 2),
        (errno.EAFNOSUPPORT, 8),
        (errno.EMFILE, 1),
    ],
)
def test_errno_to_reply(number: int, code: int) -> None:
    assert reply_of(OSError(number, "x")) == code


def test_our_own_deadline_is_host_unreachable() -> None:
    assert reply_of(TimeoutError()) is ReplyCode.HOST_UNREACHABLE


def test_no_failure_is_reported_as_success() -> None:
    assert ReplyCode.SUCCEEDED not in REPLIES.values()


def test_the_documented_table_is_the_real_one() -> None:
    text = (Path(__file__).parents[3] / "docs/proxy.md").read_text()
    rows = re.findall(r"^\| (0\d) [^|]*\| (.*) \|$", text, re.MULTILINE)
    documented = {
        getattr(errno, name): int(code) for code, when in rows for name in re.findall(r"\bE[A-Z]{4,}\b", when)
    }
    assert documented == REPLIES
