"""censor/kernel/programs.py, with small programs in the place of the kernel's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from censor.kernel import programs as kernel_programs
from censor.packet_io.netlink import KernelError
from sidedoor.settings import UsageError

NFT = ("nft", "-f", "-")


@pytest.fixture
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `nft` that says what it reads."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernel_programs, "_SBIN", str(tmp_path))
    path = tmp_path / "nft"
    write(path, "while read -r line; do echo \"$line\"; done; echo '  two\n lines' >&2")
    return path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_what_is_read_and_printed(nft: Path) -> None:
    assert kernel_programs.run(NFT, "a\nb\n") == "a\nb\n"
    done = kernel_programs.execute(NFT, "")
    assert kernel_programs.said(done.stderr) == "two lines"
    await kernel_programs.run_async(NFT, "a\n")


def test_programs_outside_of_the_path_are_found(nft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(nft.parent / "elsewhere"))
    assert kernel_programs.located("nft") == str(nft)
    assert kernel_programs.located("other") is None
    assert kernel_programs.located_command(NFT) == (str(nft), "-f", "-")
    assert kernel_programs.located_command(("other", "x")) == ("other", "x")


@pytest.mark.parametrize(
    ("said", "raised", "says"),
    [
        ("Operation not permitted (you must be root)", UsageError, "nft: not permitted; run as root"),
        ("syntax error", KernelError, r"nft -f - failed \(exit 3\): syntax error"),
    ],
)
async def test_refusals(nft: Path, said: str, raised: type[Exception], says: str) -> None:
    write(nft, f"echo '{said}' >&2; exit 3")
    with pytest.raises(raised, match=says):
        kernel_programs.run(NFT, "")
    with pytest.raises(raised, match=says):
        await kernel_programs.run_async(NFT, "")


async def test_a_program_that_hangs_is_ended(nft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_programs, "_SECONDS", 0.1)
    write(nft, "exec /bin/sleep 60")
    with pytest.raises(KernelError, match="nft: no answer"):
        await kernel_programs.run_async(NFT, "")
    with pytest.raises(KernelError, match="nft: no answer"):
        kernel_programs.run(NFT, "")


async def test_cancelled_while_a_program_runs(nft: Path) -> None:
    write(nft, "exec /bin/sleep 60")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await kernel_programs.run_async(NFT, "")
