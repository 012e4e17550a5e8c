from __future__ import annotations

import pytest

from client.routes import Attempt, DialError


async def test_stages_are_timed_and_failures_carry_them() -> None:
    attempt = Attempt()
    async with attempt.stage("dns"):
        pass
    with pytest.raises(DialError, match=r"tcp: timed_out \(.*by the kernel") as caught:
        async with attempt.stage("tcp"):
            raise TimeoutError(110, "by the kernel")
    assert (caught.value.stage, caught.value.failure) == ("tcp", "timed_out")
    assert list(attempt.stages) == ["dns", "tcp"]
    assert min(attempt.stages.values()) >= 0


async def test_a_dial_error_keeps_its_own_stage() -> None:
    with pytest.raises(DialError, match="socks_auth: eof_error"):
        async with Attempt().stage("tls"):
            raise DialError("socks_auth", "eof_error")
