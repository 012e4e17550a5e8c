"""censor/commands/replay.py: captures in, files and sums out. tests/unit/censor/test_replay.py has the verdicts."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether

from censor.commands.replay import replay
from censor.packet_io.pcap import CapturedPacket, PcapWriter, open_pcap
from censor.packets import fragments_of
from sidedoor.settings import UsageError
from tests.unit.censor.conversation import HELLO, INNOCENT, client, query, server

T = 1_700_000_000.0
RULES = """
[[rule]]
name = "reset"
when = "tls.sni under ['messenger.example']"
intended = "tls.sni == 'messenger.example'"
actions = [{ kind = "reset", delay_seconds = 1.5 }, { kind = "delay", seconds = 0.75 }]

[[rule]]
name = "names"
action = "dns_nxdomain"
domains = ["messenger.example"]
""".replace("'", '\\"')
PACKETS = [client(HELLO), client(INNOCENT, port=50000), query("messenger.example"), server()]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text(RULES)
    write("in.pcap", *PACKETS)


def write(name: str, *data: bytes, lengths: int | None = None) -> None:
    with open(name, "wb") as file:
        writer = PcapWriter(file)
        for number, one in enumerate(data):
            writer.write(T + number, one, lengths)


def run(*arguments: str, stdin: bytes | None = None, columns: int = 120) -> Result:
    if not {"--rules", "--profile"} & set(arguments):
        arguments = (*arguments, "--rules", "rules.toml")
    return CliRunner().invoke(replay, arguments, input=stdin, env={"COLUMNS": str(columns)})


def pcap(name: str) -> list[CapturedPacket]:
    with open_pcap(name) as reader:
        return list(reader)


def failure(*arguments: str) -> str:
    """The one line that the command ends with; the root command makes exit code 2 of it."""
    result = run(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_all_outputs() -> None:
    result = run("in.pcap", "--verdicts", "v.jsonl", "--passed", "passed.pcap", "--inject", "injected.pcap", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    verdicts = [json.loads(line) for line in Path("v.jsonl").read_text().splitlines()]
    assert [one["verdict"] for one in verdicts] == ["delayed", "accept", "accept", "delayed"]
    assert [(one["number"], one["rule"], one["injected"]) for one in verdicts] == [
        (1, "reset", 2),
        (2, None, 0),
        (3, "names", 1),
        (4, "reset", 0),
    ]
    # In the order of their times, whenever they were decided on.
    assert [one.t for one in pcap("passed.pcap")] == [T + 0.75, T + 1, T + 2, T + 3.75]
    assert pcap("passed.pcap")[1].data == PACKETS[1]
    assert [(one.t, IP(one.data).proto) for one in pcap("injected.pcap")] == [(T + 1.5, 6), (T + 1.5, 6), (T + 2, 17)]
    assert json.loads(result.stdout) == {
        "seconds": 3.0,
        "not_ip": 0,
        "captured_in_part": 0,
        "packets": 4,
        "dropped": 0,
        "fragments_dropped": 0,
        "delayed": 2,
        "injected": 3,
        "residual_blocks": 0,
        "suspects": 0,
        "overloaded_flows": 0,
        "forgotten_flows": 0,
        "rules": [
            {"rule": "reset", "matched": 1, "collateral": 1, "packets": 2, "injected": 2},
            {"rule": "names", "matched": 1, "collateral": 0, "packets": 1, "injected": 1},
        ],
    }


def test_the_table() -> None:
    lines = run("in.pcap").stdout.splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["rule", "matched", "collateral", "packets", "injected"],
        ["reset", "1", "1", "2", "2"],
        ["names", "1", "0", "1", "1"],
    ]
    assert lines[-1] == "4 packets in 3.0 s: 4 passed (2 late), 0 dropped; 3 injected"


def test_rules_that_do_nothing_have_no_table() -> None:
    Path("rules.toml").write_text("")
    assert run("in.pcap").stdout == "4 packets in 3.0 s: 4 passed (0 late), 0 dropped; 0 injected\n"


def test_verdicts_on_stdout() -> None:
    result = run("in.pcap", "--verdicts", "-")
    assert [json.loads(line)["number"] for line in result.stdout.splitlines()] == [1, 2, 3, 4]
    assert "4 packets" in result.stderr
    result = run("in.pcap", "--verdicts", "-", "--json")
    assert json.loads(result.stderr)["packets"] == 4


def test_from_stdin() -> None:
    result = run("-", "--json", stdin=Path("in.pcap").read_bytes())
    assert json.loads(result.stdout)["packets"] == 4


def test_seed_and_elapsed() -> None:
    Path("rules.toml").write_text(
        '[[rule]]\nname = "half"\nwhen = "exists tls.sni"\nprobability = 0.5\nfrom_seconds = 60\n'
        'actions = [{ kind = "drop" }]'
    )
    write("in.pcap", *(client(HELLO, port=40000 + number) for number in range(30)))

    def dropped(*options: str) -> list[str]:
        return [json.loads(line)["verdict"] for line in run("in.pcap", "--verdicts", "-", *options).stdout.splitlines()]

    assert set(dropped()) == {"accept"}
    one = dropped("--elapsed", "60", "--seed", "1")
    assert set(one) == {"accept", "drop"}
    assert one == dropped("--elapsed", "60", "--seed", "1") != dropped("--elapsed", "60", "--seed", "2")


def test_lists() -> None:
    Path("rules.toml").write_text(
        '[[list]]\nname = "banned"\n[[rule]]\nname = "sni"\nwhen = "tls.sni under @banned"\n'
        'actions = [{ kind = "drop" }]'
    )
    Path("banned.txt").write_text("messenger.example\n")
    told = run("in.pcap", "--json", "--list", "banned=banned.txt")
    assert (json.loads(told.stdout)["dropped"], told.stderr) == (2, "")
    told = run("in.pcap", "--json")
    assert json.loads(told.stdout)["dropped"] == 0
    assert told.stderr == ("list 'banned' is empty: its rules match nothing; give it entries by --list banned=FILE\n")


def test_notes() -> None:
    Path("rules.toml").write_text(
        '[[rule]]\nname = "sni"\nwhen = "exists tls.sni"\nactions = [{ kind = "residual", seconds = 9 }]'
    )
    with open("in.pcap", "wb") as file:  # Ethernet
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in (Ether() / ARP(), Ether() / IP(client(HELLO)), Ether() / IP(client(HELLO, port=5))):
            data = bytes(frame)
            file.write(struct.pack("<IIII", 1, 0, min(len(data), 80), len(data)) + data[:80])
        file.seek(0)
    output = run("in.pcap").stdout
    assert "1 frames were not IP" in output
    assert "2 packets were captured in part" in output


def test_fragments_that_wait_in_vain() -> None:
    write("in.pcap", fragments_of(client(HELLO), 200)[0])
    (verdict,) = map(json.loads, run("in.pcap", "--verdicts", "-").stdout.splitlines())
    assert (verdict["verdict"], verdict["action"]) == ("drop", "fragments")


class TestFailures:
    def test_no_capture(self) -> None:
        assert failure("missing.pcap") == "missing.pcap: cannot be read: No such file or directory"
        assert failure(".") == ".: cannot be read: Is a directory"
        assert "rules.toml: at byte 0: expected a pcap or pcapng file" in failure("rules.toml")

    def test_empty(self) -> None:
        Path("empty").touch()
        assert "expected a pcap or pcapng file, found nothing" in failure("empty")
        write("none.pcap")
        assert failure("none.pcap") == "none.pcap: no IP packets in it"

    def test_only_other_frames(self) -> None:
        frame = bytes(Ether() / ARP())
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        Path("arp.pcap").write_bytes(head + struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame)
        assert failure("arp.pcap") == "arp.pcap: no IP packets in it (1 frames of something else)"

    def test_unknown_link_type(self) -> None:
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105)
        Path("wifi.pcap").write_bytes(head + struct.pack("<IIII", 1, 0, 4, 4) + b"wifi")
        assert "a packet of link type 105" in failure("wifi.pcap")

    def test_what_comes_before_the_cut_is_judged(self) -> None:
        Path("cut.pcap").write_bytes(Path("in.pcap").read_bytes()[:-7])
        result = run("cut.pcap", "--json", "--passed", "passed.pcap")
        assert json.loads(result.stdout)["packets"] == 3
        assert len(pcap("passed.pcap")) == 3
        assert "cut.pcap: ends within a packet" in str(result.exception)

    def test_rules(self) -> None:
        assert "no profile 'nonsense'" in failure("in.pcap", "--profile", "nonsense")
        assert "expected one of --rules" in failure("in.pcap", "--rules", "rules.toml", "--profile", "x")

    def test_outputs(self) -> None:
        before = Path("in.pcap").read_bytes()
        assert failure("in.pcap", "--passed", "./in.pcap").startswith("./in.pcap: is in.pcap, too")
        assert Path("in.pcap").read_bytes() == before
        for same in ("out", "./out"):
            assert "is out, too" in failure("in.pcap", "--passed", "out", "--inject", same)
        assert "no/out: cannot be written: No such file" in failure("in.pcap", "--inject", "no/out")
        assert "pcap is not written to stdout" in failure("in.pcap", "--inject", "-")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
    def test_a_full_disk(self) -> None:
        assert failure("in.pcap", "--passed", "/dev/full") == (
            "in.pcap: cannot be judged to its end: No space left on device"
        )


def test_a_reader_that_goes_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in `sidedoor censor replay ... --verdicts - | head -1`."""
    closed = tmp_path / "closed"

    class Gone(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    with closed.open("w") as stdout:

        class Stdout:
            buffer = Gone()
            fileno = staticmethod(stdout.fileno)

        monkeypatch.setattr(sys, "stdout", Stdout())
        with pytest.raises(SystemExit) as ended:
            replay.main(["in.pcap", "--rules", "rules.toml", "--verdicts", "-"], standalone_mode=False)
        monkeypatch.undo()
    assert ended.value.code == 1
